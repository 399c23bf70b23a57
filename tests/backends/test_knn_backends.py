from __future__ import annotations

import logging
import subprocess
import sys
import threading

import numba
import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist
from sklearn.neighbors import KNeighborsTransformer, RadiusNeighborsTransformer

from vicinal.backends.knn import exact, given, pynndescent, transformer
from vicinal.contract.errors import InputError
from vicinal.contract.requests import KnnRequest
from vicinal.contract.spec import NoParams

INT32_MAX, UINT32_MAX = np.iinfo(np.int32).max, np.iinfo(np.uint32).max


def request(rows, k, **options):
    return KnnRequest(representation=rows, k=k, n_obs=len(rows), **options)


def find(rows, k, **options):
    return exact.Backend(NoParams()).build(request(rows, k, **options)).neighbors()


def build_given(indices, distances, *, n_obs=None, k=None):
    indices, distances = np.asarray(indices), np.asarray(distances)
    backend = given.Backend(given.Params(indices=indices, distances=distances))
    n_obs = len(indices) if n_obs is None else n_obs
    k = indices.shape[-1] if k is None else k
    return backend.build(KnnRequest(representation=None, k=k, n_obs=n_obs))


def build_transformer(estimator, rows, k):
    return transformer.Backend(transformer.Params(estimator=estimator)).build(request(rows, k))


def assert_table(table, n_rows, k):
    assert table.indices.shape == table.distances.shape == (n_rows, k)
    assert (table.indices.dtype, table.distances.dtype) == (np.int32, np.float32)
    assert (table.indices < n_rows).all()
    np.testing.assert_array_equal(table.indices == -1, np.isinf(table.distances))
    assert (table.distances[:, 1:] >= table.distances[:, :-1]).all()
    assert (table.indices != np.arange(n_rows)[:, None]).all()


def assert_same(one, other):
    np.testing.assert_array_equal(one.indices, other.indices)
    np.testing.assert_array_equal(one.distances, other.distances)


@pytest.fixture
def rows(rng):
    return rng.normal(size=(90, 6)).astype(np.float32)


class TestExact:
    @pytest.mark.parametrize(
        ("metric", "of_scipy"),
        [
            ("euclidean", "euclidean"),
            ("l2", "euclidean"),
            ("cosine", "cosine"),
            ("manhattan", "cityblock"),
            ("cityblock", "cityblock"),
            ("chebyshev", "chebyshev"),
            ("correlation", "correlation"),
            ("sqeuclidean", "sqeuclidean"),
            ("canberra", "canberra"),
        ],
    )
    def test_is_brute_force(self, rows, metric, of_scipy):
        table = find(rows, 12, metric=metric)
        every = cdist(rows.astype(float), rows.astype(float), of_scipy)
        np.fill_diagonal(every, np.inf)
        assert_table(table, 90, 12)
        np.testing.assert_array_equal(table.indices, np.argsort(every, axis=1)[:, :12])
        np.testing.assert_allclose(table.distances, np.sort(every, axis=1)[:, :12], rtol=1e-5)
        assert table.metric == metric

    @pytest.mark.parametrize("metric", ["euclidean", "cosine", "chebyshev"])
    @pytest.mark.parametrize("n_obs", [1, 2, 3, 17, 40])
    def test_all_others_of_few_cells(self, rows, metric, n_obs):
        table = find(rows[:n_obs], n_obs - 1, metric=metric)
        assert_table(table, n_obs, n_obs - 1)
        others = np.sort(np.column_stack([table.indices, np.arange(n_obs)]), axis=1)
        np.testing.assert_array_equal(others, np.tile(np.arange(n_obs), (n_obs, 1)))

    @pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan", "chebyshev"])
    def test_duplicates_and_constant_columns(self, rows, metric):
        twice = np.hstack([np.repeat(rows[:20], 5, axis=0), np.full((100, 2), 7, np.float32)])
        table = find(twice, 6, metric=metric)
        assert_table(table, 100, 6)
        np.testing.assert_array_equal(table.indices[:, :4] // 5, np.repeat(np.arange(20), 5)[:, None].repeat(4, 1))
        np.testing.assert_array_equal(table.distances[:, :4], 0)
        assert (table.distances[:, 4] > 0).all()

    @pytest.mark.parametrize("metric", ["euclidean", "chebyshev"])
    def test_any_number_of_threads_gives_the_same_bits(self, rng, metric):
        rows = rng.normal(size=(400, 5)).astype(np.float32)
        assert_same(find(rows, 9, metric=metric), find(rows, 9, metric=metric, n_jobs=3))

    @pytest.mark.parametrize("metric", ["euclidean", "cosine", "chebyshev"])
    def test_query_is_a_function_of_the_row(self, rows, metric):
        index = exact.Backend(NoParams()).build(request(rows[:60], 5, metric=metric))
        together = index.query(rows[50:], 4)
        every = cdist(rows[50:].astype(float), rows[:60].astype(float), metric)
        np.testing.assert_array_equal(together.indices, np.argsort(every, axis=1)[:, :4])
        np.testing.assert_array_equal(together.indices[:10, 0], np.arange(50, 60))
        alone = index.query(rows[70:71], 4)
        np.testing.assert_array_equal(alone.distances[0], together.distances[20])

    @pytest.mark.parametrize("metric", ["euclidean", "chebyshev"])
    def test_query_for_more_than_there_are(self, rows, metric):
        found = exact.Backend(NoParams()).build(request(rows[:3], 2, metric=metric)).query(rows[10:12], 5)
        np.testing.assert_array_equal(found.indices[:, 3:], -1)
        np.testing.assert_array_equal(np.isinf(found.distances), [[False] * 3 + [True] * 2] * 2)

    def test_undefined_distances_are_no_neighbors(self, rows):
        flat = rows.copy()
        flat[4] = 1  # no correlation with a constant row
        table = find(flat, 89, metric="correlation")
        assert_table(table, 90, 89)
        assert (table.indices[4] == -1).all()
        assert (table.indices[5] >= 0).sum() == 88

    def test_unknown_metric_lists_the_known(self, rows):
        with pytest.raises(
            InputError, match=r"metric='manhatan' .*Did you mean 'manhattan'\? Allowed are .*'manhattan'"
        ):
            find(rows, 3, metric="manhatan")

    @pytest.mark.parametrize("metric", ["euclidean", "chebyshev"])
    def test_query_with_other_columns(self, rows, metric):
        index = exact.Backend(NoParams()).build(request(rows, 3, metric=metric))
        with pytest.raises(InputError, match=r"\(2, 5\).*\(n_rows, 6\)"):
            index.query(rows[:2, :5], 3)


class TestGiven:
    def test_rows_are_sorted_by_distance_then_index_and_the_cell_itself_is_dropped(self):
        indices = [[0, 3, 2, 1], [2, 1, 3, 0], [1, 0, 3, 2], [0, 1, 2, 3]]
        distances = [[0, 2, 1, 1], [3, 0, 1, 2], [0, 0, 0, 0], [0.5, 0.5, 0.25, 9]]
        table = build_given(indices, distances, k=3).neighbors()
        np.testing.assert_array_equal(table.indices, [[1, 2, 3], [3, 0, 2], [0, 1, 3], [2, 0, 1]])
        np.testing.assert_array_equal(table.distances, [[1, 1, 2], [1, 2, 3], [0, 0, 0], [0.25, 0.5, 0.5]])
        assert_table(table, 4, 3)

    @pytest.mark.parametrize(
        ("missing", "dtype"),
        [(-1, np.int64), (-1, np.int32), (UINT32_MAX, np.uint32), (2**64 - 1, np.uint64), (255, np.uint8), (-1, float)],
    )
    def test_missing_by_index(self, missing, dtype):
        indices = np.array([[1, 2], [missing, 0], [missing, missing]], dtype=dtype)
        table = build_given(indices, [[2.0, 1.0], [-1.0, 1.0], [0.0, 0.0]]).neighbors()
        np.testing.assert_array_equal(table.indices, [[2, 1], [0, -1], [-1, -1]])
        np.testing.assert_array_equal(table.distances, [[1, 2], [1, np.inf], [np.inf, np.inf]])

    @pytest.mark.parametrize("dtype", [np.float64, np.float32])
    def test_missing_by_distance(self, dtype):
        distances = np.array([[np.inf, 1], [np.nan, 2], [3, np.nan]], dtype=dtype)
        table = build_given([[1, 2], [99, 0], [0, 1]], distances).neighbors()
        np.testing.assert_array_equal(table.indices, [[2, -1], [0, -1], [0, -1]])

    def test_a_repeated_neighbor_counts_once_at_its_nearest(self):
        table = build_given([[1, 2, 1], [0, 0, 0], [1, 0, 1]], [[3, 2, 1], [1, 1, 1], [5, 4, 5]]).neighbors()
        np.testing.assert_array_equal(table.indices, [[1, 2, -1], [0, -1, -1], [0, 1, -1]])
        np.testing.assert_array_equal(table.distances, [[1, 2, np.inf], [1, np.inf, np.inf], [4, 5, np.inf]])

    @pytest.mark.parametrize("k", [0, 2, 7])
    def test_gives_as_many_columns_as_asked_for(self, rows, k):
        known = find(rows, 4)
        table = build_given(known.indices, known.distances, k=k).neighbors()
        assert_table(table, 90, k)
        np.testing.assert_array_equal(table.indices[:, :4], known.indices[:, :k])

    def test_whole_numbers_in_any_layout(self, rows):
        known = find(rows, 4)
        for indices, distances in [
            (np.asfortranarray(known.indices), known.distances.astype(np.float64)),
            (known.indices.astype(np.float64), known.distances),
            (known.indices.astype(np.uint32), np.asfortranarray(known.distances)),
            (known.indices.tolist(), known.distances.tolist()),
        ]:
            assert_same(build_given(indices, distances).neighbors(), known)

    def test_input_is_left_as_it_was(self):
        indices, distances = np.array([[1, 0], [1, 0]]), np.array([[1.0, 0.0], [np.nan, 1.0]])
        before = indices.copy(), distances.copy()
        build_given(indices, distances)
        np.testing.assert_array_equal(indices, before[0])
        np.testing.assert_array_equal(distances, before[1])

    @pytest.mark.parametrize(
        ("indices", "distances", "message"),
        [
            ([[1, 1]], [[1.0]], r"indices has shape \(1, 2\) and distances \(1, 1\)"),
            ([1, 0], [1.0, 1.0], r"indices has shape \(2,\)"),
            ([[1], [0], [1]], [[1.0]] * 3, "3 rows but there are 2 cells"),
            ([[1], [2]], [[1.0], [1.0]], "out of range, the first is 2 in row 1; allowed are 0 to 1"),
            ([[-2], [0]], [[1.0], [1.0]], "out of range, the first is -2 in row 0"),
            ([[UINT32_MAX], [0]], [[1.0], [1.0]], "out of range, the first is 4294967295"),
            ([[1], [0]], [[1.0], [-0.5]], "negative, the first is -0.5 in row 1"),
            ([[1], [0]], [[1.0], [-np.inf]], "negative"),
            ([[0.5], [0]], [[1.0], [1.0]], "whole numbers"),
            ([["a"], ["b"]], [[1.0], [1.0]], "indices must be integers"),
            ([[1], [0]], [["a"], ["b"]], "distances must be real numbers"),
        ],
    )
    def test_arrays_that_cannot_be(self, indices, distances, message):
        with pytest.raises(InputError, match=message):
            build_given(indices, distances, n_obs=2, k=1)

    def test_rows_of_different_length(self):
        backend = given.Backend(given.Params(indices=[[1, 1], [0]], distances=[[1.0, 2.0], [1.0]]))
        with pytest.raises(InputError, match="rows have different lengths; fill short rows with index -1"):
            backend.build(KnnRequest(representation=None, k=1, n_obs=2))

    def test_both_arrays_are_needed(self):
        backend = given.Backend(given.Params(indices=np.zeros((2, 1), int)))
        with pytest.raises(InputError, match=r"knn=\(indices, distances\)"):
            backend.build(KnnRequest(representation=None, k=1, n_obs=2))

    def test_answers_for_no_other_rows(self):
        with pytest.raises(InputError, match="cannot place new ones"):
            build_given([[1], [0]], [[1.0], [1.0]]).query(np.zeros((1, 2), np.float32), 1)


class Ring(KNeighborsTransformer):
    """Each cell's neighbours are the next ones, in no order, itself among them."""

    def fit_transform(self, X, y=None):
        step = np.array([3, 0, 1, 2])
        indices = (np.arange(len(X))[:, None] + step) % len(X)
        data = np.tile(step.astype(float), len(X))
        return sparse.csr_array((data, indices.ravel(), np.arange(len(X) + 1) * 4), shape=(len(X), len(X)))


class Wrong:
    """Gives back what it was made with."""

    def __init__(self, result):
        self.result = result

    def fit_transform(self, X):
        return self.result


class TestTransformer:
    @pytest.mark.parametrize("algorithm", ["brute", "kd_tree"])
    def test_scikit_learn_gives_what_exact_gives(self, rows, algorithm):
        table = build_transformer(KNeighborsTransformer(n_neighbors=8, algorithm=algorithm), rows, 8).neighbors()
        known = find(rows, 8)
        assert_table(table, 90, 8)
        np.testing.assert_array_equal(table.indices, known.indices)
        np.testing.assert_allclose(table.distances, known.distances, rtol=1e-3)

    def test_self_and_order_do_not_matter(self, rows):
        table = build_transformer(Ring(), rows, 3).neighbors()
        np.testing.assert_array_equal(table.indices, (np.arange(90)[:, None] + [1, 2, 3]) % 90)
        np.testing.assert_array_equal(table.distances, np.tile([1, 2, 3], (90, 1)))

    def test_duplicates_stay_neighbors(self, rows):
        table = build_transformer(KNeighborsTransformer(n_neighbors=5), np.repeat(rows[:10], 6, axis=0), 5).neighbors()
        assert_table(table, 60, 5)
        np.testing.assert_allclose(table.distances, 0, atol=1e-3)
        np.testing.assert_array_equal(table.indices[:, :4] // 6, np.repeat(np.arange(10), 6)[:, None].repeat(4, 1))

    def test_rows_of_different_length(self, rows):
        estimator = RadiusNeighborsTransformer(radius=1.5)
        table = build_transformer(estimator, rows, 89).neighbors()
        assert_table(table, 90, 89)
        within = (cdist(rows.astype(float), rows.astype(float)) <= 1.5).sum(axis=1) - 1
        assert within.min() < within.max()
        np.testing.assert_array_equal((table.indices >= 0).sum(axis=1), within)

    def test_its_own_settings_hold_and_it_is_not_changed(self, rows, caplog):
        estimator = KNeighborsTransformer(n_neighbors=4, metric="manhattan")
        with caplog.at_level(logging.WARNING, logger="vicinal"):
            table = build_transformer(estimator, rows, 9).neighbors()
        assert "KNeighborsTransformer gives at most 4 neighbours a cell, 9 were asked for" in caplog.text
        assert table.metric == "manhattan"
        assert not hasattr(estimator, "n_features_in_")
        np.testing.assert_array_equal(table.indices[:, :4], find(rows, 4, metric="manhattan").indices)

    @pytest.mark.parametrize("n_obs", [1, 2, 9])
    def test_few_cells(self, rows, n_obs):
        table = build_transformer(
            KNeighborsTransformer(n_neighbors=max(n_obs - 1, 1)), rows[:n_obs], n_obs - 1
        ).neighbors()
        assert_table(table, n_obs, n_obs - 1)
        assert (table.indices >= 0).all()

    def test_query(self, rows):
        index = build_transformer(KNeighborsTransformer(n_neighbors=6), rows[:60], 6)
        found = index.query(rows[50:], 3)
        np.testing.assert_array_equal(
            found.indices, exact.Backend(NoParams()).build(request(rows[:60], 3)).query(rows[50:], 3).indices
        )

    def test_query_without_transform(self, rows):
        index = build_transformer(Wrong(sparse.csr_matrix((90, 90))), rows, 6)
        with pytest.raises(InputError, match="Wrong has no method transform"):
            index.query(rows, 3)

    @pytest.mark.parametrize(
        ("estimator", "message"),
        [
            (None, "given: NoneType"),
            (KNeighborsTransformer, "must be an object .* given: KNeighborsTransformer"),
            (KNeighborsTransformer(mode="connectivity"), "mode='connectivity'; it must be 'distance'"),
            (Wrong(np.zeros((90, 90))), r"Wrong must return a sparse matrix of shape \(90, 90\); given: ndarray"),
            (Wrong(sparse.csr_matrix((90, 4))), r"given: csr_matrix of shape \(90, 4\)"),
            (Wrong(-sparse.eye(90, format="csr")), "negative"),
        ],
    )
    def test_what_cannot_be_used(self, rows, estimator, message):
        with pytest.raises(InputError, match=message):
            build_transformer(estimator, rows, 5)


def descend(rows, k, **options):
    return pynndescent.Backend(NoParams()).build(request(rows, k, **options))


class TestPynndescent:
    def test_finds_the_neighbors_and_leaves_no_trace(self, rng, recwarn):
        rows = rng.normal(size=(500, 6)).astype(np.float32)
        rows.setflags(write=False)
        before, n_threads = np.random.get_state()[1].copy(), numba.get_num_threads()
        table = descend(rows, 10, seed=2**40 + 3, n_jobs=64).neighbors()
        assert_table(table, 500, 10)
        known = find(rows, 10)
        assert (table.indices[:, :, None] == known.indices[:, None, :]).any(axis=2).mean() > 0.98
        for n_obs in (1, 2, 3, 12, 40):
            few = descend(rows[:n_obs], n_obs - 1).neighbors()
            assert_table(few, n_obs, n_obs - 1)
            np.testing.assert_array_equal(few.indices, find(rows[:n_obs], n_obs - 1).indices)
        duplicated = descend(rows[np.r_[:5, np.zeros(300, int)]], 10).neighbors()
        assert_table(duplicated, 305, 10)
        assert (duplicated.distances[5:] == 0).mean() > 0.9
        np.testing.assert_array_equal(np.random.get_state()[1], before)
        assert numba.get_num_threads() == n_threads
        assert len(recwarn) == 0

    @pytest.mark.parametrize(
        "metric", ["euclid", "bit_hamming", "mahalanobis", "seuclidean", "wasserstein", "sinkhorn"]
    )
    def test_unknown_metric_lists_the_known(self, rows, metric):
        with pytest.raises(InputError, match=f"metric='{metric}' .*'cosine'"):
            descend(rows, 3, metric=metric)

    @pytest.mark.slow
    @pytest.mark.parametrize("metric", ["euclidean", "cosine"])
    def test_query(self, rng, metric):
        rows = rng.normal(size=(800, 6)).astype(np.float32)
        index = descend(rows[:600], 8, metric=metric)
        table = index.neighbors()
        found = index.query(rows[590:], 5)
        known = exact.Backend(NoParams()).build(request(rows[:600], 8, metric=metric)).query(rows[590:], 5)
        assert (found.indices[:, :, None] == known.indices[:, None, :]).any(axis=2).mean() > 0.95
        np.testing.assert_allclose(found.distances.mean(), known.distances.mean(), rtol=0.02)
        assert (found.distances[:, 1:] >= found.distances[:, :-1]).all()
        assert_same(index.neighbors(), table)
        with pytest.raises(InputError, match=r"\(n_rows, 6\)"):
            index.query(rows[:, :3], 5)
        assert index.query(rows[:1], 601).indices.shape == (1, 601)

    @pytest.mark.slow
    def test_several_threads_at_once(self, rng):
        rows = rng.normal(size=(600, 5)).astype(np.float32)
        found = []
        threads = [
            threading.Thread(target=lambda: found.append(descend(rows, 6, n_jobs=2).neighbors())) for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 4
        for table in found:
            assert_table(table, 600, 6)


def test_naming_the_backends_imports_nothing_heavy():
    code = (
        "import sys; from vicinal.backends.knn import exact, given, pynndescent, transformer;"
        "print([m for m in ('numba', 'sklearn', 'pynndescent', 'vicinal.kernels.knn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
