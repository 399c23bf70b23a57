from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from vicinal.kernels import clusters as clusters_module
from vicinal.kernels import ivf
from vicinal.kernels.ivf import Index, place, probe, sweep
from vicinal.kernels.knn import Reference, nearest_rows


@pytest.fixture(autouse=True)
def small_clusters(monkeypatch):
    monkeypatch.setattr(ivf, "MEMBERS", 32)
    monkeypatch.setattr(ivf, "CLUSTERS_PER_ROOT", 10_000)
    monkeypatch.setattr(clusters_module, "AT_MOST", 128)


def blobs(rng, n, n_features=6):
    return ((rng.normal(size=(15, n_features)) * 5)[rng.integers(0, 15, n)] + rng.normal(size=(n, n_features))).astype(
        np.float32
    )


def mostly_equal(rng, n, n_features=6):
    rows = blobs(rng, n, n_features)
    rows[rng.random(n) < 0.99] = rows[0]
    return rows


def direct(rows, k, metric="euclidean"):
    return nearest_rows(Reference.pack(rows, metric), rows, k, own=np.arange(len(rows)))


def find(rows, k, n_probe=4, metric="euclidean", seed=0, n_jobs=1):
    return Index.build(rows, metric, seed, n_jobs).neighbors(k, n_probe, n_jobs=n_jobs)


def recall(found, true):
    return (found[:, :, None] == true[:, None, :]).any(axis=1).mean()


def assert_same(one, other):
    np.testing.assert_array_equal(one[0], other[0])
    np.testing.assert_array_equal(one[1].view(np.uint32), other[1].view(np.uint32))


def assert_well_formed(rows, found, k):
    indices, distances = found
    n = len(rows)
    assert indices.shape == distances.shape == (n, k)
    assert (indices.dtype, distances.dtype) == (np.int32, np.float32)
    there = indices >= 0
    np.testing.assert_array_equal(there.sum(axis=1), min(k, n - 1))
    np.testing.assert_array_equal(there, np.isfinite(distances))
    assert (indices != np.arange(n)[:, None]).all()
    ordered = np.sort(np.where(there, indices, -2 - np.arange(k)), axis=1)
    assert (np.diff(ordered, axis=1) > 0).all(), "a neighbour twice"
    assert (distances[:, 1:] >= distances[:, :-1]).all()
    equal = (distances[:, 1:] == 0) & (distances[:, :-1] == 0)
    assert (indices[:, 1:] > indices[:, :-1])[equal].all(), "of equal rows, the smaller index first"


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("make", [blobs, mostly_equal])
def test_looking_everywhere_is_exact(rng, make, metric):
    rows = make(rng, 1500)
    found, true = find(rows, 12, 10**6, metric), direct(rows, 12, metric)
    np.testing.assert_array_equal(found[1], true[1])
    if make is blobs:  # among equal rows any do
        np.testing.assert_array_equal(found[0], true[0])


def test_recall_rises_with_the_clusters_probed(rng):
    rows = rng.normal(size=(6000, 10)).astype(np.float32)
    true = direct(rows, 12)[0]
    reached = [recall(find(rows, 12, n_probe)[0], true) for n_probe in (1, 4, 16, 64)]
    assert reached == sorted(reached) and reached[0] < 0.8 and reached[-1] > 0.99


@pytest.mark.parametrize("make", [blobs, mostly_equal])
def test_distances_are_direct_differences(rng, make):
    rows = make(rng, 1200)
    indices, distances = find(rows, 9)
    assert_well_formed(rows, (indices, distances), 9)
    true = np.sqrt(((rows[indices].astype(float) - rows[:, None]) ** 2).sum(axis=2))
    np.testing.assert_allclose(distances, true, rtol=1e-6)
    every, exact = direct(rows, 1199)
    ranked = np.argsort(every, axis=1)
    np.testing.assert_array_equal(
        distances,
        np.take_along_axis(exact, np.take_along_axis(ranked, indices - (indices > np.arange(1200)[:, None]), 1), 1),
    )


@given(st.integers(1, 400), st.integers(1, 20), st.integers(0, 60), st.integers(1, 9), st.integers(0, 2**32 - 1))
@settings(max_examples=60, deadline=None)
def test_any_shape(n, n_features, k, n_probe, seed):
    rng = np.random.default_rng(seed)
    rows = rng.choice([blobs, mostly_equal])(rng, n, n_features)
    assert_well_formed(rows, find(rows, k, n_probe), k)


@pytest.mark.parametrize("n", range(1, 41))
def test_few_rows_find_all_others(rng, n):
    rows = rng.normal(size=(n, 4)).astype(np.float32)
    for k in {n - 1, n, n + 3}:
        assert_same(find(rows, k), direct(rows, k))


def test_more_neighbors_than_the_clusters_probed_hold(rng):
    rows = blobs(rng, 600)
    assert_well_formed(rows, find(rows, 500, 1), 500)


@pytest.mark.parametrize("make", [blobs, mostly_equal])
@pytest.mark.parametrize("n_jobs", [2, 3, 8])
def test_any_number_of_threads_gives_the_same_bits(rng, make, n_jobs):
    rows = make(rng, 4000)
    one, other = Index.build(rows, "euclidean", 0, 1), Index.build(rows, "euclidean", 0, n_jobs)
    assert_same(one.neighbors(10, 4), other.neighbors(10, 4, n_jobs=n_jobs))
    new = rows[:300] + np.float32(0.1)
    assert_same(one.query(new, 10, 4), other.query(new, 10, 4, n_jobs=n_jobs))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_query_is_a_function_of_the_row(rng, metric):
    rows = rng.normal(size=(3000, 8)).astype(np.float32)
    index = Index.build(rows, metric, 0, 1)
    new = rng.normal(size=(100, 8)).astype(np.float32)
    together = index.query(new, 7, 6)
    for part in (slice(0, 1), slice(1, 2), slice(40, 57), slice(99, 100)):
        assert_same(index.query(new[part], 7, 6), (together[0][part], together[1][part]))
    true = nearest_rows(Reference.pack(rows, metric), new, 7)
    assert 0.7 < recall(together[0], true[0]) < 1
    assert_same(index.query(new, 7, 10**6), true)


@pytest.mark.parametrize("make", [blobs, mostly_equal])
def test_query_finds_the_reference_rows_themselves(rng, make):
    rows = make(rng, 2000)
    _, distances = Index.build(rows, "euclidean", 0, 1).query(rows[:500], 3, 4)
    np.testing.assert_array_equal(distances[:, 0], 0)


def test_query_for_more_than_there_are(rng):
    rows = blobs(rng, 50)
    indices, distances = Index.build(rows, "euclidean", 0, 1).query(rows[:4], 60, 1)
    np.testing.assert_array_equal(np.sort(indices[:, :50], axis=1), np.tile(np.arange(50), (4, 1)))
    assert (indices[:, 50:] == -1).all() and np.isinf(distances[:, 50:]).all()


def test_far_from_the_origin_and_at_any_scale(rng):
    rows = blobs(rng, 2000)
    usual = recall(find(rows, 10)[0], direct(rows, 10)[0])
    for other in (rows + np.float32(1e5), rows * np.float32(1e-6), rows * np.float32(1e6)):
        assert recall(find(other, 10)[0], direct(other, 10)[0]) > usual - 0.01


def test_sweep_is_neighbors_of_neighbors(rng):
    rows = rng.normal(size=(80, 3)).astype(np.float32)
    names = rng.permutation(80).astype(np.int32)
    indices = np.array([rng.choice(np.delete(np.arange(80), i), 6, replace=False) for i in range(80)], np.int32)
    indices[:10, 4:] = -1
    sums = cdist(rows, rows, "sqeuclidean").astype(np.float32)
    nearest = np.where(indices < 0, np.inf, np.take_along_axis(sums, np.maximum(indices, 0), axis=1))
    order = np.argsort(nearest, axis=1)
    indices, nearest = (np.take_along_axis(a, order, axis=1).astype(a.dtype) for a in (indices, nearest))
    better, closer = np.empty_like(indices), np.empty_like(nearest, np.float32)
    for function in (sweep, sweep.py_func):
        function(rows, names, indices, nearest.astype(np.float32), 0, 80, better, closer)
        for i in range(80):
            known = indices[i][indices[i] >= 0]
            met = np.setdiff1d(np.append(indices[known].ravel(), known), [i, -1])
            expected = met[np.argsort(sums[i, met])][:6]
            np.testing.assert_array_equal(better[i, : len(expected)], expected)
            np.testing.assert_allclose(closer[i, : len(expected)], sums[i, expected], rtol=1e-5)


def test_sweep_remembers_nobody_and_still_lists_nobody_twice(rng, monkeypatch):
    rows = rng.normal(size=(200, 3)).astype(np.float32)
    indices, distances = direct(rows, 20)
    better, closer = np.empty_like(indices), np.empty_like(distances)
    monkeypatch.setattr(ivf, "_mark", lambda seen, i, m: True)
    sweep.py_func(rows, np.arange(200, dtype=np.int32), indices, distances**2, 0, 200, better, closer)
    np.testing.assert_array_equal(better, indices)


def test_kernels_equal_their_plain_form(rng):
    rows = blobs(rng, 150, 3)
    index = Index.build(rows, "euclidean", 0, 1)
    edges, results = index._batches(), []
    for function in (probe, probe.py_func):
        out = np.empty((150, 4), np.int32), np.empty((150, 4), np.float32)
        function(index.clusters, index.rows, 2, index.names, edges, 0, len(edges) - 1, *out)
        results.append(out)
    assert_same(*results)
    results = []
    for function in (place, place.py_func):
        out = np.empty((9, 4), np.int32), np.empty((9, 4), np.float32)
        function(index.clusters, index.rows, rows[:9], rows[:9] - index.middle, 2, index.names, 0, 9, *out)
        results.append(out)
    assert_same(*results)


def test_the_seed_decides(rng):
    rows = rng.normal(size=(3000, 10)).astype(np.float32)
    assert not np.array_equal(find(rows, 10, 1, seed=0)[0], find(rows, 10, 1, seed=1)[0])


def test_input_may_be_read_only_and_is_left_alone(rng):
    rows = blobs(rng, 500)
    before = rows.copy()
    rows.setflags(write=False)
    find(rows, 5)
    np.testing.assert_array_equal(rows, before)


@pytest.mark.parametrize(("far", "scale"), [(1e4, 1.0), (30.0, 1e-3), (30.0, 1e-4)])
def test_a_dense_part_far_from_the_middle_is_not_lost_to_rounding(far, scale, rng):
    rows = rng.normal(size=(3000, 8)).astype(np.float32)
    rows[:1000] = far + scale * rng.normal(size=(1000, 8))
    found, distances = find(rows, 10, n_probe=1000)
    true, expected = direct(rows, 10)
    assert recall(found[:1000], true[:1000]) > 0.999
    np.testing.assert_allclose(distances[:1000].mean(), expected[:1000].mean(), rtol=0.02)
