"""The pruned search is the direct scan, bit for bit."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from vicinal.kernels import pruned
from vicinal.kernels.clusters import centred, cluster
from vicinal.kernels.knn import Reference, nearest_rows
from vicinal.kernels.pruned import all_neighbors, extents, nearest_members, search


def direct(rows, k, metric):
    return nearest_rows(Reference.pack(rows, metric), rows, k, own=np.arange(len(rows)))


def blobs(rng, n, n_features):
    return (rng.normal(size=(15, n_features)) * 5)[rng.integers(0, 15, n)] + rng.normal(size=(n, n_features))


def with_duplicates(rng, n, n_features, share):
    rows = blobs(rng, n, n_features)
    same = rng.random(n) < share
    rows[same] = rows[rng.integers(0, min(5, n), same.sum())]
    return rows


def with_outliers(rng, n, n_features):
    rows = blobs(rng, n, n_features)
    rows[::100] *= 1e6
    return rows


KINDS = {
    "noise": lambda rng, n, d: rng.normal(size=(n, d)),
    "blobs": blobs,
    "half duplicates": lambda rng, n, d: with_duplicates(rng, n, d, 0.5),
    "nearly all duplicates": lambda rng, n, d: with_duplicates(rng, n, d, 0.99),
    "all equal": lambda rng, n, d: np.full((n, d), 0.1),
    "zeros": lambda rng, n, d: np.zeros((n, d)),
    "grid": lambda rng, n, d: rng.integers(0, 3, (n, d)),
    "line": lambda rng, n, d: np.arange(n)[:, None] * np.ones(d),
    "constant columns": lambda rng, n, d: np.hstack([blobs(rng, n, d), np.full((n, 3), 1e7)]),
    "offset": lambda rng, n, d: blobs(rng, n, d) + 1e6,
    "offset by column": lambda rng, n, d: blobs(rng, n, d) + 10.0 ** np.arange(d),
    "outliers": with_outliers,
    "skewed": lambda rng, n, d: np.exp(3 * rng.normal(size=(n, d))),
    **{f"scale {scale:g}": lambda rng, n, d, s=scale: s * blobs(rng, n, d) for scale in (1e-30, 1e-22, 1e-6, 1e6)},
    **{f"scale {scale:g}": lambda rng, n, d, s=scale: s * blobs(rng, n, d) for scale in (1e17, 1e18, 1e19, 1e30)},
}


@pytest.fixture
def small_clusters(monkeypatch):
    monkeypatch.setattr(pruned, "MEMBERS", 32)


def assert_is_direct(rows, k, metric="euclidean", **options):
    rows = rows.astype(np.float32)
    found, true = all_neighbors(rows, k, metric, at_least=0, **options), direct(rows, k, metric)
    np.testing.assert_array_equal(found[0], true[0])
    np.testing.assert_array_equal(found[1].view(np.uint32), true[1].view(np.uint32))


@pytest.mark.usefixtures("small_clusters")
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_data(rng, kind, metric):
    assert_is_direct(KINDS[kind](rng, 1500, 6), 14, metric)


@pytest.mark.usefixtures("small_clusters")
@given(
    st.sampled_from(sorted(KINDS)),
    st.integers(1, 400),
    st.integers(1, 30),
    st.integers(0, 40),
    st.sampled_from([1, 7, 32, 300]),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=120, deadline=None)
def test_any_shape(kind, n, n_features, k, members, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pruned, "MEMBERS", members)
        assert_is_direct(KINDS[kind](np.random.default_rng(seed), n, n_features), k)


def assert_is_direct_for(rows, queries, k, metric="euclidean", **options):
    rows, queries = rows.astype(np.float32), queries.astype(np.float32)
    found = nearest_members(rows, queries, k, metric, **options)
    true = nearest_rows(Reference.pack(rows, metric), queries, k)
    np.testing.assert_array_equal(found[0], true[0])
    np.testing.assert_array_equal(found[1].view(np.uint32), true[1].view(np.uint32))


@pytest.mark.usefixtures("small_clusters")
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("kind", KINDS)
def test_other_rows_of_every_kind(rng, kind, metric):
    both = KINDS[kind](rng, 2000, 6)
    assert_is_direct_for(both[:1500], both[1300:], 14, metric)


@pytest.mark.usefixtures("small_clusters")
@given(
    st.sampled_from(sorted(KINDS)),
    st.sampled_from(sorted(KINDS)),
    st.integers(1, 400),
    st.integers(1, 200),
    st.integers(1, 20),
    st.integers(1, 40),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=80, deadline=None)
def test_other_rows_of_any_shape(kind, asking, n, m, n_features, k, seed):
    rng = np.random.default_rng(seed)
    rows, queries = KINDS[kind](rng, n, n_features), KINDS[asking](rng, m, n_features)
    n_columns = min(rows.shape[1], queries.shape[1])
    assert_is_direct_for(rows[:, :n_columns], queries[:, :n_columns], k, n_jobs=2)


@pytest.mark.usefixtures("small_clusters")
def test_few_other_rows_are_scanned_twice(rng, monkeypatch):
    again, scan = [], pruned.nearest_sums
    monkeypatch.setattr(
        pruned, "nearest_sums", lambda *given, **more: again.append(len(given[1])) or scan(*given, **more)
    )
    rows = blobs(rng, 4000, 8)
    assert_is_direct_for(rows[:3000], rows[3000:], 12)
    assert sum(again) < 30


@pytest.mark.usefixtures("small_clusters")
@pytest.mark.parametrize("value", [1e30, np.inf, np.nan])
def test_rows_that_are_nowhere_have_no_nearest(rng, value):
    rows, queries = blobs(rng, 300, 4), blobs(rng, 20, 4)
    queries[3] = value
    found = nearest_members(rows.astype(np.float32), queries.astype(np.float32), 5, "euclidean")
    assert (found[0][3] == -1).all() and np.isinf(found[1][3]).all()
    keep = np.arange(20) != 3
    true = nearest_rows(Reference.pack(rows, "euclidean"), queries[keep], 5)
    np.testing.assert_array_equal(found[0][keep], true[0])


@pytest.mark.parametrize("n", range(41))
def test_few_rows_and_all_of_them_as_neighbors(rng, n):
    rows = rng.normal(size=(n, 4))
    for k in {max(n - 1, 0), n, n + 3}:
        assert_is_direct(rows, k)


@pytest.mark.usefixtures("small_clusters")
@pytest.mark.parametrize("n_jobs", [2, 3, 8])
def test_any_number_of_threads_gives_the_same_bits(rng, n_jobs):
    assert_is_direct(blobs(rng, 3000, 10), 10, n_jobs=n_jobs)


@pytest.mark.usefixtures("small_clusters")
@pytest.mark.parametrize("kind", ["blobs", "noise", "offset", "scale 1e-06", "scale 1e+06", "outliers"])
def test_few_rows_are_scanned_twice(rng, monkeypatch, kind):
    """Otherwise the tests above would pass with a search that finds nothing."""
    again = []
    monkeypatch.setattr(pruned, "nearest_rows", lambda *given, own, **more: again.append(len(own)) or direct_of(own))
    rows = KINDS[kind](rng, 3000, 8).astype(np.float32)
    true = direct(rows, 12, "euclidean")

    def direct_of(own):
        return true[0][own], true[1][own]

    found = all_neighbors(rows, 12, "euclidean", at_least=0)
    np.testing.assert_array_equal(found[0], true[0])
    assert sum(again) < 100


def test_rows_in_doubt_are_scanned_twice(rng, monkeypatch):
    again = []
    scan = nearest_rows
    monkeypatch.setattr(pruned, "nearest_rows", lambda *given, **more: again.append(given) or scan(*given, **more))
    assert_is_direct(np.repeat(rng.normal(size=(40, 5)), 30, axis=0), 14)
    assert len(again) == 1 and len(again[0][1]) == 1200  # the 14th and 29 more are at distance 0


def test_small_data_and_manhattan_are_scanned_directly(rng, monkeypatch):
    monkeypatch.setattr(pruned, "cluster", None)
    rows = rng.normal(size=(500, 4)).astype(np.float32)
    for metric in ("euclidean", "manhattan"):
        found, true = all_neighbors(rows, 5, metric), direct(rows, 5, metric)
        np.testing.assert_array_equal(found[0], true[0])
    np.testing.assert_array_equal(all_neighbors(rows, 5, "manhattan", at_least=0)[0], true[0])


def test_input_may_be_read_only_and_is_left_alone(rng):
    rows = rng.normal(size=(300, 4)).astype(np.float32)
    before = rows.copy()
    rows.setflags(write=False)
    assert_is_direct(rows, 5)
    np.testing.assert_array_equal(rows, before)


def measured(clusters, error=1e-6):
    n = len(clusters.centers)
    radii, gaps = np.empty(n), np.empty((n, n), np.float32)
    extents(clusters, error, 0, n, radii, gaps)
    return radii, gaps


@pytest.mark.parametrize("kind", ["blobs", "noise", "skewed", "nearly all duplicates", "outliers"])
def test_extents_bound_the_clusters(rng, kind):
    rows = centred(KINDS[kind](rng, 900, 5).astype(np.float32))[0]
    clusters = cluster(rows, 20, 0, 1)
    radii, gaps = measured(clusters)
    labels = np.repeat(np.arange(len(radii)), np.diff(clusters.first))[:, None].repeat(64, 1)[clusters.members >= 0]
    members, centers = rows[clusters.order].astype(float), clusters.centers.astype(float)
    to_centers = cdist(members, centers, "sqeuclidean")
    scale = (members**2).sum(axis=1).max()
    for c in range(len(radii)):
        radius = np.sqrt(to_centers[labels == c, c].max())
        assert radius <= radii[c] <= radius + 3e-3 * np.sqrt(scale)
        gap = ((to_centers[labels == c] - to_centers[labels == c][:, [c]]) / 2).min(axis=0)
        others = np.arange(len(radii)) != c
        assert (gaps[c] <= gap)[others].all() and (gaps[c] >= gap - 1e-5 * scale).all()


def test_kernels_equal_their_plain_form(rng):
    rows = blobs(rng, 150, 3).astype(np.float32)
    clusters = cluster(centred(rows)[0], 6, 0, 1)
    n = len(clusters.centers)
    radii, gaps = measured(clusters)
    plain_radii, plain_gaps = np.empty(n), np.empty((n, n), np.float32)
    extents.py_func(clusters, 1e-6, 0, n, plain_radii, plain_gaps)
    np.testing.assert_allclose(plain_radii, radii, rtol=1e-5)
    np.testing.assert_allclose(plain_gaps, gaps, atol=1e-4)
    results = []
    for function in (search, search.py_func):
        out = np.empty((150, 5), np.int32), np.empty((150, 5), np.float32), np.empty(150, np.bool_)
        function(clusters, rows[clusters.order], radii, gaps, 1e-6, 0, n, *out)
        results.append(out)
    for compiled, plain in zip(*results, strict=True):
        np.testing.assert_array_equal(compiled, plain)
    np.testing.assert_array_equal(results[0][0], direct(rows, 5, "euclidean")[0])
