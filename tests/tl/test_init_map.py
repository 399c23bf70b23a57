"""Another method's map as the first layout."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pytest
import trainer_for_tests

import vicinal as vc
from vicinal.api import InputError


@pytest.fixture
def cells() -> ad.AnnData:
    """Return cells in three groups, whose order of names is not the order they are stored in."""
    rng = np.random.default_rng(0)
    made = ad.AnnData(np.zeros((150, 1), dtype=np.float32))
    made.obs_names = [f"cell{n:03d}" for n in rng.permutation(150)]
    rows = rng.normal(size=(150, 6)) + 5 * np.repeat(np.eye(3, 6), 50, axis=0)
    made.obsm["X_pca"] = rows.astype(np.float32)
    return made


@pytest.fixture
def trainings():
    with trainer_for_tests.installed() as started:
        yield started


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.parametrize("params", [{"n_epochs": 30}, {"n_epochs": 0, "init": "pca"}, {"learning_rate": 0.3}])
def test_equals_the_map_made_by_itself_on_the_same_graph(cells, stored, params):
    if stored:
        vc.pp.neighbors(cells, n_neighbors=8)
    common = {"random_state": 3, "min_dist": 0.3, "negative_sample_rate": 3, "n_components": 3}
    vc.tl.embed(cells, init="map", map_params=params, n_epochs=0, key_added="first", **common)
    vc.tl.embed(cells, key_added="alone", **common, **params)
    np.testing.assert_array_equal(cells.obsm["first"], cells.obsm["alone"])


def test_what_follows_goes_on_from_there(cells):
    vc.tl.embed(cells, init="map", map_params={"n_epochs": 30}, n_epochs=[0, 20], key_added="on")
    vc.tl.embed(cells, n_epochs=30, key_added="alone")
    first, last = cells.uns["on"]["snapshots"]
    np.testing.assert_array_equal(first, cells.obsm["alone"])
    assert not np.array_equal(last, first)


def test_repeats_on_any_number_of_threads_and_in_any_order(cells):
    options = {"init": "map", "map_params": {"n_epochs": 20}, "n_epochs": 10}
    shuffled = cells[np.random.default_rng(3).permutation(150)].copy()
    vc.tl.embed(cells, n_jobs=1, **options)
    vc.tl.embed(shuffled, n_jobs=3, **options)
    np.testing.assert_array_equal(shuffled[cells.obs_names].obsm["X_umap"], cells.obsm["X_umap"])


def test_of_labelled_cells_it_follows_the_labels(cells):
    cells.obs["group"] = np.repeat(["a", "b", "c"], 50)
    vc.tl.embed(cells, init="map", labels="group", map_params={"n_epochs": 30}, n_epochs=0, key_added="first")
    vc.tl.embed(cells, labels="group", n_epochs=30, key_added="alone")
    np.testing.assert_array_equal(cells.obsm["first"], cells.obsm["alone"])


def test_is_planned_shown_and_recorded(cells):
    options = {"init": "map", "map_params": {"n_epochs": 30}, "n_epochs": 5, "min_dist": 0.3}
    plan = vc.tl.plan(cells, **options)
    (sub,) = plan.sub_plans
    assert sub.n_obs == 150 and sub.stages["optimizer"].params.n_epochs == 30 and sub.scores == ()
    assert sub.stages["objective"].params.min_dist == 0.3
    assert "knn" not in sub.stages and sub.stages["graph"].name == "precomputed"
    assert "on the way: umap: 150 cells" in str(plan)
    vc.tl.embed(cells, **options)
    (recorded,) = json.loads(cells.uns["umap"]["params"]["sub_plans"])
    assert recorded["method"] == "umap" and recorded["stages"]["optimizer"]["params"]["n_epochs"] == 30
    assert cells.uns["umap"]["params"]["map_method"] == "umap"


def test_of_another_optimizer_has_the_objective_of_the_whole(cells, trainings):
    vc.tl.embed(cells, optimizer="trainer", objective="umap", init="map", min_dist=0.4, n_epochs=2)
    (recorded,) = json.loads(cells.uns["umap"]["params"]["sub_plans"])
    assert recorded["stages"]["objective"]["params"]["min_dist"] == 0.4


@pytest.mark.parametrize("graph", ["stored", "matrix"])
def test_a_graph_alone_is_enough(cells, graph):
    vc.pp.neighbors(cells, n_neighbors=8)
    del cells.obsm["X_pca"]
    cells._inplace_subset_var([])
    options = {"graph": cells.obsp["connectivities"]} if graph == "matrix" else {}
    vc.tl.embed(cells, init="map", map_params={"n_epochs": 5}, n_epochs=5, **options)
    assert np.isfinite(cells.obsm["X_umap"]).all()


NOT_ITS_OWN = (
    "n_neighbors metric knn graph method n_components use_rep n_pcs neighbors_key key_added fixed copy labels"
    " callbacks checkpoint checkpoint_every"
)


class TestRefuses:
    """Before any work, so that the plan shows it as well."""

    @pytest.mark.parametrize("name", NOT_ITS_OWN.split())
    def test_what_is_as_in_the_whole_map(self, cells, name):
        with pytest.raises(InputError, match=f"map_params holds {name!r}, which is as in the whole map"):
            vc.tl.plan(cells, init="map", map_params={name: 3})

    @pytest.mark.parametrize(
        ("params", "says"),
        [
            (3, "map_params is a int; give a dict"),
            ({3: 4}, "map_params holds 3"),
            ({"n_epoch": 4}, "unknown parameter 'n_epoch'.*Did you mean 'n_epochs'"),
            ({"n_epochs": -1}, "n_epochs=-1 is not allowed"),
            ({"init": "spectrl"}, "init='spectrl' is neither a backend"),
            ({"init": np.zeros((150, 2))}, "init='array' needs positions"),
            ({"optimizer": "nobody"}, "optimizer='nobody' is unknown"),
        ],
    )
    @pytest.mark.parametrize("function", [vc.tl.embed, vc.tl.plan])
    def test_arguments_that_cannot_be(self, cells, function, params, says):
        with pytest.raises(InputError, match=says):
            function(cells, init="map", map_params=params)
        assert not cells.uns

    def test_a_method_that_is_not_there(self, cells):
        with pytest.raises(InputError, match="method='umpa' is unknown.*Did you mean 'umap'"):
            vc.tl.plan(cells, init="map", map_method="umpa")
