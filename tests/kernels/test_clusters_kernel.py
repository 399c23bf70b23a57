from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from vicinal.kernels import clusters as module
from vicinal.kernels.clusters import assign, centred, cluster, in_blocks, k_means, means, nearest_centers
from vicinal.kernels.tiles import WIDTH


def blobs(rng, n, n_features=5, n_blobs=12):
    return (rng.normal(size=(n_blobs, n_features)) * 6)[rng.integers(0, n_blobs, n)] + rng.normal(size=(n, n_features))


def rows_of(kind, rng, n=3000):
    rows = blobs(rng, n)
    if kind == "duplicates":
        rows[rng.random(n) < 0.99] = rows[0]
    if kind == "constant":
        rows[:] = 3
    if kind == "line":
        rows[:, 1:] = 0
    if kind == "outlier":
        rows[7] = 1e9
    return rows.astype(np.float32)


KINDS = ["blobs", "duplicates", "constant", "line", "outlier"]


@pytest.mark.parametrize("n_centers", [1, 3, 64, 65, 200])
def test_assign_is_the_nearest_center(rng, n_centers):
    rows, centers = rng.normal(size=(333, 7)).astype(np.float32), rng.normal(size=(n_centers, 7)).astype(np.float32)
    labels, scores = nearest_centers(rows, centers, 1)
    every = cdist(rows.astype(float), centers.astype(float), "sqeuclidean")
    np.testing.assert_array_equal(labels, every.argmin(axis=1))
    np.testing.assert_allclose(2 * scores + (rows**2).sum(axis=1), every.min(axis=1), atol=1e-4)


def test_assign_gives_ties_to_the_first_and_equals_its_plain_form(rng):
    rows = rng.integers(-2, 3, (50, 3)).astype(np.float32)
    centers = np.repeat(rng.integers(-2, 3, (40, 3)), 2, axis=0).astype(np.float32)
    labels, scores = nearest_centers(rows, centers, 1)
    assert (labels % 2 == 0).all()
    plain = np.empty(50, np.int32), np.empty(50, np.float32)
    assign.py_func(rows, in_blocks(centers), 0, 50, *plain)
    np.testing.assert_array_equal(plain[0], labels)
    np.testing.assert_array_equal(plain[1], scores)


def test_means(rng):
    rows, labels = rng.normal(size=(100, 4)).astype(np.float32), rng.integers(0, 6, 100).astype(np.int32)
    labels[labels == 2] = 3
    for function in (means, means.py_func):
        found, counts = function(rows, labels, 6)
        np.testing.assert_array_equal(counts, np.bincount(labels, minlength=6))
        for c in np.unique(labels):
            np.testing.assert_allclose(found[c], rows[labels == c].astype(float).mean(axis=0), rtol=1e-12)
        np.testing.assert_array_equal(found[2], 0)


def test_k_means_finds_separate_blobs(rng):
    truth = np.repeat(np.eye(6) * 100, 200, axis=0)
    rows = (truth + rng.normal(size=truth.shape)).astype(np.float32)
    centers = k_means(rows, 40, 0, 1)
    assert cdist(rows, centers).min(axis=1).max() < 6


def test_duplicates_do_not_keep_the_centers_to_themselves(rng):
    rows = rows_of("duplicates", rng)
    centers = k_means(rows, 100, 0, 1)  # so many that all rows are sampled
    np.testing.assert_allclose(cdist(rows, centers).min(axis=1), 0, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "n_clusters"), [(3000, 12), (3000, 1), (200, 150), (1, 1), (65, 2)])
def test_every_row_is_in_one_cluster(rng, monkeypatch, kind, n, n_clusters):
    monkeypatch.setattr(module, "AT_MOST", 400)
    rows = rows_of(kind, rng, n) if n > 7 else np.ones((n, 5), np.float32)
    found = cluster(rows, n_clusters, 0, 1)
    there = found.members >= 0
    np.testing.assert_array_equal(found.members[there], np.arange(n))
    np.testing.assert_array_equal(np.sort(found.order), np.arange(n))
    by_cluster = found.blocks.points.transpose(0, 2, 1)
    np.testing.assert_array_equal(by_cluster[there], rows[found.order])
    np.testing.assert_allclose(found.blocks.half_norms[there], (rows[found.order] ** 2).sum(axis=1) / 2, rtol=1e-5)
    assert np.isinf(found.blocks.half_norms[~there]).all()
    sizes = np.add.reduceat(there.sum(axis=1), found.first[:-1])
    assert (sizes > 0).all() and (sizes <= 400).all() and sizes.sum() == n
    np.testing.assert_array_equal(np.diff(found.first), -(-sizes // WIDTH))
    labels = np.repeat(np.arange(len(sizes)), sizes)
    for c in range(len(sizes)):
        mean = rows[found.order[labels == c]].astype(float).mean(axis=0)
        np.testing.assert_allclose(found.centers[c], mean, rtol=1e-5, atol=1e-5)


def test_large_clusters_are_cut_across_their_length(monkeypatch):
    monkeypatch.setattr(module, "AT_MOST", 100)
    rows = np.linspace(0, 1, 1000, dtype=np.float32)[np.random.default_rng(0).permutation(1000), None]
    found = cluster(rows, 1, 0, 1)
    assert len(found.centers) == 20
    extents = [np.ptp(rows[part]) for part in np.array_split(found.order, 20)]
    assert max(extents) < 0.06


@pytest.mark.parametrize("kind", KINDS)
def test_any_number_of_threads_gives_the_same_bits(rng, kind):
    rows = rows_of(kind, rng)
    one = cluster(rows, 20, 0, 1)
    for n_jobs in (2, 3, 8):
        other = cluster(rows, 20, 0, n_jobs)
        np.testing.assert_array_equal(other.order, one.order)
        np.testing.assert_array_equal(other.centers, one.centers)


def test_the_seed_decides(rng):
    rows = rows_of("blobs", rng)
    assert not np.array_equal(cluster(rows, 20, 0, 1).centers, cluster(rows, 20, 1, 1).centers)


def test_centred(rng):
    rows = (rng.normal(size=(500, 3)) + [1e6, 0, -5]).astype(np.float32)
    rows[::50] = 1e9
    around, middle = centred(rows)
    np.testing.assert_allclose(np.median(around, axis=0), 0, atol=0.1)
    np.testing.assert_array_equal(around, rows - middle)
