from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_helpers import MISSING, make_table
from scipy import sparse

from vicinal.kernels import fuzzy, merging

tables = st.builds(
    make_table,
    seed=st.integers(0, 2**20),
    n=st.integers(0, 25),
    k=st.integers(0, 12),
    missing=st.sampled_from([0.0, 0.3, 0.9]),
    zeros=st.sampled_from([0.0, 0.3, 1.0]),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
connectivities = st.sampled_from([0.0, 0.5, 1.0, 1.5, 2.0, 3.0])
mixes = st.sampled_from([0.0, 0.3, 1.0])


def naive_rho(row: np.ndarray, local_connectivity: float) -> float:
    apart = row[np.isfinite(row) & (row > 0)].astype(float)
    if len(apart) < local_connectivity:
        return apart.max(initial=0.0)
    if not len(apart):
        return 0.0
    return float(np.interp(local_connectivity, np.arange(len(apart) + 1), np.concatenate([[0.0], apart])))


def naive_sum(row: np.ndarray, rho: float, sigma: float) -> float:
    return float(np.exp(-np.maximum(row[np.isfinite(row)].astype(float) - rho, 0) / sigma).sum())


def dense_memberships(indices, distances, sigmas, rhos) -> np.ndarray:
    dense = np.zeros((len(indices), len(indices)))
    for i, j in zip(*np.nonzero(indices != MISSING), strict=True):
        beyond = max(float(distances[i, j]) - float(rhos[i]), 0.0)
        dense[i, indices[i, j]] = np.exp(-beyond / sigmas[i]) if beyond else 1.0
    return dense


def to_dense(compressed, n: int) -> np.ndarray:
    indptr, indices, weights = compressed
    return sparse.csr_matrix((weights, indices, indptr), shape=(n, n)).toarray()


def rows_of(indices, distances, local_connectivity=1.0, n_jobs=1):
    sigmas, rhos = fuzzy.smooth_distances(indices, distances, local_connectivity, n_jobs)
    return fuzzy.membership_rows(indices, distances, sigmas, rhos, n_jobs)


@settings(deadline=None, max_examples=150)
@given(tables, connectivities)
def test_rho_is_the_interpolated_distance_to_a_neighbour_apart(table, local_connectivity):
    _, rhos = fuzzy.smooth_distances(*table, local_connectivity)
    expected = [naive_rho(row, local_connectivity) for row in table[1]]
    np.testing.assert_allclose(rhos, expected, rtol=1e-6)


@settings(deadline=None, max_examples=150)
@given(tables, connectivities)
def test_sigma_makes_memberships_sum_to_the_target_or_stands_at_its_floor(table, local_connectivity):
    sigmas, rhos = fuzzy.smooth_distances(*table, local_connectivity)
    present = np.isfinite(table[1])
    everywhere = table[1][present].sum(dtype=float) / max(present.sum() + len(present), 1)
    for row, sigma, rho in zip(table[1], sigmas.astype(float), rhos.astype(float), strict=True):
        finite = row[np.isfinite(row)].astype(float)
        if not len(finite):
            assert sigma == 0
            continue
        mean = finite.sum() / (len(finite) + 1) if rho > 0 else everywhere
        assert sigma >= 1e-3 * mean * (1 - 1e-6)
        beyond = np.maximum(finite - rho, 0)
        target = np.log2(len(finite) + 1)
        if np.count_nonzero(beyond == 0) > target - 1e-3 or len(finite) < target + 1e-3:
            continue  # no bandwidth reaches the target
        # The sum rises with sigma, so there is one root; where it lies below the floor, the sum there is too large.
        if sigma > 1e-3 * mean * (1 + 1e-6):
            assert naive_sum(row, rho, sigma) == pytest.approx(target, abs=2e-5)
        else:
            assert naive_sum(row, rho, sigma) > target - 2e-5


def bisected(row: np.ndarray, rho: np.float32) -> np.float32:
    """Sigma by evaluating the sum at every step."""
    beyond = np.maximum(row - rho, np.float32(0)).astype(float)
    low, high, middle = 0.0, np.inf, 1.0
    for _ in range(fuzzy.BISECTIONS):
        excess = sum(math.exp(-b / middle) for b in beyond) - math.log2(len(row) + 1)
        if abs(excess) < fuzzy.TOLERANCE:
            break
        low, high = (low, middle) if excess > 0 else (middle, high)
        middle = (low + high) / 2 if high < np.inf else middle * 2
    return np.float32(middle)


spread_tables = st.builds(
    make_table,
    seed=st.integers(0, 2**20),
    n=st.integers(10, 40),
    k=st.integers(1, 30),
    missing=st.sampled_from([0.0, 0.3]),
    zeros=st.sampled_from([0.0, 0.3, 0.6]),
    scale=st.floats(-30, 30).map(lambda power: 10.0**power),
)


@settings(deadline=None, max_examples=150)
@given(spread_tables, connectivities, st.sampled_from([0.05, 1.0, 6.0]))
def test_sigma_is_where_plain_bisection_stops(table, local_connectivity, power):
    """The steps are not evaluated but known from the root; which bandwidth within the tolerance it is, counts."""
    indices, distances = table
    largest = np.nanmax(np.where(np.isfinite(distances), distances, 0), initial=np.float32(1e-30))
    distances = (largest * (distances / largest) ** np.float32(power)).astype(np.float32)
    sigmas, rhos = fuzzy.smooth_distances(indices, distances, local_connectivity)
    for row, sigma, rho in zip(distances, sigmas, rhos, strict=True):
        row = row[np.isfinite(row)]
        floor = 1e-3 * row.sum(dtype=float) / (len(row) + 1)
        if len(row) and rho > 0:
            assert sigma == np.float32(max(bisected(row, rho), np.float32(floor)))


@settings(deadline=None, max_examples=150)
@given(tables, connectivities)
def test_memberships_equal_the_formula(table, local_connectivity):
    sigmas, rhos = fuzzy.smooth_distances(*table, local_connectivity)
    rows = fuzzy.membership_rows(*table, sigmas, rhos)
    expected = dense_memberships(*table, sigmas, rhos)
    np.testing.assert_allclose(to_dense(merging.packed(*rows), len(table[0])), expected, rtol=2e-5, atol=1e-30)


@settings(deadline=None, max_examples=150)
@given(tables, connectivities, mixes)
def test_symmetrized_equals_the_dense_formula_and_is_canonical(table, local_connectivity, mix):
    n = len(table[0])
    rows = rows_of(*table, local_connectivity)
    indptr, indices, weights = fuzzy.symmetrized(*rows, mix)
    memberships = to_dense(merging.packed(*rows), n)
    both = memberships * memberships.T
    expected = mix * (memberships + memberships.T - both) + (1 - mix) * both
    found = to_dense((indptr, indices, weights), n)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert np.array_equal(found, found.T)
    assert not found.diagonal().any()
    assert ((weights > 0) & (weights <= 1)).all()
    assert indices.dtype == np.int32 and weights.dtype == np.float32 and len(indptr) == n + 1
    assert all((np.diff(indices[a:b]) > 0).all() for a, b in zip(indptr[:-1], indptr[1:], strict=True))


def test_a_row_of_duplicates_takes_its_scale_from_the_whole_table():
    indices = np.array([[1, 2], [0, 2], [0, 1], [0, 1]], np.int32)
    distances = np.array([[0, 0], [0, 0], [1, 2], [3, 6]], np.float32)
    sigmas, rhos = fuzzy.smooth_distances(indices, distances)
    assert rhos.tolist() == [0, 0, 1, 3]
    np.testing.assert_allclose(sigmas[:2], 1e-3 * distances.sum() / (4 * 3), rtol=1e-6)


def test_a_missing_neighbour_is_as_if_its_column_were_not_there():
    indices, distances = make_table(0, 40, 8)
    shorter = rows_of(indices[:, :7], distances[:, :7])
    far, indices_without = distances.copy(), indices.copy()
    far[:, 7], indices_without[:, 7] = np.inf, MISSING
    same = rows_of(indices_without, far)
    for ours, expected in zip(merging.packed(*same), merging.packed(*shorter), strict=True):
        np.testing.assert_array_equal(ours, expected)
    only_distance_says_so = rows_of(indices, far)
    np.testing.assert_array_equal(only_distance_says_so[1], same[1])


def test_one_disconnected_neighbour_leaves_all_other_rows_as_they_were():
    indices, distances = make_table(1, 40, 8, zeros=0.2)
    sigmas, rhos = fuzzy.smooth_distances(indices, distances)
    indices[3, 7], distances[3, 7] = MISSING, np.inf
    with_gap, _ = fuzzy.smooth_distances(indices, distances)
    others = (np.arange(40) != 3) & (rhos > 0)
    np.testing.assert_array_equal(with_gap[others], sigmas[others])
    assert np.isfinite(with_gap).all()
    assert (rows_of(indices, distances)[1][3] < 1).any()


@pytest.mark.parametrize(("n", "k"), [(0, 0), (1, 0), (5, 0), (2, 1)])
def test_smallest_tables(n, k):
    indptr, indices, weights = fuzzy.symmetrized(*rows_of(*make_table(0, n, k)))
    assert indptr[-1] == len(indices) == len(weights) == (2 if k else 0)
    assert len(indptr) == n + 1


def test_rows_without_neighbours_are_empty():
    indices, distances = make_table(2, 10, 4)
    indices[:], distances[:] = MISSING, np.inf
    assert fuzzy.symmetrized(*rows_of(indices, distances))[0][-1] == 0


def test_a_column_given_twice_counts_once_with_its_nearer_distance():
    indices = np.array([[1, 1, 2], [0, 2, 2], [0, 1, 1]], np.int32)
    distances = np.array([[1, 2, 3], [1, 2, 4], [1, 5, 9]], np.float32)
    columns, weights, counts = rows_of(indices, distances)
    assert counts.tolist() == [2, 2, 2]
    assert columns[:, :2].tolist() == [[1, 2], [0, 2], [0, 1]]
    assert weights[0, 0] == 1


def test_any_number_of_threads_gives_the_same_bits():
    rng = np.random.default_rng(3)
    n, k = 3000, 6
    indices = np.sort((np.arange(n)[:, None] + rng.integers(1, n - 1, (n, k))) % n, axis=1).astype(np.int32)
    distances = np.sort(rng.gamma(2.0, size=(n, k)), axis=1).astype(np.float32)
    alone = fuzzy.symmetrized(*rows_of(indices, distances), 0.7)
    for n_jobs in (2, 3):
        together = fuzzy.symmetrized(*rows_of(indices, distances, n_jobs=n_jobs), 0.7, n_jobs)
        assert all(a.tobytes() == b.tobytes() for a, b in zip(alone, together, strict=True))


def test_inputs_may_be_read_only_and_are_left_alone():
    indices, distances = make_table(4, 30, 5, missing=0.2)
    kept = indices.copy(), distances.copy()
    indices.flags.writeable = distances.flags.writeable = False
    frozen = fuzzy.symmetrized(*rows_of(indices, distances))
    for ours, expected in zip(frozen, fuzzy.symmetrized(*rows_of(*kept)), strict=True):
        np.testing.assert_array_equal(ours, expected)
    np.testing.assert_array_equal(indices, kept[0])
    np.testing.assert_array_equal(distances, kept[1])


def test_large_graphs_get_wide_row_pointers():
    assert merging._narrow(np.array([0, 2**31 - 1])).dtype == np.int32
    assert merging._narrow(np.array([0, 2**31])).dtype == np.int64


def python_of(function):
    return getattr(function, "py_func", function)


def test_kernels_equal_their_python():
    indices, distances = make_table(5, 30, 6, missing=0.2, zeros=0.2)
    n = len(indices)

    def smooth(run):
        out = np.zeros(n, np.float32), np.zeros(n, np.float32), np.zeros(n), np.zeros(n, np.int64)
        run(indices, distances, 1.5, *out, 0, n)
        return out

    def weigh(run, sigmas, rhos):
        out = np.zeros_like(indices), np.zeros_like(distances), np.zeros(n, np.int64)
        run(indices, distances, sigmas, rhos, *out, 0, n)
        return out

    def transpose(count, scatter, rows):
        starts = np.zeros(n + 1, np.int64)
        count(rows[0], rows[2], starts)
        starts = np.cumsum(starts)
        out = np.zeros(starts[-1], np.int32), np.zeros(starts[-1], np.float32)
        scatter(*rows, starts[:-1].copy(), *out)
        return starts, *out

    def merge(count, fill, rows, other):
        sizes = np.zeros(n, np.int64)
        count(*rows, *other, merging.UNION, 0.4, sizes, 0, n)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        out = np.zeros(starts[-1], np.int32), np.zeros(starts[-1], np.float32)
        fill(*rows, *other, merging.UNION, 0.4, starts, *out, 0, n)
        return starts, *out

    def assert_same(found, expected):
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)

    smoothed = smooth(fuzzy.smooth_rows)
    assert_same(smoothed, smooth(python_of(fuzzy.smooth_rows)))
    rows = weigh(fuzzy.weigh_rows, *smoothed[:2])
    assert_same(rows, weigh(python_of(fuzzy.weigh_rows), *smoothed[:2]))
    other = transpose(merging.count_columns, merging.scatter, rows)
    assert_same(other, transpose(python_of(merging.count_columns), python_of(merging.scatter), rows))
    merged = merge(merging.count_merged, merging.fill_merged, rows, other)
    assert_same(merged, merge(python_of(merging.count_merged), python_of(merging.fill_merged), rows, other))
    assert merged[0][-1] > 0
