"""Arguments of metrics: from stored neighbours, from the user, in models, scores and files."""

from __future__ import annotations

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from scipy.spatial.distance import cdist

import vicinal as vc
from vicinal.contract.errors import InputError, ModelError

RNG = np.random.default_rng(1)
X = (RNG.normal(size=(160, 5)) * [1, 5, 0.2, 2, 1]).astype(np.float32)
V = X.var(axis=0, ddof=1)
VI = np.linalg.inv(np.cov(X.T))
KWDS = [
    ("minkowski", {"p": 1}),
    ("minkowski", {"p": 3, "w": [1, 0, 2, 1, 1]}),
    ("seuclidean", {"V": V}),
    ("mahalanobis", {"VI": VI}),
    ("mahalanobis", {"V": np.cov(X.T)}),
]


def cells(rows: np.ndarray = X) -> ad.AnnData:
    made = ad.AnnData(rows.copy())
    made.obs_names = [f"c{i:04d}" for i in range(len(rows))]
    return made


def by_scipy(a: np.ndarray, b: np.ndarray, metric: str, kwds: dict) -> np.ndarray:
    kwds = {name: np.asarray(value) if name != "p" else value for name, value in kwds.items()}
    if metric == "mahalanobis" and "V" in kwds:
        kwds = {"VI": np.linalg.inv(kwds["V"])}
    return cdist(a.astype(float), b.astype(float), metric, **kwds)


@pytest.mark.parametrize(("metric", "kwds"), KWDS)
def test_neighbors_are_those_of_the_metric(metric: str, kwds: dict) -> None:
    made = cells()
    vc.pp.neighbors(made, metric=metric, metric_kwds=kwds, n_neighbors=6)
    true = by_scipy(X, X, metric, kwds)
    np.fill_diagonal(true, np.inf)
    stored = made.obsp["distances"].toarray()
    for i in range(len(X)):
        np.testing.assert_allclose(np.sort(stored[i][stored[i] > 0]), np.sort(true[i])[:5], rtol=1e-4)


@pytest.mark.parametrize(("metric", "kwds"), KWDS)
def test_a_map_a_file_a_model_and_a_rerun(tmp_path: Path, metric: str, kwds: dict) -> None:
    made = cells(X[:140])
    vc.tl.embed(made, metric=metric, metric_kwds=kwds, n_epochs=10, key_added="m")
    made.write_h5ad(tmp_path / "a.h5ad")
    made = ad.read_h5ad(tmp_path / "a.h5ad")
    recorded = json.loads(made.uns["m"]["params"]["metric_kwds"])
    for name, value in kwds.items():
        np.testing.assert_allclose(recorded[name], value)
    again = vc.tl.score(made, basis="m")
    assert again == pytest.approx(made.uns["m"]["score"])
    vc.tl.rerun(made, "m")
    assert made.uns["m_rerun"]["rerun_of"]["equal"]
    vc.models.save(made, tmp_path / "m.vicinal", key="m")
    new, by_file = cells(X[140:]), cells(X[140:])
    vc.tl.project(new, made, key="m", key_added="m")
    vc.tl.project(by_file, tmp_path / "m.vicinal", key_added="m")
    np.testing.assert_array_equal(new.obsm["m"], by_file.obsm["m"])
    assert json.loads(new.uns["m"]["params"]["metric_kwds"]) == recorded
    nearest = made.obsm["m"][by_scipy(X[140:], X[:140], metric, kwds).argmin(axis=1)]
    assert np.median(np.linalg.norm(nearest - new.obsm["m"], axis=1)) < 0.5 * np.ptp(made.obsm["m"], axis=0).max()


def test_scores_are_of_the_metric() -> None:
    made = cells()
    kwds = {"V": np.array([1e6, 1e6, 1e-6, 1e6, 1e6])}  # the third column alone counts
    vc.tl.embed(made, metric="seuclidean", metric_kwds=kwds)
    made.obsm["line"] = np.column_stack([X[:, 2], np.zeros(len(X))]).astype(np.float32)
    made.uns["line"] = {"params": dict(made.uns["umap"]["params"])}
    assert vc.tl.score(made, basis="line")["knn_recall_15"] > 0.99


@pytest.mark.parametrize(("metric", "kwds"), [("minkowski", {"p": 1.0}), ("canberra", {}), ("chebyshev", {})])
def test_scores_of_metrics_without_a_kernel_here(metric: str, kwds: dict) -> None:
    from vicinal.pipeline.neighborhoods import Metric, sampled_neighborhoods

    layout = RNG.normal(size=(160, 2)).astype(np.float32)
    sample, near, targets, ranks = sampled_neighborhoods(
        X, layout, metric=Metric(metric, kwds), n_sample=40, k=8, seed=0, n_jobs=2
    )
    true = by_scipy(X[sample], X, {"manhattan": "cityblock"}.get(metric, metric), kwds)
    true[np.arange(40), sample] = np.inf
    np.testing.assert_array_equal(near, np.argsort(true, axis=1, kind="stable")[:, :8])
    of_targets = np.take_along_axis(true, targets.astype(int), axis=1)
    np.testing.assert_array_equal(ranks, 1 + (true[:, None, :] < of_targets[:, :, None]).sum(axis=2))


def test_update_keeps_the_arguments() -> None:
    old = cells(X[:140])
    vc.tl.embed(old, metric="minkowski", metric_kwds={"p": 1}, n_epochs=10)
    every = cells()
    vc.tl.update(every, old, n_epochs=5)
    assert every.uns["umap"]["params"]["metric_kwds"] == old.uns["umap"]["params"]["metric_kwds"]


class TestStoredNeighbors:
    def stored(self, **params: object) -> ad.AnnData:
        made = cells()
        vc.pp.neighbors(made, metric="minkowski", metric_kwds={"p": 1})
        theirs = {"n_neighbors": 15, "method": "umap", "random_state": 0, "metric": "minkowski", "use_rep": "X"}
        made.uns["neighbors"]["params"] = {**theirs, **params}
        return made

    def test_ours_are_taken_as_they_are(self, tmp_path: Path) -> None:
        made = cells(X[:140])
        vc.pp.neighbors(made, metric="minkowski", metric_kwds={"p": 1})
        made.write_h5ad(tmp_path / "a.h5ad")
        made = ad.read_h5ad(tmp_path / "a.h5ad")
        vc.tl.embed(made, n_epochs=5)
        assert json.loads(made.uns["umap"]["params"]["metric_kwds"]) == {"p": 1}
        new = cells(X[140:])
        vc.tl.project(new, made)
        assert new.uns["umap"]["params"]["metric"] == "minkowski"

    def test_of_another_tool_are_recorded_and_not_projected_into(self) -> None:
        made = self.stored(metric_kwds={"p": np.int64(1)})
        vc.tl.embed(made, n_epochs=5)
        assert json.loads(made.uns["umap"]["params"]["metric_kwds"]) == {"p": 1}
        assert "knn_recall_15" in made.uns["umap"]["score"]
        with pytest.raises(ModelError, match=r"make it again with metric='minkowski', metric_kwds=\{'p': 1.0\}"):
            vc.tl.project(cells(X[:9]), made)

    def test_a_map_made_again_still_says_whose_arguments_they_are(self) -> None:
        made = self.stored(metric_kwds={"p": 1})
        vc.tl.embed(made, n_epochs=5)
        assert made.uns["umap"]["params"]["metric_kwds_by"] == "another tool"
        vc.tl.rerun(made, "umap")
        assert made.uns["umap_rerun"]["rerun_of"]["equal"]
        assert made.uns["umap_rerun"]["params"]["metric_kwds_by"] == "another tool"
        with pytest.raises(ModelError, match="another tool found the neighbours"):
            vc.tl.project(cells(X[:9]), made, key="umap_rerun")

    @pytest.mark.parametrize(
        ("params", "why"),
        [
            ({"metric": lambda x, y: 0.0}, "is a function, which is not stored"),
            ({"metric": "seuclidean"}, "needs V, the variance of each column"),
            ({"metric_kwds": {"p": 1, "q": 2}}, "'q', which metric='minkowski' does not take"),
            ({"metric_kwds": {"p": sum}}, "no number"),
            ({"metric_kwds": "no json"}, "does not take"),
            ({"metric": "precomputed"}, "given as a matrix"),
        ],
    )
    def test_what_cannot_be_taken_again_gives_a_map_alone(self, params: dict, why: str) -> None:
        made = self.stored(**params)
        vc.tl.embed(made, n_epochs=5)
        assert made.uns["umap"]["score"] == {}
        assert any(why in note for note in vc.tl.plan(made).notes)
        with pytest.raises(InputError, match=why):
            vc.tl.score(made)
        with pytest.raises(ModelError, match=why):
            vc.tl.project(cells(X[:9]), made)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"metric_kwds": {"p": 1}}, "'p', which metric='euclidean' does not take; it takes none"),
        ({"metric": "minkowski", "metric_kwds": {"P": 1}}, "'P', which .*it takes 'p', 'w'"),
        ({"metric": "minkowski", "metric_kwds": {"p": 0}}, r"metric_kwds\['p'\]=0 is not allowed"),
        ({"metric": "minkowski", "metric_kwds": {"p": "one"}}, "is no number"),
        ({"metric": "minkowski", "metric_kwds": {"p": 2, "w": [1, 2]}}, r"shape \(2,\); .* of shape \(5,\)"),
        ({"metric": "minkowski", "metric_kwds": {"w": [1, 2, 3, 4, -1]}}, "holds -1; .*at least 0"),
        (
            {"metric": "minkowski", "metric_kwds": [1]},
            r"=\[1\] is not allowed; give a mapping of the metric's arguments",
        ),
        ({"metric": "seuclidean"}, r"needs V, the variance of each column; give metric_kwds=\{'V': ...\}"),
        ({"metric": "seuclidean", "metric_kwds": {"V": [1, 1, 0, 1, 1]}}, "numbers above 0"),
        ({"metric": "mahalanobis"}, "needs VI"),
        ({"metric": "mahalanobis", "metric_kwds": {"VI": -np.eye(5)}}, "no eigenvalue negative"),
        ({"metric": "mahalanobis", "metric_kwds": {"V": np.zeros((5, 5))}}, "invertible"),
        ({"metric": "mahalanobis", "metric_kwds": {"VI": np.full((5, 5), np.nan)}}, "finite"),
        ({"metric": "mahalanobis", "metric_kwds": {"VI": VI, "V": VI}}, "both VI and V"),
    ],
)
def test_what_is_refused_before_any_work(options: dict, message: str) -> None:
    made = cells()
    with pytest.raises(InputError, match=message):
        vc.tl.embed(made, **options)
    assert "X_umap" not in made.obsm


def test_a_backend_that_takes_no_arguments_is_not_given_any() -> None:
    class Own:
        def build(self, request: object) -> object:
            raise AssertionError

    with pytest.raises(InputError, match="takes no arguments of metrics"):
        vc.tl.embed(cells(), metric="minkowski", metric_kwds={"p": 1}, knn=Own())


def test_what_is_not_zero_counts_as_there_and_the_map_says_so() -> None:
    counts = RNG.poisson(1, size=(60, 8)).astype(np.float32)
    made, binary = cells(counts), cells((counts > 0).astype(np.float32))
    for one in (made, binary):
        vc.pp.neighbors(one, metric="jaccard", n_neighbors=6)
        vc.tl.embed(one, metric="jaccard", n_neighbors=6, n_epochs=5)
    np.testing.assert_array_equal(made.obsm["X_umap"], binary.obsm["X_umap"])
    assert "not zero counts as there" in made.uns["umap"]["reasons"]["metric"]
    assert "not zero counts as there" in made.uns["neighbors"]["params"]["metric_note"]
    assert "metric" not in binary.uns["umap"]["reasons"]
    assert "metric_note" not in binary.uns["neighbors"]["params"]


def test_adopted_maps_take_arguments() -> None:
    made = cells(X[:140])
    made.obsm["X_two"] = X[:140, :2].copy()
    kwds = {"V": [1e6, 1e6, 1e-6, 1e6, 1e6]}  # the third column alone counts
    vc.models.adopt(made, "X_two", use_rep="X", metric="seuclidean", metric_kwds=kwds, n_neighbors=1)
    new = cells(X[140:])
    vc.tl.project(new, made, key="two", key_added="two")
    nearest = np.abs(X[140:, 2, None] - X[None, :140, 2]).argmin(axis=1)
    np.testing.assert_allclose(new.obsm["two"], X[nearest, :2], atol=1e-5)
    with pytest.raises(InputError, match="it takes none"):
        vc.models.adopt(made, "X_two", use_rep="X", metric_kwds=kwds)
    with pytest.raises(InputError, match="shape"):
        vc.models.adopt(made, "X_two", use_rep="X", metric="seuclidean", metric_kwds={"V": [1, 2]})
