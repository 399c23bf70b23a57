"""Stored maps made again, from what is recorded of them, to the same bits."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import forms_for_tests
import numpy as np
import pytest
from scipy import sparse

import vicinal as vc
from vicinal.api import InputError, Preset
from vicinal.backends.init.random import Backend as RandomInit
from vicinal.contract.spec import NoParams
from vicinal.pipeline import presets

FEW = {"n_epochs": 12}
MAPS: dict[str, dict[str, Any]] = {
    "connectivities": {},
    "sliced": {"n_neighbors": 8},
    "computed": {"use_rep": "X_pca", "n_neighbors": 10},
    "columns": {"n_pcs": 10},
    "metric": {"metric": "cosine", "n_neighbors": 12},
    "components": {"init": "pca", "min_dist": 0.3, "learning_rate": 0.5},
    "random": {"init": "random", "random_state": 2**70},
    "of_groups": {"init": "paga"},
    "sample": {"init": "sample_place", "sample_size": 200, "sample_params": {"n_epochs": 10}},
    "map": {"init": "map", "map_params": {"n_epochs": 10}},
    "obsm": {"init": "two", "fixed": "pinned"},
    "solid": {"n_components": 3, "negative_sample_rate": 2.5},
    "supervised": {"labels": "bulk_labels", "target_weight": 0.7},
    "first": {"n_epochs": 0, "init": "pca", "use_rep": "X_pca"},
    "snapshots": {"n_epochs": [0, 5, 12]},
    "cauchy": {"objective": "cauchy", "init": "pca"},
}
MAKE = """
import json, sys
import anndata as ad
import vicinal as vc

adata = ad.read_h5ad(sys.argv[1] + "/cells.h5ad")
for key, options in json.loads(sys.argv[2]).items():
    vc.tl.embed(adata, key_added=key, n_jobs=1, **options)
adata.write_h5ad(sys.argv[1] + "/maps.h5ad")
adata.write_zarr(sys.argv[1] + "/maps.zarr")
"""
REPEAT = """
import json, sys
import anndata as ad
import vicinal as vc

adata = (ad.read_zarr if sys.argv[1].endswith("zarr") else ad.read_h5ad)(sys.argv[1])
adata = adata[adata.obs_names[::-1]].copy()
for key in sys.argv[2:]:
    vc.tl.rerun(adata, key, n_jobs=3)
print(json.dumps({key: bool(adata.uns[f"{key}_rerun"]["rerun_of"]["equal"]) for key in sys.argv[2:]}))
"""


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    adata = vc.datasets.pbmc68k_reduced()
    adata.obsm["two"] = adata.obsm["X_pca"][:, :2].copy()
    adata.obs["pinned"] = np.arange(adata.n_obs) % 3 == 0
    centers = adata.obs.assign(x=adata.obsm["two"][:, 0], y=adata.obsm["two"][:, 1]).groupby(
        "bulk_labels", observed=False
    )
    adata.uns["paga"] = {"groups": "bulk_labels", "pos": centers[["x", "y"]].mean().to_numpy()}
    return adata


@pytest.fixture
def adata(cells: ad.AnnData) -> ad.AnnData:
    return cells.copy()


def equal(adata: ad.AnnData, key: str = "umap") -> bool:
    return adata.uns[f"{key}_rerun"]["rerun_of"]["equal"]


@pytest.fixture(scope="module")
def mapped(cells: ad.AnnData, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a plugin, and with all the maps in a file of either kind."""
    folder = tmp_path_factory.mktemp("maps")
    forms_for_tests.install(folder)
    cells.write_h5ad(folder / "cells.h5ad")
    run(folder, MAKE, str(folder), json.dumps({key: {**FEW, **options} for key, options in MAPS.items()}))
    return folder


@pytest.mark.parametrize("kind", ["h5ad", "zarr"])
def test_every_map_is_the_same_to_the_bit(mapped: Path, kind: str) -> None:
    """With other threads, and rows in another order."""
    found = json.loads(run(mapped, REPEAT, str(mapped / f"maps.{kind}"), *MAPS))
    assert found == dict.fromkeys(MAPS, True)


def run(folder: Path, script: str, *arguments: str) -> str:
    """Run a script where plugins in a folder are found; return what it prints."""
    helpers = str(Path(forms_for_tests.__file__).parent)
    path = os.pathsep.join([str(folder), helpers, *filter(None, [os.environ.get("PYTHONPATH")])])
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        cwd=folder,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


class TestWhatIsWritten:
    def test_beside_the_stored_map(self, adata: ad.AnnData, caplog: pytest.LogCaptureFixture) -> None:
        vc.tl.embed(adata, **FEW)
        before, entry = adata.obsm["X_umap"].copy(), dict(adata.uns["umap"])
        with caplog.at_level("INFO", logger="vicinal"):
            assert vc.tl.rerun(adata, "X_umap") is None
        np.testing.assert_array_equal(adata.obsm["umap_rerun"], before)
        np.testing.assert_array_equal(adata.obsm["X_umap"], before)
        assert adata.uns["umap"]["backends"] == entry["backends"] and set(adata.uns["umap"]) == set(entry)
        assert adata.uns["umap_rerun"]["rerun_of"] == {"key": "umap", "equal": True, "largest_difference": 0.0}
        assert "the same to the bit" in caplog.text

    def test_a_copy_and_another_key(self, adata: ad.AnnData) -> None:
        vc.tl.embed(adata, **FEW)
        made = vc.tl.rerun(adata, copy=True, key_added="again")
        assert made is not None and "again" in made.obsm and "again" not in adata.obsm

    def test_a_repeated_map_can_be_repeated(self, adata: ad.AnnData) -> None:
        vc.tl.embed(adata, init="pca", **FEW)
        vc.tl.rerun(adata, "umap")
        vc.tl.rerun(adata, "umap_rerun")
        assert equal(adata, "umap_rerun")

    def test_a_map_that_was_changed_is_found_to_differ(
        self, adata: ad.AnnData, caplog: pytest.LogCaptureFixture
    ) -> None:
        vc.tl.embed(adata, **FEW)
        adata.obsm["X_umap"][5, 0] += 0.25
        vc.tl.rerun(adata)
        found = adata.uns["umap_rerun"]["rerun_of"]
        assert found["equal"] is False and found["largest_difference"] == pytest.approx(0.25, rel=1e-4)
        assert "differs by up to 0.25" in caplog.text

    def test_a_map_that_is_gone_is_made_all_the_same(self, adata: ad.AnnData) -> None:
        vc.tl.embed(adata, **FEW)
        kept = adata.obsm.pop("X_umap")
        vc.tl.rerun(adata)
        assert adata.uns["umap_rerun"]["rerun_of"] == {"key": "umap"}
        np.testing.assert_array_equal(adata.obsm["umap_rerun"], kept)


class TestWhatWasDecidedThen:
    def test_neighbours_that_are_stored_since_are_not_used(self, cells: ad.AnnData) -> None:
        adata = ad.AnnData(obs=cells.obs, obsm={"X_pca": cells.obsm["X_pca"]})
        vc.tl.embed(adata, **FEW)
        vc.pp.neighbors(adata, n_neighbors=5)
        vc.tl.rerun(adata)
        assert equal(adata)
        assert adata.uns["umap_rerun"]["params"]["n_neighbors"] == 15

    def test_defaults_that_have_changed(
        self, adata: ad.AnnData, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        vc.tl.embed(adata, **FEW)
        other = dataclasses.replace(presets.UMAP, defaults={"min_dist": 0.1, "learning_rate": 0.7})
        _with_preset(monkeypatch, other)
        assert vc.tl.embed(adata, copy=True, **FEW).uns["umap"]["params"]["min_dist"] == 0.1
        with caplog.at_level("INFO", logger="vicinal"):
            vc.tl.rerun(adata)
        assert equal(adata)
        assert "min_dist would be 0.1 now; it is made 0.5, as in the map" in caplog.text

    def test_versions_that_differ_are_named(self, adata: ad.AnnData, caplog: pytest.LogCaptureFixture) -> None:
        vc.tl.embed(adata, **FEW)
        now = adata.uns["umap"]["versions"]["numpy"]
        adata.uns["umap"]["versions"]["numpy"] = "1.0.0"
        vc.tl.rerun(adata)
        assert f"numpy was 1.0.0, is {now}" in caplog.text
        assert equal(adata)

    def test_steps_by_hand_with_other_parameters(self, adata: ad.AnnData, tmp_path: Path) -> None:
        run = vc.tl.start(adata, n_epochs=20).step(4).step(6, learning_rate=0.2)
        run.save(tmp_path / "run")
        resumed = vc.tl.start(adata, n_epochs=20).resume(tmp_path / "run").step(3, negative_sample_rate=9)
        resumed.finish()
        vc.tl.rerun(adata)
        assert equal(adata)
        plain = vc.tl.embed(adata, n_epochs=20, copy=True)
        assert not np.array_equal(plain.obsm["X_umap"], adata.obsm["X_umap"])

    def test_a_run_that_a_callback_ended(self, adata: ad.AnnData) -> None:
        vc.tl.embed(adata, n_epochs=20, callbacks=lambda epoch, layout, loss: epoch >= 7)
        taken = adata.uns["umap"]["params"]["n_epochs"]
        assert 7 <= taken < 20
        vc.tl.rerun(adata)
        assert equal(adata)
        assert adata.uns["umap_rerun"]["params"]["n_epochs"] == taken


def _with_preset(monkeypatch: pytest.MonkeyPatch, preset: Preset) -> None:
    from vicinal.plugin.manager import Manager

    own = Manager.preset
    monkeypatch.setattr(Manager, "preset", lambda self, name: preset if name == preset.name else own(self, name))


def table(cells: ad.AnnData) -> tuple[np.ndarray, np.ndarray]:
    rows = cells.obsm["X_pca"]
    gaps = np.linalg.norm(rows[:, None] - rows[None], axis=2)
    return np.argsort(gaps, axis=1)[:, :10], np.sort(gaps, axis=1)[:, :10]


class TestWhatCannotBeStored:
    @pytest.mark.parametrize(
        ("name", "made", "was"),
        [
            ("init", lambda a: a.obsm["two"] * 2, r"init was ndarray \(700, 2\)"),
            ("init", lambda a: RandomInit(NoParams()), "init was Backend"),
            ("knn", table, "knn was tuple"),
            ("graph", lambda a: sparse.csr_matrix(a.obsp["connectivities"]), r"graph was csr_matrix \(700, 700\)"),
            ("fixed", lambda a: np.arange(700) < 20, "fixed was ndarray"),
            pytest.param(
                *("output_metric", lambda a: forms_for_tests.chebyshev, "output_metric was the function .*chebyshev"),
                marks=pytest.mark.slow,  # it is compiled
            ),
        ],
    )
    def test_is_asked_for_and_can_be_given_again(
        self, cells: ad.AnnData, name: str, made: Callable[[ad.AnnData], Any], was: str
    ) -> None:
        adata = cells.copy()
        given = {name: made(adata)}
        vc.tl.embed(adata, **{**FEW, "init": "pca", **given})
        slots = sorted(adata.obsm)
        with pytest.raises(InputError, match=rf"{was}.*Give it again: vc\.tl\.rerun\(adata, 'umap', {name}=\.\.\.\)"):
            vc.tl.rerun(adata)
        assert sorted(adata.obsm) == slots
        vc.tl.rerun(adata, **given)
        assert equal(adata)

    def test_another_thing_than_then_is_found_out(self, adata: ad.AnnData) -> None:
        vc.tl.embed(adata, init=adata.obsm["two"], **FEW)
        with pytest.raises(InputError, match="has changed or is gone: the positions it started from"):
            vc.tl.rerun(adata, init=adata.obsm["two"] + 1)
        with pytest.raises(InputError, match="init was 'array@vicinal', and would be 'pca@vicinal' now"):
            vc.tl.rerun(adata, init="pca")

    def test_nothing_else_may_be_given(self, adata: ad.AnnData) -> None:
        vc.tl.embed(adata, **FEW)
        with pytest.raises(InputError, match="min_dist is not to be given: a map is repeated as it was made"):
            vc.tl.rerun(adata, min_dist=0.1)


def changed_rows(adata: ad.AnnData) -> None:
    adata.obsm["X_pca"][0, 0] += 1


def changed_graph(adata: ad.AnnData) -> None:
    adata.obsp["connectivities"].data[3] *= 0.5


def changed_positions(adata: ad.AnnData) -> None:
    adata.obsm["two"][7] += 1


def changed_labels(adata: ad.AnnData) -> None:
    adata.obs["bulk_labels"] = adata.obs["bulk_labels"].to_numpy()[::-1]


def no_rows(adata: ad.AnnData) -> None:
    del adata.obsm["X_pca"]


def no_neighbors(adata: ad.AnnData) -> None:
    del adata.uns["neighbors"], adata.obsp["connectivities"], adata.obsp["distances"]


class TestWhatHasChanged:
    @pytest.mark.parametrize(
        ("options", "change", "message"),
        [
            ({}, changed_rows, "the representation 'X_pca'"),
            ({}, changed_graph, "the stored graph"),
            ({"init": "two"}, changed_positions, "the positions it started from"),
            ({"labels": "bulk_labels"}, changed_labels, "the labels"),
            ({}, no_rows, "use_rep='X_pca'"),
            ({}, no_neighbors, "stored connectivities|neighbors"),
        ],
    )
    def test_is_named_before_any_work(
        self,
        adata: ad.AnnData,
        monkeypatch: pytest.MonkeyPatch,
        options: dict,
        change: Callable[[ad.AnnData], None],
        message: str,
    ) -> None:
        vc.tl.embed(adata, **FEW, **options)
        change(adata)
        monkeypatch.setattr("vicinal.tl._keeper.Run", None)
        with pytest.raises(InputError, match=message):
            vc.tl.rerun(adata)
        assert "umap_rerun" not in adata.obsm


class TestWhichMap:
    def test_several_and_none(self, adata: ad.AnnData) -> None:
        with pytest.raises(InputError, match="no map in adata.uns that vc.tl.embed made"):
            vc.tl.rerun(adata)
        for key in ("one", "two"):
            vc.tl.embed(adata, key_added=f"map_{key}", **FEW)
        with pytest.raises(InputError, match="several maps, 'map_one', 'map_two'; name one with key="):
            vc.tl.rerun(adata)
        with pytest.raises(InputError, match="key='map_on' is no map.*Did you mean 'map_one'"):
            vc.tl.rerun(adata, "map_on")

    def test_made_in_another_way(self, adata: ad.AnnData) -> None:
        adata.uns["umap"] = {"params": {"a": 1.0, "b": 1.0}}
        with pytest.raises(InputError, match="not recorded as one that vc.tl.embed made"):
            vc.tl.rerun(adata, "umap")
        vc.tl.embed(adata, **FEW)
        vc.tl.project(adata, adata, key_added="placed")
        with pytest.raises(InputError, match="made by vc.tl.project; project the cells again"):
            vc.tl.rerun(adata, "placed")

    def test_key_added_may_not_overwrite_what_is_no_map(self, adata: ad.AnnData) -> None:
        vc.tl.embed(adata, **FEW)
        with pytest.raises(InputError, match="would overwrite"):
            vc.tl.rerun(adata, key_added="X_pca")


def test_what_was_asked_for_is_stored_as_it_was_given(adata: ad.AnnData) -> None:
    vc.tl.embed(adata, fixed="pinned", init="two", n_epochs=np.int64(12), random_state=0)
    record = json.loads(adata.uns["umap"]["arguments"])
    assert record == {"again": {}, "kept": {"fixed": "pinned", "init": "two", "n_epochs": 12}}


@pytest.mark.parametrize(("method", "n_obs"), [("tsne", 90), ("umap", 12)])
def test_a_map_of_so_few_cells_that_all_are_neighbours(method: str, n_obs: int) -> None:
    rows = np.random.default_rng(0).normal(size=(n_obs, 4)).astype(np.float32)
    made = ad.AnnData(rows)
    vc.tl.embed(made, method, use_rep="X", n_epochs=10, key_added="few")
    assert made.uns["few"]["params"]["n_neighbors"] == n_obs
    vc.tl.rerun(made, "few")
    assert made.uns["few_rerun"]["rerun_of"]["equal"]
