"""A sample mapped first, the rest placed beside it."""

from __future__ import annotations

import json

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

import vicinal as vc
from vicinal.api import InputError, ModelError
from vicinal.backends.init.sampling import shares
from vicinal.backends.objective.umap import UmapObjective, UmapParams
from vicinal.pipeline import policy


@pytest.fixture
def cells():
    """Five groups of very different size in ten dimensions."""
    rng = np.random.default_rng(0)
    sizes = [500, 300, 150, 40, 10]
    centers = rng.normal(scale=6, size=(5, 10))
    group = np.repeat(np.arange(5), sizes)
    made = ad.AnnData(np.zeros((1000, 1), dtype=np.float32))
    made.obsm["X_pca"] = (centers[group] + rng.normal(size=(1000, 10))).astype(np.float32)
    made.obs["group"] = pd.Categorical(np.array(list("abcde"))[group])
    made.obs_names = rng.permutation(1000).astype(str)
    return made


def test_map_of_the_sample_and_placement_equal_the_steps_done_by_hand(cells):
    vc.tl.embed(cells, init="sample_place", sample_size=200, place_neighbors=3, place_jitter=0, n_epochs=0)
    chosen = cells.uns["umap"]["init"]["sample"]
    sample = cells[chosen].copy()
    vc.tl.embed(sample, init="pca")
    places = np.empty((1000, 2))
    places[chosen] = sample.obsm["X_umap"]
    near = cdist(cells.obsm["X_pca"][~chosen], sample.obsm["X_pca"]).argsort(axis=1)[:, :3]
    places[~chosen] = np.median(sample.obsm["X_umap"][near], axis=1)
    expected = UmapObjective(UmapParams()).rescale(places.astype(np.float32))
    # The host adds a trace of noise to every first layout, so that coincident cells can part.
    np.testing.assert_allclose(cells.obsm["X_umap"], expected, atol=1e-3)
    assert chosen.sum() == 200
    np.testing.assert_allclose(cells.uns["umap"]["init"]["placement"], places, atol=1e-5)


def test_what_was_left_open_is_recorded_as_it_was_used(cells):
    vc.tl.embed(cells, init="sample_place", n_epochs=0)
    used = cells.uns["umap"]["params"]
    assert (used["sample_size"], used["place_neighbors"], used["place_by"]) == (250, 5, "median")


@pytest.mark.parametrize(
    "options", [{"min_dist": 0.1}, {"learning_rate": 0.3}, {"negative_sample_rate": 3, "repulsion_strength": 2.0}]
)
def test_map_of_the_sample_has_the_parameters_of_the_whole(cells, options):
    common = {"place_jitter": 0, "n_epochs": 0, "place_neighbors": 1}
    vc.tl.embed(cells, init="sample_place", **common, **options)
    chosen = cells.uns["umap"]["init"]["sample"]
    sample = cells[chosen].copy()
    vc.tl.embed(sample, init="pca", **options)
    found, made = cells.obsm["X_umap"][chosen], sample.obsm["X_umap"]
    scale = np.ptp(made, axis=0).max() / np.ptp(found, axis=0).max()
    np.testing.assert_allclose((found - found.mean(axis=0)) * scale, made - made.mean(axis=0), atol=0.01)


def test_density_still_counts_where_many_cells_are_equal(cells):
    rows = cells.obsm["X_pca"].copy()
    rows[:300] = rows[0]
    cells.obsm["X_pca"] = rows
    vc.tl.embed(cells, init="sample_place", sampling="density", sample_size=100, n_epochs=0)
    by_density = cells.uns["umap"]["init"]["sample"]
    vc.tl.embed(cells, init="sample_place", sample_size=100, n_epochs=0)
    assert by_density[:300].sum() < 0.8 * cells.uns["umap"]["init"]["sample"][:300].sum()


def test_neighbours_asked_for_are_found_even_if_nothing_is_refined(cells):
    plan = vc.tl.plan(cells, init="sample_place", n_epochs=0, n_neighbors=30)
    assert "knn" in plan.stages
    assert plan.n_neighbors == 30


def test_mean_is_weighted_towards_the_nearest(cells):
    common = {"init": "sample_place", "sample_size": 100, "place_jitter": 0, "n_epochs": 0}
    layouts = {}
    for by, k in (("median", 1), ("mean", 1), ("mean", 30), ("median", 30)):
        vc.tl.embed(cells, **common, place_by=by, place_neighbors=k)
        layouts[by, k] = cells.obsm["X_umap"]
    np.testing.assert_allclose(layouts["mean", 1], layouts["median", 1], atol=2e-3)
    assert np.abs(layouts["mean", 30] - layouts["median", 30]).max() > 0.1


def test_without_refinement_no_graph_is_made(cells):
    plan = vc.tl.plan(cells, init="sample_place", n_epochs=0)
    assert "knn" not in plan.stages
    assert plan.stages["graph"].name == "edgeless"
    vc.tl.embed(cells, init="sample_place", n_epochs=0)
    assert "knn" not in cells.uns["umap"]["timings"]
    assert cells.uns["umap"]["score"]["knn_recall_15"] > 0.05


def test_spectral_without_refinement_still_gets_its_graph(cells):
    assert "knn" in vc.tl.plan(cells, init="spectral", n_epochs=0).stages


def test_jitter_is_of_the_size_it_says(cells):
    common = {"init": "sample_place", "sample_size": 400, "n_epochs": 0, "place_neighbors": 1}
    vc.tl.embed(cells, **common, place_jitter=0)
    still, chosen = cells.obsm["X_umap"].copy(), cells.uns["umap"]["init"]["sample"]
    vc.tl.embed(cells, **common, place_jitter=0.2)
    spacing = np.sqrt(np.prod(np.ptp(still[chosen], axis=0)) / 400)
    moved = cells.obsm["X_umap"] - still
    assert np.std(moved[~chosen]) == pytest.approx(
        0.2 * spacing, rel=0.3
    )  # jitter may widen the map, which is rescaled


def test_the_objective_of_the_sample_is_that_of_the_whole(cells):
    plan = vc.tl.plan(cells, init="sample_place", min_dist=0.01, negative_sample_rate=3)
    (sub,) = plan.sub_plans
    assert sub.stages["objective"].params.min_dist == 0.01
    assert sub.stages["objective"].params.negative_sample_rate == 3
    assert "on the way: umap: 250 cells" in str(plan)


def test_arguments_for_the_sample(cells):
    extra = {"n_epochs": 30, "min_dist": 0.3, "init": "spectral"}
    vc.tl.embed(cells, init="sample_place", sample_n_neighbors=90, sample_params=extra)
    (record,) = json.loads(cells.uns["umap"]["params"]["sub_plans"])
    assert record["n_obs"] == 250
    assert record["n_neighbors"] == 90
    assert record["stages"]["optimizer"]["params"]["n_epochs"] == 30
    assert record["stages"]["objective"]["params"]["min_dist"] == 0.3
    assert record["stages"]["init"]["backend"] == "spectral@vicinal"


def test_every_group_is_in_proportion_and_none_is_lost(cells):
    vc.tl.embed(cells, init="sample_place", sample_by="group", sample_size=50, n_epochs=0)
    drawn = cells.obs["group"][cells.uns["umap"]["init"]["sample"]].value_counts()
    assert drawn[["a", "b", "c", "d", "e"]].tolist() == [25, 15, 7, 2, 1]


def test_density_draws_more_from_sparse_regions(cells):
    rng = np.random.default_rng(1)
    spread = np.repeat([0.3, 3.0], [900, 100])
    cells.obsm["X_pca"] = (rng.normal(size=(1000, 10)) * spread[:, None] + 20 * (spread[:, None] > 1)).astype(
        np.float32
    )
    shares_drawn = {}
    for sampling in ("uniform", "density"):
        vc.tl.embed(cells, init="sample_place", sampling=sampling, sample_size=100, n_epochs=0)
        shares_drawn[sampling] = (spread[cells.uns["umap"]["init"]["sample"]] > 1).mean()
    assert shares_drawn["uniform"] < 0.2
    assert shares_drawn["density"] > 0.5


@pytest.mark.parametrize("options", [{}, {"sampling": "density", "sample_by": "group", "place_by": "mean"}])
def test_same_bits_for_any_threads_and_row_order(cells, options):
    rng = np.random.default_rng(0)
    shuffled = cells[rng.permutation(1000)].copy()
    vc.tl.embed(cells, init="sample_place", n_jobs=1, n_epochs=20, **options)
    vc.tl.embed(shuffled, init="sample_place", n_jobs=3, n_epochs=20, **options)
    np.testing.assert_array_equal(shuffled[cells.obs_names].obsm["X_umap"], cells.obsm["X_umap"])
    pd.testing.assert_series_equal(
        pd.Series(shuffled.uns["umap"]["init"]["sample"], shuffled.obs_names)[cells.obs_names],
        pd.Series(cells.uns["umap"]["init"]["sample"], cells.obs_names),
    )


def test_resumed_run_has_the_same_bits_and_other_samples_are_refused(cells, tmp_path):
    whole = vc.tl.start(cells, init="sample_place", n_epochs=20).step(20)
    half = vc.tl.start(cells, init="sample_place", n_epochs=20).step(9)
    half.save(tmp_path / "run")
    resumed = vc.tl.start(cells, init="sample_place", n_epochs=20, n_jobs=1).resume(tmp_path / "run").step(11)
    np.testing.assert_array_equal(resumed.layout, whole.layout)
    with pytest.raises(ModelError, match="arguments"):
        vc.tl.start(cells, init="sample_place", n_epochs=20, sample_params={"n_epochs": 3}).resume(tmp_path / "run")


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_record_survives_files(cells, tmp_path, kind):
    vc.tl.embed(cells, init="sample_place", n_epochs=5)
    path = tmp_path / f"cells.{kind}"
    getattr(cells, f"write_{kind}")(path)
    back = (ad.read_h5ad if kind == "h5ad" else ad.read_zarr)(path)
    np.testing.assert_array_equal(back.uns["umap"]["init"]["sample"], cells.uns["umap"]["init"]["sample"])
    assert back.uns["umap"]["params"]["sub_plans"] == cells.uns["umap"]["params"]["sub_plans"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sample_size": 1001}, r"sample_size=1001 is more than the 1000 cells .* at most 1000"),
        ({"sample_size": 0}, "sample_size=0 is not allowed; give a positive integer"),
        (
            {"sample_size": 100, "sample_n_neighbors": 100},
            r"sample_n_neighbors=100 .* sample of 100 cells; give 2 to 99",
        ),
        ({"sample_size": 10, "place_neighbors": 11}, "place_neighbors=11 is more than the sample of 10 cells"),
        ({"sample_by": "grup"}, "sample_by='grup' is not in adata.obs; .* Did you mean 'group'"),
        ({"sample_by": "group", "sample_size": 4}, "5 groups, and sample_size=4 .* at least 5"),
        ({"sampling": "densty"}, "sampling='densty' is not allowed; .* Did you mean 'density'"),
        ({"place_by": "mode"}, "place_by='mode' is not allowed"),
        ({"sample_method": "umop"}, "umop"),
        ({"sample_params": {"n_epoch": 3}}, "unknown parameter 'n_epoch'. Did you mean 'n_epochs'"),
        ({"sample_params": {"n_neighbors": 3}}, "give sample_n_neighbors= instead"),
        ({"sample_params": 3}, "sample_params is a int; give a dict"),
        ({"sample_params": {"n_components": 3}}, "sample_params holds 'n_components', which belongs to the whole map"),
        ({"sample_params": {1: 3}}, "sample_params holds 1"),
        ({"place_jitter": -1}, "place_jitter=-1 is not allowed"),
    ],
)
def test_bad_input_is_refused_before_any_work(cells, options, message):
    with pytest.raises(InputError, match=message):
        vc.tl.plan(cells, init="sample_place", **options)


def test_a_group_without_cells_and_cells_without_a_group(cells):
    cells.obs["group"] = cells.obs["group"].cat.add_categories("ghost")
    with pytest.raises(InputError, match=r"no cell is in 'ghost'; run .*remove_unused_categories"):
        vc.tl.plan(cells, init="sample_place", sample_by="group")
    cells.obs["group"] = cells.obs["group"].cat.remove_unused_categories()
    cells.obs.iloc[3, cells.obs.columns.get_loc("group")] = np.nan
    with pytest.raises(InputError, match="1 of 1000 cells have no value"):
        vc.tl.plan(cells, init="sample_place", sample_by="group")


@given(st.lists(st.integers(0, 200), min_size=1, max_size=12), st.floats(0, 1))
def test_shares_of_groups(sizes, fraction):
    sizes = np.array(sizes)
    present = int((sizes > 0).sum())
    if present == 0:
        return
    total = present + round(fraction * (sizes.sum() - present))
    given_out = shares(sizes, total)
    assert given_out.sum() == total
    assert (given_out <= sizes).all()
    assert (given_out[sizes > 0] >= 1).all()
    # Where no group had to be lifted to one cell, each is within one cell of its exact share.
    exact = sizes * total / sizes.sum()
    if (exact[sizes > 0] >= 1).all():
        assert (np.abs(given_out - exact) < 1).all()


def test_auto_takes_it_for_large_data_with_a_representation(cells, monkeypatch):
    monkeypatch.setattr(policy, "SPECTRAL_UP_TO", 999)
    plan = vc.tl.plan(cells)
    assert plan.stages["init"].name == "sample_place"
    assert plan.stages["init"].reason == "1,000 cells are more than 999"
    assert plan.sub_plans[0].n_obs == 250
    vc.pp.neighbors(cells)
    bare = ad.AnnData(np.zeros((1000, 100), dtype=np.float32), obsp=dict(cells.obsp), uns=dict(cells.uns))
    assert vc.tl.plan(bare).stages["init"].name == "spectral"
