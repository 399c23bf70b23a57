"""Maps by t-SNE, as people ask for them."""

from __future__ import annotations

import json
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

import vicinal as vc
from vicinal.api import InputError


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    adata = vc.datasets.pbmc68k_reduced()
    return ad.AnnData(obs=adata.obs[["bulk_labels"]], obsm={"X_pca": adata.obsm["X_pca"]})


def few(n_obs: int) -> ad.AnnData:
    rows = np.random.default_rng(n_obs).normal(size=(n_obs, 5)).astype(np.float32)
    return ad.AnnData(obsm={"X_pca": rows}, shape=(n_obs, 0))


@pytest.mark.parametrize("n_components", [1, 2, 3])
@pytest.mark.parametrize("n_obs", [*range(1, 8), 20, 40])
def test_few_cells_get_a_finite_map(n_obs: int, n_components: int) -> None:
    adata = few(n_obs)
    vc.tl.embed(adata, "tsne", n_components=n_components)
    assert adata.obsm["X_tsne"].shape == (n_obs, n_components)
    assert np.isfinite(adata.obsm["X_tsne"]).all()
    assert adata.uns["tsne"]["params"]["perplexity"] <= max(n_obs - 1, 1) / 3


def test_no_cells() -> None:
    with pytest.raises(InputError, match="no cells"):
        vc.tl.embed(few(0), "tsne")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"perplexity": 400}, r"perplexity=400 is not allowed for 700 cells; give at most 233"),
        ({"perplexity": 30, "n_neighbors": 20}, r"perplexity=30 is not allowed with 19 neighbours .* n_neighbors=91"),
        ({"phases": [{"n": 10, "exageration": 4}]}, r"phases\[0\] holds 'exageration'; .* Did you mean 'exaggeration'"),
        ({"phases": [{"n": 10, "exaggeration": 0}]}, r"phases\[0\]: exaggeration=0 is not allowed"),
        ({"early_exaggeration_iter": 250}, "Did you mean 'early_exaggeration'"),
        ({"n_components": 4}, "n_components=4 is not allowed with objective='tsne'; it can do 1 to 3"),
        ({"min_dist": 0.1}, "unknown parameter 'min_dist'"),
        ({"optimizer": "numba_sgd"}, "choose a pair that shares one"),
    ],
)
def test_bad_input_is_told_before_any_work(cells: ad.AnnData, options: dict, message: str) -> None:
    adata = cells.copy()
    with pytest.raises(InputError, match=message):
        vc.tl.embed(adata, "tsne", **options)
    assert list(adata.obsm) == ["X_pca"] and not adata.uns


def test_the_map_keeps_types_and_neighbours_apart_from_others(cells: ad.AnnData) -> None:
    adata = cells.copy()
    vc.tl.embed(adata, "tsne")
    vc.tl.embed(adata)
    scores = {name: adata.uns[name]["score"]["knn_recall_15"] for name in ("tsne", "umap")}
    assert scores["tsne"] > scores["umap"] > 0.2
    places, types = adata.obsm["X_tsne"], cells.obs["bulk_labels"]
    even = np.arange(adata.n_obs) % 2 == 0
    told = KNeighborsClassifier(15).fit(places[even], types[even]).score(places[~even], types[~even])
    assert told > 0.75


def test_what_is_recorded(cells: ad.AnnData, tmp_path: Path) -> None:
    adata = cells.copy()
    vc.tl.embed(adata, "tsne", n_epochs=95)
    made = adata.uns["tsne"]
    assert json.loads(made["params"]["phases"]) == [[0, 25, {"exaggeration": 12.0}], [25, 95, {"exaggeration": 1.0}]]
    expected = {"perplexity": 30.0, "n_neighbors": 91, "dof": 1.0, "learning_rate": "auto", "momentum": "auto"}
    assert expected.items() <= made["params"].items()
    np.testing.assert_allclose(made["loss"], sum(made["loss_parts"].values()), rtol=1e-6)
    assert made["loss"][-1] < made["loss"][0]
    adata.write_h5ad(tmp_path / "map.h5ad")
    back = ad.read_h5ad(tmp_path / "map.h5ad")
    assert back.uns["tsne"]["params"]["phases"] == made["params"]["phases"]
    vc.tl.rerun(back, "tsne")
    np.testing.assert_array_equal(back.obsm["tsne_rerun"], adata.obsm["X_tsne"])


def test_the_usual_schedule_by_hand_is_that_of_one_call(cells: ad.AnnData) -> None:
    whole, by_hand = cells.copy(), cells.copy()
    phases = [{"n": 60, "exaggeration": 12}, {"n": 90, "exaggeration": 4}]
    vc.tl.embed(whole, "tsne", phases=phases)
    run = vc.tl.start(by_hand, "tsne", n_epochs=150)
    run.step(60, exaggeration=12)
    early = np.ptp(run.layout, axis=0).max()
    run.step(90, exaggeration=4)
    assert np.ptp(run.layout, axis=0).max() > early
    run.finish()
    np.testing.assert_array_equal(by_hand.obsm["X_tsne"], whole.obsm["X_tsne"])


def test_a_map_can_start_from_another(cells: ad.AnnData) -> None:
    adata = cells.copy()
    vc.tl.embed(adata, n_epochs=50)
    run = vc.tl.start(adata, "tsne", init="X_umap", phases=[{"n": 20}])
    np.testing.assert_array_equal(run.layout, adata.obsm["X_umap"])
    run.finish()
    assert adata.uns["tsne"]["loss"][-1] < adata.uns["tsne"]["loss"][0]


def test_resumed_in_any_phase(cells: ad.AnnData, tmp_path: Path) -> None:
    """In early exaggeration, at its end, and where momentum is about to grow, grows, and has grown."""
    whole = cells.copy()
    vc.tl.embed(whole, "tsne", n_epochs=220)
    early = json.loads(whole.uns["tsne"]["params"]["phases"])[0][1]
    for at in (25, early, early + 60, early + 100, early + 101, 210):
        path = tmp_path / f"{at}.zip"
        first = vc.tl.start(cells.copy(), "tsne", n_epochs=220)
        first.step(at)
        first.save(path)
        again = cells.copy()
        second = vc.tl.start(again, "tsne", n_epochs=220, n_jobs=1)
        second.resume(path).finish()
        np.testing.assert_array_equal(again.obsm["X_tsne"], whole.obsm["X_tsne"])


def test_a_sample_first_and_the_rest_beside_it(cells: ad.AnnData) -> None:
    """The recipe for large data in one call: a map of a sample, placement, exaggeration in phases."""
    adata = cells.copy()
    vc.tl.embed(
        adata,
        "tsne",
        init="sample_place",
        sample_size=200,
        sample_params={"perplexity": 50, "n_epochs": 200},
        place_neighbors=1,
        perplexity=15,
        phases=[{"n": 50, "exaggeration": 12}, {"n": 100, "exaggeration": 4}],
    )
    assert adata.uns["tsne"]["init"]["sample"].sum() == 200
    assert adata.uns["tsne"]["score"]["knn_recall_15"] > 0.25
    first = vc.tl.start(cells.copy(), "tsne", init="sample_place", sample_size=200, sample_params={"n_epochs": 9})
    assert first.layout[:, 0].std() == pytest.approx(1e-4, rel=0.05)


def test_new_cells_are_placed_in_it(cells: ad.AnnData) -> None:
    old, new = cells[::2].copy(), cells[1::2].copy()
    vc.tl.embed(old, "tsne", n_epochs=300)
    vc.tl.project(new, old)
    told = KNeighborsClassifier(15).fit(old.obsm["X_tsne"], old.obs["bulk_labels"])
    assert told.score(new.obsm["X_tsne"], new.obs["bulk_labels"]) > 0.7
    alone = new[7].copy()
    vc.tl.project(alone, old)
    np.testing.assert_array_equal(alone.obsm["X_tsne"][0], new.obsm["X_tsne"][7])


def test_without_a_representation_it_starts_from_the_graph(cells: ad.AnnData) -> None:
    vc.pp.neighbors(cells, n_neighbors=31)
    alone = ad.AnnData(obs=cells.obs.copy(), obsp=dict(cells.obsp), uns={"neighbors": cells.uns["neighbors"]})
    vc.tl.embed(alone, "tsne", perplexity=10, n_epochs=3)
    assert alone.uns["tsne"]["backends"]["init"] == "spectral@vicinal"
    assert "no representation" in alone.uns["tsne"]["reasons"]["init"]
    vc.tl.spectrum(alone, [2, 1], perplexity=10, n_epochs=3)
    assert alone.uns["spectrum"]["snapshots"].shape == (2, alone.n_obs, 2)
    assert vc.tl.plan(cells, "tsne", perplexity=10).stages["init"].name == "pca"
    with pytest.raises(InputError, match="init='pca' needs a representation"):
        vc.tl.plan(alone, "tsne", perplexity=10, init="pca")
