from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.distance import cdist, pdist
from scipy.stats import spearmanr
from sklearn.manifold import trustworthiness as trustworthiness_of_sklearn

from vicinal.backends.score import global_correlation, knn_recall, label_accuracy, trustworthiness
from vicinal.contract.requests import ScoreRequest
from vicinal.contract.spec import NoParams
from vicinal.pipeline.neighborhoods import Metric, sampled_neighborhoods


def ask(representation, layout, *, n_sample=10_000, metric="euclidean", labels=None, seed=0, k=50):
    sample, near, near_in_layout, ranks = sampled_neighborhoods(
        representation, layout, metric=Metric(metric), n_sample=n_sample, k=k, seed=seed, n_jobs=2
    )
    return ScoreRequest(
        representation=representation,
        layout=layout,
        sample=sample,
        representation_neighbors=near,
        layout_neighbors=near_in_layout,
        layout_ranks=ranks,
        labels=labels,
        seed=seed,
    )


def sorted_others(rows, metric="euclidean"):
    """All other cells of each cell, nearest first, and the distances of all."""
    every = cdist(rows.astype(float), rows.astype(float), metric)
    np.fill_diagonal(every, np.inf)
    return np.argsort(every, axis=1, kind="stable")[:, :-1], every


@pytest.fixture
def cells(rng):
    representation = rng.normal(size=(300, 8)).astype(np.float32)
    layout = (representation[:, :2] + 0.3 * rng.normal(size=(300, 2))).astype(np.float32)
    return representation, layout


class TestSampledNeighborhoods:
    @pytest.mark.parametrize("metric", ["euclidean", "cosine", "chebyshev", "correlation"])
    def test_tables_are_exact(self, cells, metric):
        request = ask(*cells, metric=metric, n_sample=40, k=12)
        in_representation, every = sorted_others(cells[0], metric)
        in_layout, _ = sorted_others(cells[1])
        np.testing.assert_array_equal(request.representation_neighbors, in_representation[request.sample, :12])
        np.testing.assert_array_equal(request.layout_neighbors, in_layout[request.sample, :12])
        rows = request.sample[:, None]
        closer = every[rows] < every[rows, request.layout_neighbors][:, :, None]
        np.testing.assert_array_equal(request.layout_ranks, closer.reshape(40, 12, -1).sum(axis=2) + 1)

    def test_sample_is_seeded_sorted_and_without_repeats(self, cells):
        samples = [ask(*cells, n_sample=50, seed=seed).sample for seed in (0, 0, 1)]
        np.testing.assert_array_equal(samples[0], samples[1])
        assert not np.array_equal(samples[0], samples[2])
        assert len(samples[0]) == 50
        assert (np.diff(samples[0]) > 0).all()
        np.testing.assert_array_equal(ask(*cells, n_sample=300).sample, np.arange(300))

    def test_threads_do_not_matter(self, cells):
        one, other = (
            sampled_neighborhoods(*cells, metric=Metric("cosine"), n_sample=200, k=20, seed=3, n_jobs=n_jobs)
            for n_jobs in (1, 3)
        )
        for a, b in zip(one, other, strict=True):
            np.testing.assert_array_equal(a, b)

    def test_nearly_all_cells_coincide(self, rng):
        which = np.r_[np.zeros(396, int), 1, 2, 3, 4]
        representation = rng.normal(size=(5, 6)).astype(np.float32)[which]
        layout = rng.normal(size=(5, 2)).astype(np.float32)[which]
        request = ask(representation, layout)
        for table in (request.representation_neighbors, request.layout_neighbors):
            assert (table != np.arange(400)[:, None]).all()
            assert (which[table[:396]] == 0).all()
            assert (np.diff(np.sort(table, axis=1), axis=1) > 0).all()
        np.testing.assert_array_equal(request.layout_ranks[:396], 1)

    @pytest.mark.parametrize("n_obs", [0, 1, 2, 30])
    def test_few_cells(self, cells, n_obs):
        request = ask(cells[0][:n_obs], cells[1][:n_obs])
        width = max(n_obs - 1, 0)
        assert request.layout_neighbors.shape == request.representation_neighbors.shape == (n_obs, width)
        np.testing.assert_array_equal(
            np.sort(request.layout_ranks, axis=1), np.tile(np.arange(1, width + 1), (n_obs, 1))
        )


class TestKnnRecall:
    def test_is_the_share_of_neighbors_kept(self, cells):
        near, _ = sorted_others(cells[0])
        near_in_layout, _ = sorted_others(cells[1])
        request = ask(*cells, n_sample=70)
        scores = knn_recall.Backend(knn_recall.Params()).measure(request)
        assert set(scores) == {"knn_recall_15", "knn_recall_50"}
        for k in (15, 50):
            kept = [len(set(near[i, :k]) & set(near_in_layout[i, :k])) / k for i in request.sample]
            assert scores[f"knn_recall_{k}"] == pytest.approx(np.mean(kept))
            assert 0.1 < scores[f"knn_recall_{k}"] < 0.9

    def test_a_true_copy_keeps_all(self, cells):
        scores = knn_recall.Backend(knn_recall.Params(k=(7,))).measure(ask(cells[0], cells[0]))
        assert scores == {"knn_recall_7": 1.0}

    @pytest.mark.parametrize(("n_obs", "names"), [(1, set()), (15, set()), (16, {15}), (50, {15}), (51, {15, 50})])
    def test_needs_more_cells_than_neighbors(self, cells, n_obs, names):
        scores = knn_recall.Backend(knn_recall.Params()).measure(ask(cells[0][:n_obs], cells[1][:n_obs]))
        assert set(scores) == {f"knn_recall_{k}" for k in names}


class TestTrustworthiness:
    @pytest.mark.parametrize("k", [1, 5, 15, 50])
    def test_equals_scikit_learn_on_all_cells(self, cells, k):
        found = trustworthiness.Backend(trustworthiness.Params(k=k)).measure(ask(*cells))
        expected = trustworthiness_of_sklearn(cells[0].astype(float), cells[1].astype(float), n_neighbors=k)
        assert found["trustworthiness"] == pytest.approx(expected, abs=1e-12)
        assert 0.5 < expected < 0.99

    def test_parts_of_the_cells_average_to_all(self, cells):
        whole = ask(*cells)
        measure = trustworthiness.Backend(trustworthiness.Params()).measure
        parts = []
        for part in (slice(0, 300, 2), slice(1, 300, 2)):
            fields = {
                name: getattr(whole, name)[part]
                for name in ("sample", "representation_neighbors", "layout_neighbors", "layout_ranks")
            }
            parts.append(measure(ScoreRequest(representation=cells[0], layout=cells[1], **fields))["trustworthiness"])
        assert np.mean(parts) == pytest.approx(measure(whole)["trustworthiness"], abs=1e-12)
        assert parts[0] != parts[1]

    @pytest.mark.parametrize(("n_obs", "defined"), [(1, False), (15, False), (30, False), (31, True)])
    def test_is_undefined_for_half_the_cells(self, cells, n_obs, defined):
        scores = trustworthiness.Backend(trustworthiness.Params()).measure(ask(cells[0][:n_obs], cells[1][:n_obs]))
        assert set(scores) == ({"trustworthiness"} if defined else set())


def majority(labels, neighbors):
    """Count votes by hand; the first to reach the greatest count, from the nearest on, wins."""
    votes = [labels[j] for j in neighbors if labels[j] != -1]
    return max(votes, key=votes.count) if votes else None


class TestLabelAccuracy:
    @pytest.mark.parametrize("unknown", [0.0, 0.3, 0.97])
    def test_is_the_vote_of_the_neighbors(self, rng, cells, unknown):
        labels = (cells[0][:, 0] > 0).astype(int) + 2 * (cells[0][:, 1] > 0.5)
        labels[rng.random(300) < unknown] = -1
        request = ask(*cells, n_sample=200, labels=labels)
        nearest, _ = sorted_others(cells[1])
        told = [(labels[i], majority(labels.tolist(), nearest[i, :15])) for i in request.sample if labels[i] != -1]
        scored = [truth == vote for truth, vote in told if vote is not None]
        score = label_accuracy.Backend(label_accuracy.Params()).measure(request)
        assert score == {"label_accuracy": pytest.approx(np.mean(scored))}

    def test_of_equally_frequent_labels_the_nearest_neighbors_wins(self):
        layout = np.array([[0, 0], [1, 0], [2.1, 0], [3.3, 0], [4.6, 0]], np.float32)
        labels = np.array([5, 5, 7, 7, 5])
        request = ask(layout, layout, labels=labels)
        # Cells 0 to 4 see 5775, 5775, 5757, 7555, 7755 from the nearest on: three ties out of five.
        assert label_accuracy.Backend(label_accuracy.Params()).measure(request) == {"label_accuracy": 2 / 5}

    def test_labels_that_fill_the_map_are_always_told(self, cells):
        labels = np.zeros(300, np.int8)
        assert label_accuracy.Backend(label_accuracy.Params()).measure(ask(*cells, labels=labels)) == {
            "label_accuracy": 1
        }

    @pytest.mark.parametrize("labels", [[-1] * 300, [0] + [-1] * 299])
    def test_nobody_to_score_or_to_vote(self, cells, labels):
        assert label_accuracy.Backend(label_accuracy.Params()).measure(ask(*cells, labels=np.array(labels))) == {}

    def test_one_cell(self, cells):
        request = ask(cells[0][:1], cells[1][:1], labels=np.array([0]))
        assert label_accuracy.Backend(label_accuracy.Params()).measure(request) == {}


class TestGlobalCorrelation:
    def correlation(self, representation, layout, seed=0):
        return global_correlation.Backend(NoParams()).measure(ask(representation, layout, seed=seed))

    @pytest.mark.parametrize("n_obs", [3, 50, 200])
    def test_of_few_cells_is_over_all_pairs(self, cells, n_obs):
        representation, layout = (rows[:n_obs] for rows in cells)
        expected = spearmanr(pdist(representation.astype(float)), pdist(layout.astype(float))).statistic
        assert self.correlation(representation, layout) == {"global_correlation": pytest.approx(expected, abs=1e-9)}

    def test_of_many_cells_is_over_sampled_pairs(self, rng):
        representation = rng.normal(size=(1500, 5)).astype(np.float32)
        layout = representation[:, :2].copy()
        expected = spearmanr(pdist(representation), pdist(layout)).statistic
        found = [self.correlation(representation, layout, seed)["global_correlation"] for seed in (0, 0, 1)]
        assert found[0] == found[1] != found[2]
        np.testing.assert_allclose(found, expected, atol=0.02)

    def test_pairs_are_of_two_different_cells(self):
        first, second = global_correlation._pairs(201, 0)
        assert len(first) == len(second) == global_correlation.N_PAIRS
        assert (first != second).all()
        np.testing.assert_array_equal(np.unique(np.r_[first, second]), np.arange(201))

    def test_order_is_all_that_counts(self, rng):
        line = np.sort(rng.random(60))[:, None].astype(np.float32)
        assert self.correlation(line, 40 * line) == {"global_correlation": pytest.approx(1)}

    @pytest.mark.parametrize("n_obs", [0, 1, 2])
    def test_undefined_where_all_distances_are_equal(self, cells, n_obs):
        assert self.correlation(cells[0][:n_obs], cells[1][:n_obs]) == {}
        assert self.correlation(cells[0], np.zeros((300, 2), np.float32)) == {}

    def test_global_generator_is_left_alone(self, cells):
        before = np.random.get_state()[1].copy()
        self.correlation(*cells)
        np.testing.assert_array_equal(np.random.get_state()[1], before)
