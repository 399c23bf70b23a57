from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from vicinal.kernels import knn
from vicinal.kernels.knn import METRICS, WIDTH, Reference, nearest_and_ranks, nearest_rows

MANY = settings(max_examples=60, deadline=None)


def sums_by_numpy(queries: np.ndarray, rows: np.ndarray, manhattan: bool) -> np.ndarray:
    """Sums over features, one feature after the other, in single precision."""
    total = np.zeros((len(queries), len(rows)), np.float32)
    for f in range(rows.shape[1]):
        difference = np.subtract.outer(queries[:, f], rows[:, f])
        total += np.abs(difference) if manhattan else difference * difference
    return total


def nearest_by_sorting(sums: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Table of exactly ``k`` columns; ties in the order of the index."""
    order = np.argsort(sums, axis=1, kind="stable")[:, :k]
    near = np.take_along_axis(sums, order, axis=1)
    gap = ((0, 0), (0, k - order.shape[1]))
    indices = np.pad(np.where(np.isinf(near), -1, order), gap, constant_values=-1)
    return indices, np.pad(near, gap, constant_values=np.inf)


def points(rng: np.random.Generator, n_rows: int, n_features: int, *, ties: bool) -> np.ndarray:
    if ties:
        return rng.integers(0, 3, (n_rows, n_features)).astype(np.float32)
    return rng.normal(size=(n_rows, n_features)).astype(np.float32)


@MANY
@given(
    n_rows=st.integers(1, 2 * WIDTH + 40),
    n_queries=st.integers(0, 40),
    n_features=st.integers(1, 11),
    k=st.integers(0, 30),
    ties=st.booleans(),
    manhattan=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_nearest_rows_equal_sorting_all_sums(n_rows, n_queries, n_features, k, ties, manhattan, seed):
    rng = np.random.default_rng(seed)
    rows = points(rng, n_rows, n_features, ties=ties)
    queries = points(rng, n_queries, n_features, ties=ties)
    own = rng.integers(-1, n_rows, n_queries)
    sums = sums_by_numpy(queries, rows, manhattan)
    with_own = np.flatnonzero(own >= 0)
    sums[with_own, own[with_own]] = np.inf

    reference = Reference.pack(rows, "manhattan" if manhattan else "euclidean")
    indices, distances = nearest_rows(reference, queries, k, own=own)

    expected, nearest = nearest_by_sorting(sums, k)
    np.testing.assert_array_equal(indices, expected)
    np.testing.assert_array_equal(distances, nearest if manhattan else np.sqrt(nearest))
    assert (indices.dtype, distances.dtype) == (np.int32, np.float32)


@MANY
@given(
    n_rows=st.integers(2, WIDTH + 60),
    n_features=st.integers(1, 6),
    k=st.integers(0, 20),
    n_targets=st.integers(0, 20),
    ties=st.booleans(),
    metric=st.sampled_from(METRICS),
    seed=st.integers(0, 1000),
)
def test_ranks_count_the_rows_strictly_closer(n_rows, n_features, k, n_targets, ties, metric, seed):
    rng = np.random.default_rng(seed)
    rows = points(rng, n_rows, n_features, ties=ties)
    own = rng.permutation(n_rows)[:25]
    targets = rng.integers(0, n_rows - 1, (len(own), n_targets))
    targets += targets >= own[:, None]
    coordinates = knn.unit_rows(rows) if metric == "cosine" else rows
    sums = sums_by_numpy(coordinates[own], coordinates, metric == "manhattan")
    sums[np.arange(len(own)), own] = np.inf

    reference = Reference.pack(rows, metric)
    indices, ranks = nearest_and_ranks(reference, rows[own], targets, k, own=own)

    of_targets = np.take_along_axis(sums, targets, axis=1)
    np.testing.assert_array_equal(ranks, (sums[:, None, :] < of_targets[:, :, None]).sum(axis=2) + 1)
    np.testing.assert_array_equal(indices, nearest_rows(reference, rows[own], k, own=own)[0])


@pytest.mark.parametrize("manhattan", [False, True])
@pytest.mark.parametrize("n_features", [1, 4, 6])
def test_compiled_kernels_equal_their_python(rng, n_features, manhattan):
    rows = points(rng, WIDTH + 3, n_features, ties=False)
    blocks = Reference.pack(rows, "euclidean").blocks
    queries, own = rows[[5, WIDTH + 1]], np.array([5, -1])
    targets = rng.integers(0, len(rows), (2, 3)).astype(np.int32)

    def outcome(pair_sums, scan):
        sums, indices, nearest, closer = (
            np.zeros((2, 3), np.float32),
            np.full((2, 4), -1, np.int32),
            np.full((2, 4), np.inf, np.float32),
            np.zeros((2, 3), np.int64),
        )
        pair_sums(queries, targets, blocks, manhattan, 0, 2, sums)
        sums.sort(axis=1)
        scan(queries, own, sums, blocks, len(rows), manhattan, 0, 2, indices, nearest, closer)
        return sums, indices, nearest, closer

    compiled = outcome(knn.pair_sums, knn.scan)
    for one, other in zip(compiled, outcome(knn.pair_sums.py_func, knn.scan.py_func), strict=True):
        np.testing.assert_array_equal(one, other)
    assert (compiled[1] >= 0).all()


def test_compiled_unit_rows_equal_their_python_and_numpy(rng):
    rows = points(rng, 20, 5, ties=False)
    rows[3] = 0
    unit = knn.unit_rows(rows)
    np.testing.assert_array_equal(unit, knn.unit_rows.py_func(rows))
    lengths = np.linalg.norm(rows.astype(float), axis=1, keepdims=True)
    np.testing.assert_allclose(
        unit[:, :5], np.divide(rows, lengths, where=lengths > 0, out=np.zeros((20, 5))), rtol=1e-6
    )
    np.testing.assert_array_equal(unit[:, 5], np.arange(20) == 3)


@pytest.mark.parametrize("metric", METRICS)
def test_a_row_is_found_alike_alone_in_any_batch_and_with_any_threads(rng, metric):
    rows = points(rng, 700, 7, ties=False)
    reference = Reference.pack(rows, metric)
    queries = points(rng, 300, 7, ties=False)
    whole = nearest_rows(reference, queries, 9)
    shuffled = rng.permutation(len(queries))
    for n_jobs in (2, 3):
        for one, other in zip(whole, nearest_rows(reference, queries[shuffled], 9, n_jobs=n_jobs), strict=True):
            np.testing.assert_array_equal(one[shuffled], other)
    for i in (0, 17, 299):
        for one, other in zip(whole, nearest_rows(reference, queries[i : i + 1], 9), strict=True):
            np.testing.assert_array_equal(one[i], other[0])


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_distances_are_those_of_scipy(rng, metric, scale):
    rows = (scale * points(rng, 150, 12, ties=False) + np.float32(scale)).astype(np.float32)
    indices, distances = nearest_rows(Reference.pack(rows, metric), rows[:40], 10)
    every = cdist(rows[:40].astype(float), rows.astype(float), metric={"manhattan": "cityblock"}.get(metric, metric))
    np.testing.assert_allclose(distances, np.sort(every, axis=1)[:, :10], rtol=2e-5, atol=1e-9 * scale)
    np.testing.assert_array_equal(indices[:, 0], np.arange(40))


@pytest.mark.parametrize("metric", METRICS)
def test_equal_rows_are_at_distance_zero_and_stay_neighbors(rng, metric):
    rows = (1000 + rng.normal(size=(5, 40))).astype(np.float32)[np.arange(300) % 5]
    own = np.arange(300)
    indices, distances = nearest_rows(Reference.pack(rows, metric), rows, 20, own=own)
    np.testing.assert_array_equal(distances, 0)
    np.testing.assert_array_equal(indices % 5, np.repeat((own % 5)[:, None], 20, axis=1))
    assert (indices != own[:, None]).all()


def test_cosine_of_rows_of_zeros():
    rows = np.array([[0, 0], [0, 0], [2, 0], [-1, 0]], np.float32)
    indices, distances = nearest_rows(Reference.pack(rows, "cosine"), rows, 3, own=np.arange(4))
    np.testing.assert_array_equal(indices[:3], [[1, 2, 3], [0, 2, 3], [0, 1, 3]])
    np.testing.assert_array_equal(distances[:3], [[0, 1, 1], [0, 1, 1], [1, 1, 2]])


@pytest.mark.parametrize("metric", METRICS)
def test_array_layout_and_type_do_not_matter_and_compile_nothing_new(rng, metric):
    rows = points(rng, 60, 5, ties=True)
    expected = nearest_rows(Reference.pack(rows, metric), rows, 6, own=np.arange(60))
    n_variants = len(knn.scan.signatures)
    frozen = rows.copy()
    frozen.setflags(write=False)
    for variant in (frozen, np.asfortranarray(rows), rows.astype(np.float64), rows.astype(np.int64)):
        found = nearest_rows(Reference.pack(variant, metric), variant, 6, own=np.arange(60, dtype=np.int32))
        for one, other in zip(expected, found, strict=True):
            np.testing.assert_array_equal(one, other)
    assert len(knn.scan.signatures) == n_variants == 1


def test_nothing_to_find():
    none = np.empty((0, 3), np.float32)
    one = np.ones((1, 3), np.float32)
    indices, distances = nearest_rows(Reference.pack(none, "euclidean"), one, 2)
    np.testing.assert_array_equal(indices, [[-1, -1]])
    np.testing.assert_array_equal(distances, [[np.inf, np.inf]])
    assert nearest_rows(Reference.pack(one, "euclidean"), none, 2)[0].shape == (0, 2)
    assert nearest_rows(Reference.pack(one, "euclidean"), one, 0)[0].shape == (1, 0)
