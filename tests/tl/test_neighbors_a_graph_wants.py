"""A graph says how many neighbours it is made from, and stored distances are used where they hold so many."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

import vicinal as vc
from vicinal.api import API_VERSION, GraphRequest, InputError, Preset
from vicinal.backends.graph.perplexity import PerplexityGraph, PerplexityParams
from vicinal.plugin.manager import Registered, get_manager
from vicinal.testing import brute_force

FEW = {"n_epochs": 3}
AFFINE = Preset(
    api_version=API_VERSION,
    name="affine",
    stages={"knn": "auto", "graph": "perplexity", "init": "pca", "objective": "umap", "optimizer": "numba_sgd"},
)


@pytest.fixture(autouse=True)
def affine(monkeypatch):
    """A method whose graph is made from neighbours, as that of t-SNE is."""
    entry = Registered(spec=AFFINE, distribution="vicinal", version="0")
    monkeypatch.setitem(get_manager()._registered, ("method", "affine"), [entry])


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    rng = np.random.default_rng(0)
    rows = (4 * rng.normal(size=(5, 6))[rng.integers(5, size=300)] + rng.normal(size=(300, 6))).astype(np.float32)
    adata = ad.AnnData(np.zeros((300, 1), dtype=np.float32), obsm={"X_pca": rows, "X_other": rows[:, :4].copy()})
    vc.pp.neighbors(adata, n_neighbors=101, use_rep="X_other", key_added="many")
    vc.pp.neighbors(adata, n_neighbors=15, use_rep="X_other")
    return adata


@pytest.fixture
def adata(cells) -> ad.AnnData:
    return cells.copy()


def searched(plan) -> bool:
    return plan.stages["knn"].name == "exact"


class TestStoredDistances:
    def test_enough_are_used(self, adata):
        plan = vc.tl.plan(adata, "affine", neighbors_key="many")
        assert plan.stages["knn"].name == "given" and plan.n_neighbors == 91 and plan.neighbors_key == "many"
        assert plan.stages["knn"].reason == "the nearest of the neighbours stored under 'many'"
        assert plan.stages["graph"].backend.perplexity == 30

    def test_the_graph_is_that_of_neighbors_computed_afresh(self, adata):
        stored = vc.tl.start(adata, "affine", neighbors_key="many", **FEW)._run.graph
        fresh = vc.tl.start(adata, "affine", use_rep="X_other", knn="exact", **FEW)._run.graph
        np.testing.assert_array_equal(stored.indices, fresh.indices)
        np.testing.assert_allclose(stored.weights, fresh.weights, rtol=1e-4)

    def test_too_few_are_searched_where_they_came_from(self, adata):
        plan = vc.tl.plan(adata, "affine")
        assert searched(plan) and plan.n_neighbors == 91 and plan.representation == "X_other"
        assert "14 neighbours of a cell are stored under 'neighbors', 90 are wanted: they are searched" in plan.notes
        assert plan.neighbors_key is None

    @pytest.mark.parametrize(("perplexity", "used"), [(4, True), (14 / 3, True), (5, False), ([2, 4], True)])
    def test_the_perplexity_says_how_many_are_enough(self, adata, perplexity, used):
        plan = vc.tl.plan(adata, "affine", perplexity=perplexity)
        assert searched(plan) != used
        assert plan.n_neighbors == int(3 * np.max(perplexity)) + 1

    @pytest.mark.parametrize("name", ["graph__perplexity", "perplexity__perplexity"])
    def test_by_any_name_it_has(self, adata, name):
        assert not searched(vc.tl.plan(adata, "affine", **{name: 4}))

    def test_n_neighbors_alone_takes_the_nearest_of_them(self, adata):
        plan = vc.tl.plan(adata, "affine", n_neighbors=10)
        assert not searched(plan) and plan.n_neighbors == 10
        assert "perplexity 3 instead of 30: a third of the 9 neighbours" in plan.notes
        assert plan.stages["knn"].reason == "the 10 nearest of the neighbours stored under 'neighbors'"

    @pytest.mark.parametrize("given", [{"use_rep": "X_pca"}, {"n_pcs": 3}, {"metric": "cosine"}, {"knn": "exact"}])
    def test_what_asks_for_other_neighbors_leaves_them_alone(self, adata, given):
        assert searched(vc.tl.plan(adata, "affine", neighbors_key="many", **given))

    def test_every_cell_must_have_enough(self, adata):
        adata.obsp["many_distances"][7, adata.obsp["many_distances"][7].indices[20:]] = np.inf
        plan = vc.tl.plan(adata, "affine", neighbors_key="many")
        assert searched(plan)
        assert any("20 neighbours of some cells are stored under 'many', 90 are wanted" in note for note in plan.notes)

    def test_connectivities_alone_do_not_do(self, adata):
        del adata.obsp["distances"]
        plan = vc.tl.plan(adata, "affine")
        assert searched(plan)
        assert "no distances are stored under 'neighbors': neighbours are searched" in plan.notes

    def test_the_metric_is_theirs(self, adata):
        vc.pp.neighbors(adata, n_neighbors=20, metric="cosine")
        for perplexity in (5, 20):
            assert vc.tl.plan(adata, "affine", perplexity=perplexity).metric == "cosine"

    def test_without_a_representation_they_are_all_there_is(self, adata):
        for key in list(adata.obsm):
            del adata.obsm[key]
        adata = ad.AnnData(np.zeros((300, 60), dtype=np.float32), uns=adata.uns, obsp=adata.obsp)
        del adata.X
        assert vc.tl.plan(adata, "affine", neighbors_key="many", init="random").n_neighbors == 91
        with pytest.raises(InputError, match="no representation to find neighbours in"):
            vc.tl.plan(adata, "affine", init="random")
        assert vc.tl.plan(adata, "affine", n_neighbors=15, init="random").n_neighbors == 15

    def test_only_the_slot_that_is_used_is_read(self, adata):
        adata.obsp["many_connectivities"].data[:] = np.nan
        vc.tl.plan(adata, "affine", neighbors_key="many")
        with pytest.raises(InputError, match="weights are negative, NaN or infinite"):
            vc.tl.plan(adata, neighbors_key="many")
        adata.obsp["distances"].data[:] = np.nan
        assert vc.tl.plan(adata).stages["graph"].name == "precomputed"

    def test_they_are_left_as_they_were(self, adata, cells):
        vc.tl.embed(adata, "affine", neighbors_key="many", **FEW)
        for key, kept in cells.obsp.items():
            assert (adata.obsp[key] != kept).nnz == 0
        assert "affine" not in cells.uns and adata.uns["affine"]["params"]["perplexity"] == 30


class TestRerun:
    @pytest.mark.parametrize(
        ("method", "given"),
        [
            ("affine", {}),
            ("affine", {"neighbors_key": "many"}),
            ("affine", {"perplexity": [2, 4]}),
            ("affine", {"n_epochs": 0}),
            ("affine", {"neighbors_key": "many", "n_epochs": 0}),
            ("affine", {"graph": "uniform", "symmetrize": "mean"}),
            ("umap", {"n_neighbors": 40}),
            ("umap", {"graph": "fixed_sigma", "sigma": 2.5}),
        ],
    )
    def test_a_map_can_be_made_again(self, adata, method, given):
        vc.tl.embed(adata, method, **{**FEW, **given})
        made = adata.obsm[f"X_{method}"].copy()
        vc.tl.rerun(adata, method, key_added="again")
        np.testing.assert_array_equal(adata.obsm["again"], made)


class TestPerplexityOfOtherMethods:
    def test_umap_takes_the_graph_by_name(self, adata):
        plan = vc.tl.plan(adata, graph="perplexity", perplexity=20)
        assert searched(plan) and plan.n_neighbors == 61
        assert vc.tl.plan(adata, graph="uniform").n_neighbors == 15
        assert vc.tl.plan(adata, graph="fixed_sigma", sigma=1).n_neighbors == 31
        assert vc.tl.plan(adata, graph="fuzzy").n_neighbors == 15

    def test_an_object_may_say_what_it_wants(self, adata):
        assert vc.tl.plan(adata, graph=PerplexityGraph(PerplexityParams(perplexity=12))).n_neighbors == 37

    def test_several_perplexities_are_recorded(self, adata):
        vc.tl.embed(adata, graph="perplexity", perplexity=[5, 30], **FEW)
        assert adata.uns["umap"]["params"]["perplexity"] == "5, 30"

    def test_given_arrays_hold_what_they_hold(self, adata):
        found = brute_force(adata.obsm["X_pca"], 20)
        plan = vc.tl.plan(adata, graph="perplexity", knn=(found.indices, found.distances))
        assert plan.n_neighbors == 21 and plan.stages["graph"].backend.perplexity == pytest.approx(20 / 3)
        with pytest.raises(InputError, match="perplexity=20 is not allowed with 20 neighbours"):
            vc.tl.plan(adata, graph="perplexity", perplexity=20, knn=(found.indices, found.distances))


class TestNeighbors:
    def test_its_graph_is_stored_with_the_number_it_was_made_from(self, adata):
        vc.pp.neighbors(adata, graph="perplexity", perplexity=50)
        entry = adata.uns["neighbors"]["params"]
        assert (entry["n_neighbors"], entry["perplexity"], entry["method"]) == (151, 50, "perplexity")
        assert (np.diff(adata.obsp["distances"].indptr) == 150).all()
        table = brute_force(adata.obsm["X_pca"], 150)
        made = PerplexityGraph(PerplexityParams(perplexity=50)).build(GraphRequest(n_obs=300, neighbors=table))
        np.testing.assert_allclose(
            adata.obsp["connectivities"].toarray(), made.to_scipy().toarray(), rtol=1e-3, atol=1e-12
        )
        sc.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False)
        assert 2 <= adata.obs["leiden"].nunique() <= 10
        assert vc.tl.plan(adata, "affine", perplexity=50).stages["knn"].name == "given"

    def test_umap_weights_say_so(self, adata):
        vc.pp.neighbors(adata)
        assert adata.uns["neighbors"]["params"]["method"] == "umap"


class TestBadInput:
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"perplexity": 100}, "perplexity=100 is not allowed for 300 cells; give at most 99.6, a third"),
            ({"perplexity": 0}, "perplexity=0 is not allowed"),
            ({"perplexity": 20, "n_neighbors": 21}, "perplexity=20 is not allowed with 20 neighbours"),
            ({"perplexity": 120, "n_neighbors": 200}, "perplexity=120 is not allowed for 300 cells"),
            ({"perplexty": 20}, "unknown parameter 'perplexty'.*Did you mean 'perplexity'"),
            ({"min_dist": 0.1, "sigma": 3}, "unknown parameter 'sigma'"),
            ({"labels": "group"}, "labels='group' is not allowed with graph='perplexity'"),
        ],
    )
    def test_comes_before_any_work(self, adata, given, message):
        adata.obs["group"] = "a"
        with pytest.raises(InputError, match=message):
            vc.tl.embed(adata, "affine", **given)
        with pytest.raises(InputError, match=message):
            vc.tl.embed(adata, graph="perplexity", **given)
        assert not {"affine", "umap"} & set(adata.uns)


def test_from_1_to_40_cells(cells):
    for n in range(1, 41):
        adata = cells[:n].copy()
        vc.tl.embed(adata, "affine", **FEW)
        assert np.isfinite(adata.obsm["X_affine"]).all()
        assert vc.tl.plan(adata, "affine").n_neighbors == n


def test_a_sample_may_have_a_perplexity_of_its_own(adata):
    sampled = {"init": "sample_place", "sample_size": 200, "sample_params": {"perplexity": 60}}
    plan = vc.tl.plan(adata, "affine", **sampled)
    assert plan.n_neighbors == 91 and plan.sub_plans[0].n_neighbors == 181
    vc.tl.embed(adata, "affine", **sampled, **FEW)
    with pytest.raises(InputError, match="perplexity=60 is not allowed for 100 cells"):
        vc.tl.plan(adata, "affine", **{**sampled, "sample_size": 100})
