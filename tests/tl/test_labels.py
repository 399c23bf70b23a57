"""Maps that follow labels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import vicinal as vc
from vicinal.api import Capabilities, Graph, GraphRequest, InputError, ModelError


@pytest.fixture
def adata() -> ad.AnnData:
    return vc.datasets.pbmc68k_reduced()


@pytest.fixture
def cells() -> ad.AnnData:
    """Return cells of two groups that overlap, in an order that is not that of their names."""
    rng = np.random.default_rng(0)
    made = ad.AnnData(np.zeros((150, 1), dtype=np.float32))
    made.obs_names = [f"cell{n}" for n in rng.permutation(150)]
    group = rng.integers(2, size=150)
    made.obsm["X_pca"] = (rng.normal(size=(150, 5)) + 0.7 * group[:, None]).astype(np.float32)
    made.obs["group"] = pd.Categorical.from_codes(group, ["a", "b"])
    made.obs["some"] = pd.Series(np.where(rng.random(150) < 0.5, group.astype(str), None), index=made.obs_names)
    made.obs["empty"] = np.full(150, np.nan)
    made.obs["same"] = "cell"
    return made


class Own:
    """A graph of the user's, with or without the word that it uses labels."""

    def __init__(self, capabilities: Capabilities | None = None) -> None:
        self.asked: list[GraphRequest] = []
        if capabilities is not None:
            self.capabilities = capabilities

    def build(self, request: GraphRequest) -> Graph:
        self.asked.append(request)
        assert request.neighbors is not None
        return Graph.from_scipy(request.neighbors.to_csr(), directed=True)


class TestTheMap:
    @pytest.mark.parametrize("arguments", [{}, {"n_neighbors": 15}, {"n_neighbors": 15, "symmetrize": False}])
    def test_labels_are_told_apart_better(self, adata: ad.AnnData, arguments: dict[str, Any]) -> None:
        vc.tl.embed(adata, key_added="plain", n_epochs=200, **arguments)
        vc.tl.embed(adata, key_added="labelled", n_epochs=200, labels="bulk_labels", **arguments)
        plain = vc.tl.score(adata, "plain", labels="bulk_labels")
        labelled = adata.uns["labelled"]["score"]
        assert labelled["label_accuracy"] > plain["label_accuracy"] + 0.08
        assert labelled["trustworthiness"] > plain["trustworthiness"] - 0.03
        assert labelled == vc.tl.score(adata, "labelled", labels="bulk_labels")

    def test_half_the_labels_tell_cells_apart_too(self, adata: ad.AnnData) -> None:
        known = np.random.default_rng(0).random(adata.n_obs) < 0.5
        adata.obs["half"] = adata.obs["bulk_labels"].where(known)
        vc.tl.embed(adata, key_added="plain", n_epochs=200)
        vc.tl.embed(adata, key_added="half", n_epochs=200, labels="half")
        plain, half = (vc.tl.score(adata, key, labels="bulk_labels")["label_accuracy"] for key in ("plain", "half"))
        assert half > plain
        assert "label_accuracy" in adata.uns["half"]["score"]

    def test_more_weight_tells_them_apart_more(self, cells: ad.AnnData) -> None:
        shares = []
        for weight in (0.0, 0.5, 1.0):
            run = vc.tl.start(cells, labels="group", target_weight=weight, n_epochs=2)
            graph, labels = run._run.graph, run._run.source.labels
            owners = np.repeat(labels, np.diff(graph.indptr))
            shares.append(graph.weights[owners != labels[graph.indices]].sum() / graph.weights.sum())
        assert shares[0] > shares[1] > shares[2] == 0

    def test_without_labels_target_weight_changes_nothing(self, cells: ad.AnnData) -> None:
        vc.tl.embed(cells, n_epochs=10, key_added="one")
        vc.tl.embed(cells, n_epochs=10, key_added="two", target_weight=0.9)
        np.testing.assert_array_equal(cells.obsm["one"], cells.obsm["two"])
        assert "labels" not in cells.uns["two"]["params"]
        assert "label_accuracy" not in cells.uns["two"]["score"]

    @pytest.mark.parametrize("column", ["group", "some", "same"])
    @pytest.mark.parametrize("arguments", [{}, {"graph": "precomputed"}, {"symmetrize": False}])
    def test_order_of_rows_and_threads(self, cells: ad.AnnData, column: str, arguments: dict[str, Any]) -> None:
        if arguments == {"graph": "precomputed"}:
            vc.pp.neighbors(cells, n_neighbors=10)
        other = cells[np.random.default_rng(1).permutation(cells.n_obs)].copy()
        for given, n_jobs in ((cells, 1), (other, 2)):
            vc.tl.embed(given, labels=column, n_epochs=10, n_jobs=n_jobs, **arguments)
        np.testing.assert_array_equal(cells.obsm["X_umap"], other[cells.obs_names].obsm["X_umap"])
        assert cells.uns["umap"]["score"] == other.uns["umap"]["score"]

    @pytest.mark.parametrize("as_column", [list, pd.Categorical, lambda v: pd.array(v, dtype="Int64"), np.array])
    def test_kinds_of_columns(self, cells: ad.AnnData, as_column: Any) -> None:
        vc.tl.embed(cells, labels="group", n_epochs=5, key_added="expected")
        cells.obs["kind"] = as_column((10 * cells.obs["group"].cat.codes).tolist())
        vc.tl.embed(cells, labels="kind", n_epochs=5, key_added="found")
        np.testing.assert_array_equal(cells.obsm["found"], cells.obsm["expected"])

    def test_a_matrix_given_as_the_graph(self, cells: ad.AnnData) -> None:
        vc.pp.neighbors(cells, n_neighbors=10)
        vc.tl.embed(cells, labels="group", n_epochs=5, key_added="stored")
        graph = sparse.csr_matrix(cells.obsp["connectivities"])
        vc.tl.embed(cells, labels="group", n_epochs=5, key_added="given", graph=graph)
        np.testing.assert_array_equal(cells.obsm["stored"], cells.obsm["given"])

    def test_a_graph_of_the_users_that_says_it_uses_labels_gets_them(self, cells: ad.AnnData) -> None:
        own = Own(Capabilities(supervised=True))
        vc.tl.embed(cells, labels="some", graph=own, n_epochs=2)
        codes = cells.obs["some"].astype("category").cat.codes.to_numpy()
        np.testing.assert_array_equal(own.asked[0].labels, codes)
        assert own.asked[0].labels.dtype == np.int64 and -1 in codes

    def test_the_map_of_a_sample_has_none(self, cells: ad.AnnData) -> None:
        plan = vc.tl.plan(cells, labels="group", init="sample_place")
        assert (plan.labels, plan.sub_plans[0].labels) == ("group", None)
        vc.tl.embed(cells, labels="group", init="sample_place", n_epochs=[0, 5], key_added="labelled")
        vc.tl.embed(cells, init="sample_place", n_epochs=[0, 5], key_added="plain")
        start, end = (cells.uns["labelled"]["snapshots"] == cells.uns["plain"]["snapshots"]).all(axis=(1, 2))
        assert start and not end


class TestWhatIsWritten:
    def test_only_the_slots_of_the_map(self, adata: ad.AnnData) -> None:
        before = adata.copy()
        vc.tl.embed(adata, labels="bulk_labels", n_epochs=5, key_added="map", n_neighbors=10)
        vc.tl.embed(adata, labels="bulk_labels", n_epochs=5, key_added="map")
        assert set(adata.obsm) - set(before.obsm) == {"map"} == set(adata.uns) - set(before.uns)
        pd.testing.assert_frame_equal(adata.obs, before.obs)
        for name in ("connectivities", "distances"):
            assert abs(adata.obsp[name] - before.obsp[name]).max() == 0
        np.testing.assert_array_equal(adata.obsm["X_pca"], before.obsm["X_pca"])

    @pytest.mark.parametrize("kind", ["h5ad", "zarr"])
    def test_files_give_it_back(self, cells: ad.AnnData, tmp_path: Path, kind: str) -> None:
        vc.tl.embed(cells, labels="group", target_weight=0.75, n_epochs=5)
        del cells.obs["some"]  # text and None in one column, which files do not hold
        getattr(cells, f"write_{kind}")(tmp_path / f"cells.{kind}")
        entry = getattr(ad, f"read_{kind}")(tmp_path / f"cells.{kind}").uns["umap"]
        assert (entry["params"]["labels"], entry["params"]["target_weight"]) == ("group", 0.75)
        assert entry["score"] == cells.uns["umap"]["score"] and "label_accuracy" in entry["score"]

    def test_neighbors_know_of_no_labels(self, cells: ad.AnnData) -> None:
        vc.pp.neighbors(cells, n_neighbors=10, key_added="plain")
        vc.pp.neighbors(cells, n_neighbors=10, key_added="weighed", target_weight=1.0)
        assert abs(cells.obsp["plain_connectivities"] - cells.obsp["weighed_connectivities"]).max() == 0
        with pytest.raises(InputError, match="labels"):
            vc.pp.neighbors(cells, n_neighbors=10, labels="group")

    def test_the_plan_shows_them(self, cells: ad.AnnData) -> None:
        plan = vc.tl.plan(cells, labels="some", target_weight=0.25)
        n_unknown = int(cells.obs["some"].isna().sum())
        assert f"labels 'some': 2 labels, {n_unknown} of 150 cells without one" in str(plan)
        assert "label_accuracy" in str(plan) and "target_weight=0.25" in str(plan)
        assert plan.to_dict()["labels"] == "some"

    def test_a_checkpoint_belongs_to_its_labels(self, cells: ad.AnnData, tmp_path: Path) -> None:
        path = tmp_path / "run"
        run = vc.tl.start(cells, labels="group", n_epochs=20).step(10)
        run.save(path)
        vc.tl.embed(cells, labels="group", n_epochs=20, key_added="whole")
        vc.tl.embed(cells, labels="group", n_epochs=20, key_added="resumed", checkpoint=path)
        np.testing.assert_array_equal(cells.obsm["whole"], cells.obsm["resumed"])
        run.save(path)
        for others in ({}, {"labels": "some"}, {"labels": "group", "target_weight": 0.6}):
            with pytest.raises(ModelError, match="other"):
                vc.tl.start(cells, n_epochs=20, **others).resume(path)
        cells.obs["group"] = cells.obs["group"].to_numpy()[::-1]
        with pytest.raises(ModelError, match="other"):
            vc.tl.start(cells, labels="group", n_epochs=20).resume(path)


class TestBadInput:
    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ({"labels": "grouo"}, "labels='grouo' is not in adata.obs.*Did you mean 'group'"),
            ({"labels": 3}, "labels=3 is not allowed; name a column of obs"),
            ({"labels": ["group"]}, "labels=.*Did you mean 'group'"),
            ({"labels": np.zeros(150, dtype=int)}, "labels is an array .*; name a column of obs"),
            ({"labels": pd.Series(np.zeros(150))}, "labels is a Series .*; name a column of obs"),
            ({"labels": "empty"}, "labels='empty': none of 150 cells has a value"),
            ({"labels": "group", "target_weight": 1.5}, "target_weight=1.5 is not allowed.*from 0 to 1"),
            (
                {"labels": "group", "graph": "edgeless"},
                "labels='group'.*graph='edgeless' .given.*'fuzzy', 'precomputed'",
            ),
            ({"labels": "group", "n_epochs": 0, "init": "pca"}, "labels='group'.*graph='edgeless' .n_epochs is 0"),
            ({"labels": "group", "graph": Own()}, "labels='group' is not allowed with graph='Own'.*'fuzzy'"),
            ({"y": "group"}, "unknown parameter 'y'. Did you mean 'labels'"),
            ({"init": "sample_place", "sample_params": {"labels": "group"}}, "sample_params holds 'labels'"),
        ],
    )
    @pytest.mark.parametrize("function", [vc.tl.embed, vc.tl.plan, vc.tl.start])
    def test_is_found_before_any_work(
        self, cells: ad.AnnData, function: Any, arguments: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def never(*_: Any, **__: Any) -> None:
            raise AssertionError("ran")

        monkeypatch.setattr("vicinal.pipeline.run.Run.__init__", never)
        with pytest.raises(InputError, match=said):
            function(cells, **arguments)
        assert "X_umap" not in cells.obsm and "umap" not in cells.uns
