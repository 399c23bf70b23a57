"""The slowest modes of graphs on which iterative solvers stop early, against what is known of them."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from scipy.linalg import eigh
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh
from scipy.spatial import KDTree
from threadpoolctl import threadpool_limits

from vicinal.api import Graph, InitRequest, NoParams
from vicinal.backends.init import eigensolver, spectral
from vicinal.backends.init.hierarchy import Hierarchy
from vicinal.backends.init.spectral import slowest_modes
from vicinal.kernels import fuzzy
from vicinal.kernels.parallel import in_turn, workers

ALLOWED = 0.2  # degrees


@pytest.fixture(scope="module", autouse=True)
def one_blas_thread():
    with threadpool_limits(1, user_api="blas"):
        yield


def path(n):
    return sparse.diags([np.ones(n - 1), np.ones(n - 1)], [-1, 1], format="csr", dtype=np.float32)


def clique(n):
    return sparse.csr_matrix(np.ones((n, n), dtype=np.float32) - np.eye(n, dtype=np.float32))


def joined(*parts, weight=1.0):
    """The parts in a chain, each joined to the next by one edge."""
    matrix = sparse.block_diag(parts, format="lil", dtype=np.float32)
    starts = np.cumsum([0, *(part.shape[0] for part in parts)])
    for a, b in zip(starts[:-2], starts[1:-1], strict=True):
        matrix[a, b + 1] = matrix[b + 1, a] = weight
    return matrix.tocsr()


def star(n):
    spokes = sparse.csr_matrix((np.ones(n - 1), (np.zeros(n - 1, int), np.arange(1, n))), shape=(n, n))
    return sparse.csr_matrix(spokes + spokes.T, dtype=np.float32)


def grid(rows, columns):
    return sparse.csr_matrix(sparse.kronsum(path(columns), path(rows)))


def fuzzy_graph(points):
    """The largest component of the fuzzy graph of 15 neighbours, the point itself one of them."""
    distances, indices = KDTree(points).query(points, k=15)
    table = indices[:, 1:].astype(np.int32), distances[:, 1:].astype(np.float32)
    rows = fuzzy.membership_rows(*table, *fuzzy.smooth_distances(*table))
    indptr, columns, weights = fuzzy.symmetrized(*rows)
    matrix = sparse.csr_matrix((weights, columns, indptr))
    labels = connected_components(matrix)[1]
    largest = labels == np.bincount(labels).argmax()
    return matrix[largest][:, largest]


def curve(n, rng, noise=0.0):
    along = rng.uniform(0, 1, n)
    points = 100 * np.column_stack([np.cos(9 * along), np.sin(9 * along), 5 * along])
    return fuzzy_graph(points + noise * rng.normal(size=points.shape))


def reweighted(matrix, rng):
    upper = sparse.triu(matrix, format="coo")
    upper.data = (10 ** rng.uniform(-6, 0, len(upper.data))).astype(np.float32)
    return sparse.csr_matrix(upper + upper.T)


def tree(n, rng):
    parents = np.array([rng.integers(max(0, i - 30), i) for i in range(1, n)])
    return reweighted(sparse.csr_matrix((np.ones(n - 1), (parents, np.arange(1, n))), shape=(n, n)), rng)


def true_modes(matrix, k):
    """By scipy: dense, or with shift and inversion, which needs no luck on these sparse graphs."""
    matrix = matrix.astype(np.float64)
    degrees = np.asarray(matrix.sum(axis=1)).ravel()
    root = np.sqrt(degrees)
    if len(root) <= 2500:
        values, vectors = eigh((np.diag(degrees) - matrix.toarray()) / root[:, None] / root)
    else:
        inverse = sparse.diags(1 / root)
        laplacian = (inverse @ (sparse.diags(degrees) - matrix) @ inverse).tocsc()
        values, vectors = eigsh(laplacian, k=k + 3, sigma=-1e-10, tol=1e-14, v0=np.arange(len(root)) % 7 - 2.5)
        order = np.argsort(values)
        values, vectors = values[order], vectors[:, order]
    return values[1 : k + 2], vectors[:, 1 : k + 1] / root[:, None]


def angle(modes, expected, matrix):
    """Degrees between the spaces the columns span, vertices counted by their degrees."""
    root = np.sqrt(np.asarray(matrix.sum(axis=1), dtype=np.float64))
    one, other = np.linalg.qr(root * modes)[0], np.linalg.qr(root * expected)[0]
    return np.degrees(np.arcsin(min(np.linalg.norm(one - other @ (other.T @ one), 2), 1.0)))


CASES = {
    "curve": lambda rng: curve(6000, rng),
    "noisy curve": lambda rng: curve(6000, rng, 1.0),
    "curve, weights over six decades": lambda rng: reweighted(curve(5000, rng), rng),
    "tree, weights over six decades": lambda rng: tree(5000, rng),
    "plane": lambda rng: fuzzy_graph(rng.uniform(size=(6000, 2)) * [1.3, 1]),
    "three clouds": lambda rng: fuzzy_graph(rng.normal(size=(3000, 5)) + 3 * (np.arange(3000) % 3)[:, None]),
    "oblong grid": lambda rng: grid(50, 71),
    "cliques in a chain": lambda rng: joined(*[clique(60)] * 12),
    "cliques hardly joined": lambda rng: joined(*[clique(60)] * 12, weight=1e-5),
    "clique with a star": lambda rng: joined(clique(80), star(900), clique(50)),
    "barely too large for a dense solver": lambda rng: joined(clique(200), path(201)),
}


@pytest.mark.parametrize("k", [1, 2, 3])
@pytest.mark.parametrize("case", CASES)
def test_modes_are_within_a_fifth_of_a_degree_of_the_true_ones(case, k, rng):
    matrix = CASES[case](rng)
    assert matrix.shape[0] > spectral.DENSE_UP_TO
    values, expected = true_modes(matrix, k)
    assert values[k] > 1.002 * values[k - 1]  # else another mode would be as right
    assert angle(slowest_modes(matrix, k), expected, matrix) < ALLOWED


@pytest.mark.parametrize("n", [1000, 20_000, 100_000])
def test_a_path_has_cosines(n):
    expected = np.cos(np.pi * np.arange(n)[:, None] * np.arange(1, 4) / (n - 1))
    modes = slowest_modes(path(n), 3)
    for k in (1, 2, 3):
        assert angle(modes[:, :k], expected[:, :k], path(n)) < ALLOWED
    steps = np.diff(modes[:, 0])
    assert (steps > 0).all() or (steps < 0).all()


@pytest.mark.parametrize("half", [201, 600, 1500])
def test_two_cliques_joined_by_an_edge_have_two_signs(half):
    mode = slowest_modes(joined(clique(half), clique(half)), 1)[:, 0]
    sign = np.sign(mode)
    assert (sign[:half] == sign[0]).all() and (sign[half:] == -sign[0]).all()
    assert np.abs(mode).min() > 0.9 * np.abs(mode).max()


@pytest.mark.parametrize(
    ("matrix", "value"), [(star(3000), 1.0), (clique(1200), 1200 / 1199)], ids=["star", "complete graph"]
)
def test_where_all_modes_are_alike_any_of_them_will_do(matrix, value):
    modes = slowest_modes(matrix, 2)
    degrees = np.asarray(matrix.sum(axis=1), dtype=np.float64)
    root = np.sqrt(degrees)
    # Solutions of L y = value D y, of full rank, orthogonal to the constant one.
    wrong = degrees * modes - matrix @ modes - value * degrees * modes
    assert np.abs(wrong).max() < 1e-6 * np.abs(degrees * modes).max()
    singular = np.linalg.svd(root * modes, compute_uv=False)
    assert singular[1] > 0.1 * singular[0]
    assert np.abs((degrees * modes).sum(axis=0)).max() < 1e-8 * np.abs(degrees * modes).sum()


def test_a_ring_takes_both_of_two_equal_modes():
    ring = path(5000).tolil()
    ring[0, 4999] = ring[4999, 0] = 1
    turns = 2 * np.pi * np.arange(5000) / 5000
    assert angle(slowest_modes(ring.tocsr(), 2), np.column_stack([np.cos(turns), np.sin(turns)]), ring) < ALLOWED


@settings(deadline=None, max_examples=15)
@given(n=st.integers(401, 600), density=st.floats(0, 0.05), decades=st.floats(0, 6), seed=st.integers(0, 99))
def test_any_connected_graph(n, density, decades, seed):
    rng = np.random.default_rng(seed)
    parents = np.array([rng.integers(max(0, i - 1 - 20 * seed), i) for i in range(1, n)])
    pattern = sparse.csr_matrix((np.ones(n - 1), (np.arange(1, n), parents)), shape=(n, n))
    pattern = sparse.triu(pattern + pattern.T + sparse.random(n, n, density, random_state=rng), k=1, format="coo")
    pattern.data = (10 ** rng.uniform(-decades, 0, len(pattern.data))).astype(np.float32)
    matrix = sparse.csr_matrix(pattern + pattern.T)
    modes = slowest_modes(matrix, 2)
    degrees = np.asarray(matrix.astype(np.float64).sum(axis=1))
    values, _ = true_modes(matrix, 2)
    laplacian = degrees * modes - matrix.astype(np.float64) @ modes
    found = eigh(modes.T @ laplacian, modes.T @ (degrees * modes), eigvals_only=True)
    np.testing.assert_allclose(found, values[:2], rtol=1e-3)


def test_the_cycle_solves_the_laplacian_well_and_symmetrically(rng):
    matrix = curve(3000, rng)
    hierarchy = Hierarchy((matrix.indptr.astype(np.int64), matrix.indices, matrix.data), 300, in_turn)
    target = rng.normal(size=(matrix.shape[0], 3))
    target -= target.mean(axis=0)
    found = hierarchy.solve(0, target)
    rest = target - hierarchy.product(0, found)
    for _ in range(8):
        found = hierarchy.solve(0, rest)
        rest = rest - hierarchy.product(0, found)
    assert np.linalg.norm(rest) < 0.1 * np.linalg.norm(target)


@pytest.mark.parametrize("make", [lambda rng: grid(150, 170), lambda rng: curve(20_000, rng)], ids=["grid", "curve"])
def test_any_number_of_threads_gives_the_same_bits(make, rng):
    matrix = make(rng)
    alone, *together = (slowest_modes(matrix, 2, n_jobs) for n_jobs in (1, 2, 3))
    assert all(alone.tobytes() == other.tobytes() for other in together)


def test_the_input_may_be_read_only_and_wide_and_is_left_alone():
    matrix = grid(30, 31).astype(np.float32)
    expected = slowest_modes(matrix, 2)
    frozen = sparse.csr_matrix((matrix.data, matrix.indices.astype(np.int64), matrix.indptr), shape=matrix.shape)
    copy = matrix.copy()
    for part in (frozen.data, frozen.indices, frozen.indptr):
        part.flags.writeable = False
    np.testing.assert_array_equal(slowest_modes(frozen, 2), expected)
    assert (frozen != copy).nnz == 0


def test_the_work_is_bounded_where_modes_hardly_differ(monkeypatch, rng):
    """The modes of a random graph without structure lie so close that none is worth waiting for."""
    n, products = 3000, []
    pairs = rng.integers(0, n, size=(2, 3 * n))
    pairs = np.hstack([pairs[:, pairs[0] != pairs[1]], [np.arange(n - 1), np.arange(1, n)]])
    half = sparse.csr_matrix((np.ones(pairs.shape[1]), pairs), shape=(n, n), dtype=np.float32)
    take_step = eigensolver._Iteration._step

    def counted(iteration, direction):
        products.append(len(direction))
        take_step(iteration, direction)

    monkeypatch.setattr(eigensolver._Iteration, "_step", counted)
    matrix = sparse.csr_matrix(half + half.T)
    modes = slowest_modes(matrix, 2)
    assert products.count(n) <= eigensolver.STEPS
    assert angle(modes, true_modes(matrix, 12)[1], matrix) < 1


def test_modes_that_fail_the_test_are_not_used(monkeypatch, caplog, rng):
    monkeypatch.setattr(eigensolver, "STEPS", 0)
    monkeypatch.setattr(eigensolver, "PASSING_STEPS", 0)
    matrix = fuzzy_graph(rng.normal(size=(2000, 8)))
    request = InitRequest(graph=Graph.from_scipy(matrix), n_components=2, seed=3)
    with caplog.at_level(logging.WARNING, logger="vicinal"):
        layout = spectral.Backend(NoParams()).place(request)
    assert "2000 cells starts from random positions: its eigenvectors were not found in bounded time" in caplog.text
    assert np.ptp(layout, axis=0).min() > 0.9 * np.ptp(layout, axis=0).max()


def test_threads_are_given_the_same_ranges(rng):
    seen = []
    matrix = grid(100, 100).astype(np.float32)
    with workers(2) as run:
        hierarchy = Hierarchy((matrix.indptr.astype(np.int64), matrix.indices, matrix.data), 300, run)
        hierarchy.over_rows(20_000, lambda first, last: seen.append((first, last)))
    assert sorted(seen) == [(first, first + 2500) for first in range(0, 20_000, 2500)]
