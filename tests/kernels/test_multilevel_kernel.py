from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.sparse.csgraph import connected_components

from vicinal.kernels import multilevel


def connected_graph(n, seed, density=0.1):
    """A random tree and some more edges, weights over six decades."""
    rng = np.random.default_rng(seed)
    parents = np.array([rng.integers(0, i) for i in range(1, n)], dtype=int)
    tree = sparse.coo_matrix((10 ** rng.uniform(-6, 0, n - 1), (np.arange(1, n), parents)), shape=(n, n))
    matrix = (tree + sparse.triu(sparse.random(n, n, density, random_state=rng), k=1)).tocsr()
    matrix = sparse.csr_matrix(matrix + matrix.T, dtype=np.float32)
    assert not matrix.diagonal().any() and connected_components(matrix)[0] == 1
    return matrix


def rows_of(matrix):
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data.astype(np.float32)


def matrix_of(rows):
    n = len(rows[0]) - 1
    return sparse.csr_matrix((rows[2], rows[1], rows[0]), shape=(n, n)).toarray().astype(np.float64)


def star(n):
    spokes = sparse.csr_matrix((np.ones(n - 1), (np.zeros(n - 1, int), np.arange(1, n))), shape=(n, n))
    return sparse.csr_matrix(spokes + spokes.T, dtype=np.float32)


graphs = st.builds(connected_graph, st.integers(2, 60), st.integers(0, 999), st.floats(0, 0.3))


@settings(deadline=None, max_examples=100)
@given(graphs)
def test_groups_have_two_to_four_vertices(matrix):
    groups, n_groups = multilevel.paired(rows_of(matrix))
    sizes = np.bincount(groups, minlength=n_groups)
    assert len(sizes) == n_groups and sizes.min() >= 2
    assert sizes.max() <= 4


@settings(deadline=None, max_examples=100)
@given(graphs)
def test_no_group_passes_over_a_much_stronger_free_neighbour(matrix):
    """The first vertex visited takes its strongest neighbour."""
    groups, _ = multilevel.paired(rows_of(matrix))
    assert groups[0] == groups[matrix[0].toarray().ravel().argmax()]


def test_a_star_is_halved():
    """Leaves, whose only neighbour is soon taken, pair up with each other."""
    groups, n_groups = multilevel.paired(rows_of(star(1001)))
    assert n_groups == 500
    assert np.bincount(groups).max() == 3


def test_vertices_without_edges_stay_alone():
    groups, n_groups = multilevel.paired(rows_of(sparse.csr_matrix((5, 5), dtype=np.float32)))
    assert n_groups == 5 and sorted(groups) == [0, 1, 2, 3, 4]


@settings(deadline=None, max_examples=60)
@given(graphs, st.integers(0, 99))
def test_contracted_is_the_sum_over_members(matrix, seed):
    n = matrix.shape[0]
    n_groups = max(n // 3, 1)
    groups = np.random.default_rng(seed).permutation(np.arange(n) % n_groups).astype(np.int32)
    members = np.eye(n_groups)[groups]
    expected = members.T @ matrix.toarray().astype(np.float64) @ members
    np.fill_diagonal(expected, 0)
    rows = multilevel.contracted(rows_of(matrix), groups, n_groups)
    np.testing.assert_allclose(matrix_of(rows), expected, rtol=1e-6)
    assert all(len(set(rows[1][a:b])) == b - a for a, b in zip(rows[0][:-1], rows[0][1:], strict=True))


@settings(deadline=None, max_examples=60)
@given(graphs, st.integers(0, 99))
def test_sorting_and_renumbering_by_group(matrix, seed):
    n = matrix.shape[0]
    groups = np.random.default_rng(seed).integers(0, 4, n).astype(np.int32)
    ranks = np.array([2, 0, 3, 1], np.int32)
    firsts, order, places = multilevel.sorted_by_group(groups, ranks)
    np.testing.assert_array_equal(order, np.argsort(ranks[groups], kind="stable"))
    np.testing.assert_array_equal(firsts, np.searchsorted(np.sort(ranks[groups]), np.arange(5)))
    np.testing.assert_array_equal(order[places], np.arange(n))
    renumbered = multilevel.renumbered(rows_of(matrix), order, places)
    np.testing.assert_array_equal(matrix_of(renumbered), matrix.toarray()[order][:, order])


@settings(deadline=None, max_examples=60)
@given(graphs, st.integers(1, 9), st.integers(0, 99))
def test_products_equal_the_dense_ones(matrix, m, seed):
    rng = np.random.default_rng(seed)
    rows, n = rows_of(matrix), matrix.shape[0]
    diagonal = multilevel.degrees(rows)
    dense = matrix.toarray().astype(np.float64)
    np.testing.assert_allclose(diagonal, dense.sum(axis=1))
    laplacian = np.diag(diagonal) - dense
    block, target, out = rng.normal(size=(n, m)), rng.normal(size=(n, m)), np.full((n, m), 7.0)
    half = n // 2
    multilevel.laplacian(*rows, diagonal, block, out, half, n)
    assert (out[:half] == 7).all()
    multilevel.laplacian(*rows, diagonal, block, out, 0, half)
    np.testing.assert_allclose(out, laplacian @ block, atol=1e-12)
    multilevel.jacobi(*rows, diagonal, target, 0.7, block, out, 0, n)
    expected = block + 0.7 * (target - laplacian @ block) / diagonal[:, None]
    np.testing.assert_allclose(out, expected, rtol=1e-7, atol=1e-9)


def test_sums_over_groups_and_back():
    fine = np.arange(14.0).reshape(7, 2)
    firsts = np.array([0, 2, 2, 7])
    coarse = np.empty((3, 2))
    multilevel.sum_groups(firsts, fine, coarse, 0, 3)
    np.testing.assert_array_equal(coarse, [fine[:2].sum(0), [0, 0], fine[2:].sum(0)])
    spread = fine.copy()
    multilevel.add_to_groups(firsts, coarse, spread, 0, 3)
    np.testing.assert_array_equal(spread - fine, coarse[[0, 0, 2, 2, 2, 2, 2]])


@pytest.mark.parametrize("make", [lambda: connected_graph(40, 3), lambda: star(30)], ids=["random", "star"])
def test_kernels_equal_their_python(make):
    rows = rows_of(make())
    n = len(rows[0]) - 1

    def everything(pick):
        groups = np.empty(n, np.int32)
        n_groups = pick(multilevel.pair_up)(*rows, groups)
        firsts, order = np.empty(n_groups + 1, np.int64), np.empty(n, np.int32)
        pick(multilevel.by_group)(groups, np.arange(n_groups, dtype=np.int32), firsts, order)
        contracted = np.zeros(n_groups + 1, np.int64), np.zeros(len(rows[1]), np.int32), np.zeros_like(rows[2])
        pick(multilevel.contract)(*rows, groups, firsts, order, *contracted)
        renumbered = np.zeros_like(rows[0]), np.zeros_like(rows[1]), np.zeros_like(rows[2])
        places = np.argsort(order).astype(np.int32)
        pick(multilevel.renumber)(*rows, order, places, *renumbered)
        degrees = np.empty(n)
        pick(multilevel.row_sums)(rows[0], rows[2], degrees)
        block = np.random.default_rng(0).normal(size=(n, 3))
        product, smoothed, coarse = np.empty_like(block), np.empty_like(block), np.empty((n_groups, 3))
        pick(multilevel.laplacian)(*rows, degrees, block, product, 0, n)
        pick(multilevel.jacobi)(*rows, degrees, product, 0.7, block, smoothed, 0, n)
        pick(multilevel.sum_groups)(firsts, smoothed, coarse, 0, n_groups)
        pick(multilevel.add_to_groups)(firsts, coarse, block, 0, n_groups)
        return groups, firsts, order, *contracted, *renumbered, degrees, product, smoothed, coarse, block

    compiled = everything(lambda kernel: kernel)
    for one, other in zip(compiled, everything(lambda kernel: getattr(kernel, "py_func", kernel)), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
