"""Maps from attraction to repulsion: one graph, each from the one before, kept in one stack."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest

import vicinal as vc
from vicinal.api import InputError
from vicinal.tl.spectrum import usual_exaggerations

FACTORS = [12, 4, 1, 0.5]
N = 30


@pytest.fixture
def cells() -> ad.AnnData:
    """Return cells of four kinds whose order of names is not the order they are stored in."""
    rng = np.random.default_rng(0)
    kinds = np.arange(160) % 4
    made = ad.AnnData(np.zeros((160, 1), dtype=np.float32))
    made.obs_names = [f"cell{n}" for n in rng.permutation(160)]
    made.obs["kind"] = kinds.astype(str)
    made.obsm["X_pca"] = (rng.normal(scale=6, size=(4, 5))[kinds] + rng.normal(size=(160, 5))).astype(np.float32)
    vc.pp.neighbors(made, n_neighbors=12)
    return made


def spectrum(cells: ad.AnnData, exaggerations: Any = FACTORS, **options: Any) -> dict[str, Any]:
    vc.tl.spectrum(cells, exaggerations, **{"graph": "precomputed", "n_epochs": N, **options})
    return cells.uns[options.get("key_added", "spectrum")]


def between_and_within(layout: np.ndarray, kinds: Any) -> float:
    """Return the spread of the kinds' means over that of the cells about them."""
    means = np.array([layout[kinds == kind].mean(axis=0) for kind in np.unique(kinds)])
    within = np.mean([layout[kinds == kind].std(axis=0).mean() for kind in np.unique(kinds)])
    return float(means.std(axis=0).mean() / within)


class TestMaps:
    def test_the_stack_and_its_names(self, cells: ad.AnnData) -> None:
        entry = spectrum(cells)
        assert entry["snapshots"].shape == (4, 160, 2) and entry["snapshots"].dtype == np.float32
        assert entry["exaggerations"].tolist() == FACTORS
        assert entry["snapshot_epochs"].tolist() == [30, 60, 90, 120]
        losses = dict(zip(entry["loss_epoch"], entry["loss"], strict=True))
        assert entry["snapshot_loss"].tolist() == [losses[epoch] for epoch in (30, 60, 90, 120)]
        assert entry["params"]["method"] == "tsne" and list(cells.obsm) == ["X_pca", "X_spectrum"]

    def test_each_is_what_t_sne_makes_of_the_one_before(self, cells: ad.AnnData) -> None:
        maps = spectrum(cells)["snapshots"]
        run = vc.tl.start(cells, "tsne", graph="precomputed", n_epochs=120)
        for factor, layout in zip(FACTORS, maps, strict=True):
            run.step(N, exaggeration=factor)
            np.testing.assert_array_equal(layout, run.layout)

    def test_the_map_is_that_of_exaggeration_1_with_its_scores(self, cells: ad.AnnData) -> None:
        entry = spectrum(cells)
        np.testing.assert_array_equal(cells.obsm["X_spectrum"], entry["snapshots"][2])
        assert entry["params"]["layout_epoch"] == 90 and entry["params"]["n_epochs"] == 120
        again = vc.tl.score(cells, "X_spectrum")
        assert entry["score"] == {name: again[name] for name in entry["score"]}

    def test_without_it_the_last(self, cells: ad.AnnData) -> None:
        entry = spectrum(cells, [12, 4])
        np.testing.assert_array_equal(cells.obsm["X_spectrum"], entry["snapshots"][1])

    def test_attraction_draws_kinds_together(self, cells: ad.AnnData) -> None:
        maps = spectrum(cells, n_epochs=100)["snapshots"]
        ratios = [between_and_within(layout, cells.obs["kind"].to_numpy()) for layout in maps]
        assert ratios == sorted(ratios, reverse=True)
        assert (np.diff(maps.std(axis=(1, 2))) > 0).all()

    def test_from_laplacian_eigenmaps(self, cells: ad.AnnData) -> None:
        entry = spectrum(cells, [math.inf, 12, 1])
        assert entry["exaggerations"].tolist() == [math.inf, 12, 1] and entry["snapshot_epochs"].tolist() == [0, 30, 60]
        vc.tl.embed(cells, init="spectral", n_epochs=0, key_added="eigenmaps")
        for axis in range(2):
            pairs = entry["snapshots"][0][:, axis], cells.obsm["eigenmaps"][:, axis]
            assert abs(np.corrcoef(*pairs)[0, 1]) > 0.999

    def test_of_one_and_three_dimensions(self, cells: ad.AnnData) -> None:
        for n_components in (1, 3):
            entry = spectrum(cells, [4, 1], n_components=n_components)
            assert entry["snapshots"].shape == (2, 160, n_components) and np.isfinite(entry["snapshots"]).all()

    def test_copy_leaves_the_cells_alone(self, cells: ad.AnnData) -> None:
        made = vc.tl.spectrum(cells, [4, 1], graph="precomputed", n_epochs=5, copy=True)
        assert made is not None and "spectrum" in made.uns
        assert "spectrum" not in cells.uns and list(cells.obsm) == ["X_pca"]

    def test_under_another_key(self, cells: ad.AnnData) -> None:
        entry = spectrum(cells, [4, 1], key_added="dial")
        np.testing.assert_array_equal(cells.obsm["dial"], entry["snapshots"][1])
        assert "X_spectrum" not in cells.obsm and "spectrum" not in cells.uns

    @pytest.mark.slow
    def test_of_blood_cells_by_default(self) -> None:
        blood = vc.datasets.pbmc68k_reduced()
        vc.tl.spectrum(blood)
        entry = blood.uns["spectrum"]
        assert entry["exaggerations"].tolist() == [1.5, 1.3, 1.2, 1.1, 1, 0.5]
        assert entry["backends"]["graph"] == "perplexity@vicinal" and entry["params"]["n_epochs"] == 1500
        vc.tl.embed(blood, "tsne")
        alone = blood.uns["tsne"]
        assert entry["snapshot_loss"][4] < alone["loss"][-1] + 0.02
        assert entry["score"]["knn_recall_15"] > alone["score"]["knn_recall_15"] - 0.02

    @pytest.mark.parametrize(
        ("n_obs", "expected"),
        [
            (1, [1.5, 1.3, 1.2, 1.1, 1, 0.5]),
            (2_638, [1.8, 1.5, 1.3, 1.1, 1, 0.5]),
            (20_000, [13, 6.6, 2.9, 1.7, 1, 0.5]),
            (70_000, [30, 12, 4, 2, 1, 0.5]),
        ],
    )
    def test_exaggerations_follow_the_number_of_cells(self, n_obs: int, expected: list[float]) -> None:
        assert usual_exaggerations(n_obs) == expected

    def test_so_they_do_by_default(self, cells: ad.AnnData) -> None:
        assert spectrum(cells, None, n_epochs=2)["exaggerations"].tolist() == usual_exaggerations(160)

    def test_no_group_of_few_cells_shrinks_to_a_line(self, cells: ad.AnnData) -> None:
        widths = []
        for maps in (spectrum(cells, None)["snapshots"], spectrum(cells, [30])["snapshots"]):
            groups = [maps[0][cells.obs["kind"] == kind] for kind in "0123"]
            widths.append(min(np.linalg.svd(g - g.mean(axis=0), compute_uv=False)[1] for g in groups))
        assert widths[0] > 5 * widths[1]

    @pytest.mark.parametrize("n_obs", [1, 2, 3, 4, 7])
    def test_of_few_cells(self, cells: ad.AnnData, n_obs: int) -> None:
        few = ad.AnnData(obs=cells.obs[:n_obs], obsm={"X_pca": cells.obsm["X_pca"][:n_obs]})
        vc.tl.spectrum(few, [math.inf, 4, 1], n_epochs=5)
        maps = few.uns["spectrum"]["snapshots"]
        assert maps.shape == (3, n_obs, 2) and np.isfinite(maps).all()

    def test_phases_after_a_sample_was_placed(self, cells: ad.AnnData) -> None:
        phases = [{"n": 20, "exaggeration": 12}, {"n": 30, "exaggeration": 4}]
        given = {"init": "sample_place", "sample_size": 80, "sample_params": {"n_epochs": 40}, "phases": phases}
        vc.tl.embed(cells, "tsne", key_added="map", **given)
        params = cells.uns["map"]["params"]
        assert json.loads(params["phases"]) == [[0, 20, {"exaggeration": 12}], [20, 50, {"exaggeration": 4}]]
        assert [phase["n"] for phase in json.loads(params["sub_plans"])[0]["phases"]] == [10, 30]
        vc.tl.rerun(cells)
        assert cells.uns["map_rerun"]["rerun_of"]["equal"]


class TestKept:
    @pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
    def test_files_give_it_back_and_it_is_repeated(self, cells: ad.AnnData, tmp_path: Path, suffix: str) -> None:
        entry = spectrum(cells, [math.inf, *FACTORS])
        path = tmp_path / f"maps.{suffix}"
        getattr(cells, f"write_{suffix}")(path)
        read = getattr(ad, f"read_{suffix}")(path)
        vc.tl.rerun(read)
        assert read.uns["spectrum_rerun"]["rerun_of"]["equal"]
        for name in ("snapshots", "exaggerations", "snapshot_loss", "snapshot_epochs"):
            for found in (read.uns["spectrum"], read.uns["spectrum_rerun"]):
                np.testing.assert_array_equal(found[name], entry[name])
        np.testing.assert_array_equal(read.obsm["spectrum_rerun"], cells.obsm["X_spectrum"])

    @pytest.mark.parametrize("at", [20, 100])
    def test_a_resumed_run_is_the_whole(self, cells: ad.AnnData, tmp_path: Path, at: int) -> None:
        def interrupt(epoch: int, layout: np.ndarray, loss: float) -> None:
            if epoch >= at:
                raise KeyboardInterrupt

        path = tmp_path / "run.ckpt"
        with pytest.raises(KeyboardInterrupt, match="to go on from there"):
            spectrum(cells, callbacks=interrupt, checkpoint=path)
        assert path.exists() and "spectrum" not in cells.uns
        spectrum(cells, checkpoint=path)
        assert not path.exists()
        spectrum(cells, key_added="whole")
        for name in ("snapshots", "exaggerations", "snapshot_loss", "loss"):
            np.testing.assert_array_equal(cells.uns["spectrum"][name], cells.uns["whole"][name])
        np.testing.assert_array_equal(cells.obsm["X_spectrum"], cells.obsm["whole"])

    def test_a_callback_ends_it(self, cells: ad.AnnData) -> None:
        entry = spectrum(cells, callbacks=lambda epoch, *_: epoch >= 70)
        assert (
            entry["exaggerations"].tolist() == [12, 4] and len(entry["snapshots"]) == len(entry["snapshot_loss"]) == 2
        )
        assert entry["params"]["stopped_by"] == "<lambda>" and "layout_epoch" not in entry["params"]
        assert json.loads(entry["params"]["phases"])[-1][2] == {"exaggeration": 1.0}
        vc.tl.rerun(cells)
        assert cells.uns["spectrum_rerun"]["rerun_of"]["equal"]

    def test_its_model_places_new_cells_in_the_map(self, cells: ad.AnnData) -> None:
        spectrum(cells)
        new = cells[:5].copy()
        vc.tl.project(new, cells, key="spectrum", use_rep="X_pca", key_added="placed")
        np.testing.assert_allclose(new.obsm["placed"], cells.obsm["X_spectrum"][:5], atol=1)


class TestNotAllowed:
    @pytest.mark.parametrize(
        "exaggerations",
        [
            [],
            4,
            "12",
            [1, 4],
            [4, 4],
            [4, 0],
            [4, -1],
            [4, math.nan],
            [4, "1"],
            [True],
            [math.inf],
            [4, math.inf],
        ],
    )
    def test_exaggerations(self, cells: ad.AnnData, exaggerations: Any) -> None:
        with pytest.raises(InputError, match="exaggerations=.* is not allowed; give numbers above 0, falling, such as"):
            vc.tl.spectrum(cells, exaggerations)

    @pytest.mark.parametrize("n_epochs", [0, -1, 2.5, None, [10, 20]])
    def test_n_epochs(self, cells: ad.AnnData, n_epochs: Any) -> None:
        with pytest.raises(InputError, match="n_epochs=.* is not allowed; give the steps for each map, 1 or more"):
            vc.tl.spectrum(cells, n_epochs=n_epochs)

    @pytest.mark.parametrize("name", ["method", "phases", "exaggeration", "early_exaggeration"])
    def test_what_the_exaggerations_say(self, cells: ad.AnnData, name: str) -> None:
        with pytest.raises(InputError, match=f"^{name} is not allowed here: "):
            vc.tl.spectrum(cells, **{name: "tsne" if name == "method" else 1})

    @pytest.mark.parametrize("init", ["pca", np.zeros((160, 2))])
    def test_eigenmaps_from_another_start(self, cells: ad.AnnData, init: Any) -> None:
        with pytest.raises(InputError, match="exaggerations starts with math.inf, .* but init is"):
            vc.tl.spectrum(cells, [math.inf, 1], init=init)

    def test_an_optimizer_without_exaggeration(self, cells: ad.AnnData) -> None:
        with pytest.raises(InputError, match=r"phases\[0\] holds 'exaggeration'"):
            vc.tl.spectrum(cells, graph="precomputed", objective="umap", optimizer="numba_sgd")

    def test_a_key_that_is_taken(self, cells: ad.AnnData) -> None:
        with pytest.raises(InputError, match="would overwrite"):
            vc.tl.spectrum(cells, key_added="neighbors")
