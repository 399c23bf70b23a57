"""Cells added to a map whose own cells keep their places."""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors

import vicinal as vc
from vicinal.api import InputError, ModelError
from vicinal.pipeline.tether import within


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    adata = vc.datasets.pbmc68k_reduced()
    return ad.AnnData(obs=adata.obs[["bulk_labels"]], obsm={"X_pca": adata.obsm["X_pca"]})


@pytest.fixture(scope="module")
def is_old(cells: ad.AnnData) -> np.ndarray:
    return np.random.default_rng(0).random(cells.n_obs) < 0.6


@pytest.fixture(scope="module")
def old(cells: ad.AnnData, is_old: np.ndarray) -> ad.AnnData:
    adata = cells[is_old].copy()
    vc.tl.embed(adata, n_epochs=100)
    return adata


def kept(rows: np.ndarray, layout: np.ndarray, of: np.ndarray, k: int = 15) -> float:
    """Share of the nearest in the representation that are among the nearest in the map."""
    near, there = (
        NearestNeighbors(n_neighbors=k + 1).fit(values).kneighbors(values[of], return_distance=False)[:, 1:]
        for values in (rows, layout)
    )
    return float(np.mean([len(set(a) & set(b)) / k for a, b in zip(near, there, strict=True)]))


class TestPlaces:
    @pytest.mark.parametrize("n_jobs", [1, 3])
    def test_old_cells_stay_to_the_bit(self, cells: ad.AnnData, old: ad.AnnData, n_jobs: int) -> None:
        adata = cells.copy()
        assert vc.tl.update(adata, old, n_jobs=n_jobs) is None
        np.testing.assert_array_equal(adata[old.obs_names].obsm["X_umap"], old.obsm["X_umap"])
        record = adata.uns["umap"]["update"]
        assert (record["n_old"], record["n_new"]) == (old.n_obs, cells.n_obs - old.n_obs)
        assert record["drift_max"] == record["drift_median"] == 0
        np.testing.assert_array_equal(record["is_new"], ~cells.obs_names.isin(old.obs_names))

    @pytest.mark.parametrize("max_drift", [1e-7, 0.01, 0.08])
    def test_old_cells_stay_within_the_radius(self, cells: ad.AnnData, old: ad.AnnData, max_drift: float) -> None:
        adata = cells.copy()
        vc.tl.update(adata, old, max_drift=max_drift)
        before, record = old.obsm["X_umap"], adata.uns["umap"]["update"]
        moved = np.linalg.norm((adata[old.obs_names].obsm["X_umap"] - before).astype(np.float64), axis=1)
        spread = np.sqrt(np.square(before - before.mean(axis=0)).sum(axis=1).mean())
        assert record["spread"] == pytest.approx(spread, rel=1e-5)
        assert moved.max() <= max_drift * record["spread"]
        assert record["drift_max"] == pytest.approx(moved.max())
        assert record["drift_median"] == pytest.approx(np.median(moved))
        assert record["drift_max_share"] == pytest.approx(moved.max() / spread, rel=1e-5)
        assert max_drift < 0.01 or record["drift_median"] > 0

    def test_threads_and_order_of_the_rows_do_not_matter(self, cells: ad.AnnData, old: ad.AnnData) -> None:
        one, other = cells.copy(), cells[np.random.default_rng(3).permutation(cells.n_obs)].copy()
        vc.tl.update(one, old, max_drift=0.02, n_jobs=1, n_epochs=20)
        vc.tl.update(other, old, max_drift=0.02, n_jobs=3, n_epochs=20)
        np.testing.assert_array_equal(other[one.obs_names].obsm["X_umap"], one.obsm["X_umap"])

    def test_without_epochs_new_cells_are_where_project_places_them(
        self, cells: ad.AnnData, old: ad.AnnData, is_old: np.ndarray
    ) -> None:
        adata, new = cells.copy(), cells[~is_old].copy()
        vc.tl.update(adata, old, n_epochs=0)
        vc.tl.project(new, old)
        np.testing.assert_array_equal(adata[new.obs_names].obsm["X_umap"], new.obsm["X_umap"])

    def test_new_cells_keep_more_neighbours_than_where_they_start(self, cells: ad.AnnData) -> None:
        """In the mean of three ways to part the cells."""
        gains = []
        for seed in range(3):
            is_old = np.random.default_rng(seed).random(cells.n_obs) < 0.6
            old, placed, updated = cells[is_old].copy(), cells.copy(), cells.copy()
            vc.tl.embed(old, n_epochs=100)
            vc.tl.update(placed, old, n_epochs=0)
            vc.tl.update(updated, old)
            after, before = (
                kept(cells.obsm["X_pca"], made.obsm["X_umap"], np.flatnonzero(~is_old)) for made in (updated, placed)
            )
            gains.append(after - before)
        assert np.mean(gains) > 0

    def test_new_cells_keep_more_of_each_other_than_where_they_start(self, data_dir: Path) -> None:
        adata = ad.read_h5ad(data_dir / "pbmc3k.h5ad")
        is_new = np.random.default_rng(0).random(adata.n_obs) < 0.5
        old = adata[~is_new].copy()
        vc.tl.embed(old, use_rep="X_pca")
        placed, updated = adata.copy(), adata.copy()
        vc.tl.update(placed, old, n_epochs=0)
        vc.tl.update(updated, old)
        rows, every = adata.obsm["X_pca"][is_new], np.arange(is_new.sum())
        after, before = (kept(rows, made.obsm["X_umap"][is_new], every) for made in (updated, placed))
        assert after > before + 0.01

    def test_a_kind_that_the_map_does_not_have_gets_a_place_of_its_own(self, data_dir: Path) -> None:
        adata = ad.read_h5ad(data_dir / "pbmc3k.h5ad")
        is_new = (adata.obs["louvain"] == "B cells").to_numpy()
        old = adata[~is_new].copy()
        vc.tl.embed(old, use_rep="X_pca", n_epochs=200)
        placed, updated = adata.copy(), adata.copy()
        vc.tl.update(placed, old, n_epochs=0)
        vc.tl.update(updated, old)
        train = np.random.default_rng(0).random(adata.n_obs) < 0.5
        found = [KNeighborsClassifier(15).fit(made.obsm["X_umap"][train], is_new[train]) for made in (placed, updated)]
        before, after = (
            vote.score(made.obsm["X_umap"][~train], is_new[~train])
            for vote, made in zip(found, (placed, updated), strict=True)
        )
        assert after > 0.99
        assert after > before


class TestTether:
    @settings(max_examples=60, deadline=None)
    @given(
        places=arrays(np.float32, (20, 3), elements=st.floats(-1e4, 1e4, width=32)),
        anchors=arrays(np.float32, (20, 3), elements=st.floats(-1e4, 1e4, width=32)),
        radius=st.one_of(st.just(0.0), st.floats(1e-9, 1e4)),
    )
    def test_the_bound_holds_in_float32_and_float64(
        self, places: np.ndarray, anchors: np.ndarray, radius: float
    ) -> None:
        drawn = within(places, anchors, radius)
        assert drawn.dtype == np.float32
        assert np.linalg.norm(np.subtract(drawn, anchors, dtype=np.float64), axis=1).max() <= radius
        near = np.linalg.norm(np.subtract(places, anchors, dtype=np.float64), axis=1) <= radius * (1 - 2e-5)
        np.testing.assert_array_equal(drawn[near], places[near])

    def test_it_is_the_nearest_allowed_place(self) -> None:
        drawn = within(np.array([[3.0, 4.0]], np.float32), np.zeros((1, 2), np.float32), 1.0)
        np.testing.assert_allclose(drawn, [[0.6, 0.8]], rtol=2e-5)


class TestTheMapAfterwards:
    def test_it_is_a_normal_map_with_a_model_of_its_own(
        self, cells: ad.AnnData, old: ad.AnnData, tmp_path: Path
    ) -> None:
        adata = cells.copy()
        vc.tl.update(adata, old, max_drift=0.01, key_added="grown")
        adata.write_h5ad(tmp_path / "all.h5ad")
        adata.write_zarr(tmp_path / "all.zarr")
        for back in (ad.read_h5ad(tmp_path / "all.h5ad"), ad.read_zarr(tmp_path / "all.zarr")):
            for name, value in adata.uns["grown"]["update"].items():
                np.testing.assert_array_equal(back.uns["grown"]["update"][name], value)
            vc.tl.project(back, back, key="grown", key_added="again")
            np.testing.assert_array_equal(back.obsm["again"], adata.obsm["grown"])
        vc.models.save(adata, tmp_path / "map.zip", key="grown")
        assert vc.models.load(tmp_path / "map.zip").n_landmarks == cells.n_obs

    def test_it_can_be_updated_again(self, cells: ad.AnnData, old: ad.AnnData) -> None:
        more = cells[: old.n_obs + 50].copy()
        vc.tl.update(more, old, n_epochs=10)
        adata = cells.copy()
        vc.tl.update(adata, more, n_epochs=10)
        np.testing.assert_array_equal(adata[more.obs_names].obsm["X_umap"], more.obsm["X_umap"])

    def test_what_was_in_force_is_as_in_the_old_map(self, cells: ad.AnnData) -> None:
        first = cells[:400].copy()
        vc.tl.embed(
            first, min_dist=0.2, n_neighbors=9, negative_sample_rate=7, metric="cosine", n_epochs=20, n_components=3
        )
        adata = cells.copy()
        vc.tl.update(adata, first, n_epochs=10)
        vc.tl.update(adata, first, n_epochs=10, min_dist=0.4, n_neighbors=12, key_added="other")
        names = ("min_dist", "n_neighbors", "negative_sample_rate", "metric", "n_components", "a")
        then = [first.uns["umap"]["params"][name] for name in names]
        assert [adata.uns["umap"]["params"][name] for name in names] == then
        other = adata.uns["other"]["params"]
        assert (other["min_dist"], other["n_neighbors"], other["negative_sample_rate"]) == (0.4, 12, 7)
        assert other["a"] != then[-1]

    def test_rerun_says_what_to_call_instead(self, cells: ad.AnnData, old: ad.AnnData) -> None:
        adata = cells.copy()
        vc.tl.update(adata, old, n_epochs=2)
        with pytest.raises(InputError, match="made by vc.tl.update"):
            vc.tl.rerun(adata, "umap")

    def test_an_adopted_map_keeps_the_kernel_its_tool_recorded(self, cells: ad.AnnData, old: ad.AnnData) -> None:
        first = ad.AnnData(obs=old.obs, obsm={"X_pca": old.obsm["X_pca"], "X_umap": old.obsm["X_umap"]})
        first.uns["umap"] = {"params": {"a": 1.2, "b": 0.9}}
        vc.models.adopt(first)
        adata = cells.copy()
        vc.tl.update(adata, first, n_epochs=5)
        params = adata.uns["umap"]["params"]
        assert (params["a"], params["b"]) == (1.2, 0.9)
        np.testing.assert_array_equal(adata[first.obs_names].obsm["X_umap"], first.obsm["X_umap"])


class TestWhichCellsAreOld:
    def test_a_file_knows_them_by_their_rows(self, cells: ad.AnnData, old: ad.AnnData, tmp_path: Path) -> None:
        vc.models.save(old, tmp_path / "map.zip")
        by_file, by_name = cells.copy(), cells.copy()
        by_file.obs_names = [f"other{i}" for i in np.argsort(np.argsort(cells.obs_names))]
        vc.tl.update(by_file, tmp_path / "map.zip", n_epochs=5)
        vc.tl.update(by_name, old, n_epochs=5)
        np.testing.assert_array_equal(by_file.uns["umap"]["update"]["is_new"], by_name.uns["umap"]["update"]["is_new"])
        is_new = by_name.uns["umap"]["update"]["is_new"]
        np.testing.assert_array_equal(by_file.obsm["X_umap"][~is_new], by_name.obsm["X_umap"][~is_new])

    def test_equal_rows_in_a_file_take_their_places_in_turn(self, tmp_path: Path) -> None:
        rows = np.random.default_rng(0).normal(size=(30, 4)).astype(np.float32)
        rows[1] = rows[0]
        first = ad.AnnData(obsm={"X_pca": rows})
        vc.tl.embed(first, n_epochs=5)
        vc.models.save(first, tmp_path / "map.zip")
        adata = ad.AnnData(obsm={"X_pca": np.concatenate([rows, rows[:1], rows[5:6] + 1])})
        vc.tl.update(adata, tmp_path / "map.zip", n_epochs=5)
        np.testing.assert_array_equal(adata.obsm["X_umap"][:30], first.obsm["X_umap"])
        assert list(np.flatnonzero(adata.uns["umap"]["update"]["is_new"])) == [30, 31]

    def test_some_of_the_old_cells_suffice(self, cells: ad.AnnData, old: ad.AnnData, is_old: np.ndarray) -> None:
        adata = ad.concat([old[:50], cells[~is_old]])
        vc.tl.update(adata, old, n_epochs=5)
        assert adata.uns["umap"]["update"]["n_old"] == 50

    def test_rows_that_are_the_same_up_to_rounding(self, cells: ad.AnnData, old: ad.AnnData) -> None:
        adata = cells.copy()
        adata.obsm["X_pca"] = adata.obsm["X_pca"] * np.float32(1 + 1e-6)
        vc.tl.update(adata, old, n_epochs=2)
        assert adata.uns["umap"]["update"]["n_old"] == old.n_obs


def other_rows(adata: ad.AnnData) -> None:
    adata.obsm["X_pca"] = adata.obsm["X_pca"][::-1].copy()


def other_names(adata: ad.AnnData) -> None:
    adata.obs_names = [f"new{i}" for i in range(adata.n_obs)]


def repeated_names(adata: ad.AnnData) -> None:
    names = adata.obs_names.to_numpy().copy()
    names[1:] = names[0]
    adata.obs_names = names


def no_representation(adata: ad.AnnData) -> None:
    del adata.obsm["X_pca"]


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (other_rows, "cells with names of the map have other rows in 'X_pca'"),
            (other_names, "none of the 700 cells is a cell of the map"),
            (repeated_names, "several times by name"),
            (no_representation, "'X_pca'"),
        ],
    )
    @pytest.mark.filterwarnings("ignore:Observation names are not unique")
    def test_cells(self, cells: ad.AnnData, old: ad.AnnData, change, message: str) -> None:  # type: ignore[no-untyped-def]
        adata, first = cells.copy(), old.copy()
        if change is repeated_names:
            first.obs_names = [cells.obs_names[0], *first.obs_names[1:]]
        change(adata)
        with pytest.raises(InputError, match=message):
            vc.tl.update(adata, first)
        assert "X_umap" not in adata.obsm and not adata.uns

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"max_drift": -0.1}, "max_drift=-0.1"),
            ({"max_drift": np.nan}, "max_drift=nan"),
            ({"max_drift": np.inf}, "max_drift=inf"),
            ({"max_drift": True}, "max_drift=True"),
            ({"max_drift": "1"}, "max_drift='1'"),
            ({"init": "pca"}, "init is not allowed here: it is that of the map"),
            ({"fixed": "old"}, "fixed is not allowed here"),
            ({"metric": "cosine"}, "metric is not allowed here"),
            ({"checkpoint": "file"}, "checkpoint is not allowed here"),
            ({"encoder": object()}, "encoder is given"),
            ({"n_jobs": 0}, "n_jobs=0"),
            ({"n_epochs": -1}, "n_epochs"),
            ({"min_dits": 0.1}, "min_dits"),
            ({"key_added": "X_pca"}, "would overwrite"),
            ({"neighbors_key": "nope"}, "neighbors_key='nope'"),
        ],
    )
    def test_arguments(self, cells: ad.AnnData, old: ad.AnnData, options: dict, message: str) -> None:
        adata = cells.copy()
        with pytest.raises(InputError, match=message):
            vc.tl.update(adata, old, **options)
        assert list(adata.obsm) == ["X_pca"] and not adata.uns

    def test_nothing_new(self, old: ad.AnnData) -> None:
        with pytest.raises(InputError, match="in the map already"):
            vc.tl.update(old.copy(), old)
        with pytest.raises(InputError, match="the map's own AnnData"):
            vc.tl.update(old, old)

    def test_a_file_that_holds_a_sample_of_the_map(self, cells: ad.AnnData, old: ad.AnnData) -> None:
        from vicinal.adata.model import model_from_adata

        with pytest.raises(InputError, match="holds 100 of the map's .* Give the AnnData"):
            vc.tl.update(cells.copy(), model_from_adata(old, max_landmarks=100))

    def test_a_model_that_is_none(self, cells: ad.AnnData, tmp_path: Path) -> None:
        with pytest.raises(ModelError, match="no model in adata.uns"):
            vc.tl.update(cells.copy(), cells)

    def test_an_optimizer_that_does_not_show_its_layout(self, cells: ad.AnnData, old: ad.AnnData) -> None:
        from vicinal.backends.optimizer.numba_sgd import NumbaSgd, NumbaSgdParams, SgdRun

        class Hiding(SgdRun):
            def state(self):  # type: ignore[no-untyped-def]
                return {"more": np.zeros(1)}

        class Other(NumbaSgd):
            def start(self, request):  # type: ignore[no-untyped-def]
                return Hiding(request, request.objective.form("kernel").parameters, self.params)

        with pytest.raises(InputError, match="max_drift above 0 needs an optimizer"):
            vc.tl.update(cells.copy(), old, max_drift=0.1, optimizer=Other(NumbaSgdParams(n_epochs=5)))


@pytest.fixture(scope="module", params=["made here", "adopted"])
def by_tsne(request: pytest.FixtureRequest, cells: ad.AnnData, is_old: np.ndarray) -> ad.AnnData:
    """Old cells in a map by t-SNE, and in one of which only the coordinates are there."""
    adata = cells[is_old].copy()
    vc.tl.embed(adata, "tsne", n_epochs=300, exaggeration=0.9)
    if request.param == "adopted":
        del adata.uns["tsne"]
        vc.models.adopt(adata, "X_tsne")
    return adata


class TestMapsOfTsne:
    @pytest.mark.parametrize("max_drift", [0, 0.02])
    def test_new_cells_find_their_neighbours(self, cells: ad.AnnData, by_tsne: ad.AnnData, max_drift: float) -> None:
        adata, placed = cells.copy(), cells.copy()
        vc.tl.update(adata, by_tsne, max_drift=max_drift)
        vc.tl.project(placed, by_tsne)
        record, made = adata.uns["tsne"]["update"], adata.uns["tsne"]
        assert (record["drift_max_share"] <= max_drift) and made["backends"]["optimizer"].startswith("numba_fft")
        assert "12" not in made["params"]["phases"], "early exaggeration would tear the map"
        of = np.flatnonzero(record["is_new"])
        rows = cells.obsm["X_pca"]
        assert kept(rows, adata.obsm["X_tsne"], of) > kept(rows, placed.obsm["X_tsne"], of)

    def test_what_the_map_was_made_with_is_taken_again(self, cells: ad.AnnData, by_tsne: ad.AnnData) -> None:
        adata = cells.copy()
        vc.tl.update(adata, by_tsne)
        params, known = adata.uns["tsne"]["params"], "params" in by_tsne.uns["tsne"]
        assert params["exaggeration"] == (0.9 if known else 1.0)
        assert params["perplexity"] == 30 and params["n_neighbors"] == 91
        assert params["momentum"] == 0.8, "more of it is for cells that have a long way to go"

    def test_the_loss_is_the_divergence_with_a_tether_too(self, cells: ad.AnnData, by_tsne: ad.AnnData) -> None:
        for max_drift in (0, 0.02):
            adata = cells.copy()
            vc.tl.update(adata, by_tsne, max_drift=max_drift)
            made = adata.uns["tsne"]
            assert set(made["loss_parts"]) == {"attraction", "repulsion"}
            assert 0 < made["loss"][-1] < made["loss"][0]


def test_genes_are_those_of_the_map_in_their_order() -> None:
    rows = np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32)
    first = ad.AnnData(rows[:30])
    vc.tl.embed(first, n_epochs=5)
    adata = ad.AnnData(rows)
    vc.tl.update(adata, first, n_epochs=5)
    np.testing.assert_array_equal(adata.obsm["X_umap"][:30], first.obsm["X_umap"])
    shuffled = ad.AnnData(rows)[:, ::-1].copy()
    from vicinal.adata.model import model_from_adata

    with pytest.raises(InputError, match="genes of adata_all are not those of the map"):
        vc.tl.update(shuffled, model_from_adata(first))


def test_neighbours_that_are_stored(cells: ad.AnnData, old: ad.AnnData) -> None:
    adata = cells.copy()
    vc.pp.neighbors(adata, n_neighbors=11, use_rep="X_pca", key_added="mine")
    vc.tl.update(adata, old, neighbors_key="mine", n_epochs=5)
    params = adata.uns["umap"]["params"]
    assert (params["neighbors_key"], params["n_neighbors"]) == ("mine", 11)
    np.testing.assert_array_equal(adata[old.obs_names].obsm["X_umap"], old.obsm["X_umap"])
