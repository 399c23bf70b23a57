"""Slots that hold tables of pandas, that are empty, or whose genes are in `.raw` alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import vicinal as vc
from vicinal.adata.frames import without_frame
from vicinal.api import InputError, ModelError

N_OBS = 40
NAMES = [f"c{i}" for i in range(N_OBS)]
FEW = {"n_epochs": 2}


def cells(kind: str | None = None) -> ad.AnnData:
    values = np.random.default_rng(0).normal(size=(N_OBS, 4)) * 10
    adata = ad.AnnData(np.zeros((N_OBS, 0)), obs=pd.DataFrame(index=NAMES))
    frame = pd.DataFrame(values, index=NAMES, columns=["a", "b", "c", "d"])
    if kind is not None:
        frame = frame.round().astype(kind) if "int" in kind.lower() else frame.astype(kind)
    adata.obsm["X_pca"] = values if kind is None else frame
    return adata


def with_frame_as_map() -> ad.AnnData:
    adata = cells("Float32")
    vc.tl.embed(adata, **FEW)
    adata.obsm["X_umap"] = pd.DataFrame(adata.obsm["X_umap"], index=NAMES, columns=["x", "y"])
    return adata


@pytest.mark.parametrize("kind", ["Float64", "Float32", "float16", "float64", "Int64", "int8"])
def test_columns_of_every_kind_of_number_are_read(kind: str) -> None:
    adata = cells(kind)
    same = ad.AnnData(np.zeros((N_OBS, 0)), obs=adata.obs)
    same.obsm["X_pca"] = adata.obsm["X_pca"].to_numpy(dtype=np.float64)
    for one in (adata, same):
        vc.tl.embed(one, **FEW)
    assert np.array_equal(adata.obsm["X_umap"], same.obsm["X_umap"])


def test_single_precision_stays_single() -> None:
    frame = cells("Float32").obsm["X_pca"]
    assert without_frame(frame, "x").dtype == np.float32
    assert without_frame(frame.astype({"a": "Int64"}), "x").dtype == np.float64
    assert without_frame(3, "x") == 3


@pytest.mark.parametrize("words", ["text", pd.Categorical([1] * N_OBS), pd.Timestamp(0), 1j])
def test_columns_that_hold_no_numbers_are_named(words: Any) -> None:
    adata = cells("Float64")
    adata.obsm["X_pca"] = adata.obsm["X_pca"].assign(batch=words)
    with pytest.raises(InputError, match="'X_pca': 1 of 5 columns hold no real numbers .'batch'.; drop them"):
        vc.tl.embed(adata, **FEW)


def test_a_missing_value_is_nan_of_a_cell() -> None:
    adata = cells("Float64")
    frame = adata.obsm["X_pca"].copy()
    frame.iloc[3, 2] = pd.NA
    adata.obsm["X_pca"] = frame
    with pytest.raises(InputError, match="holds 1 NaN and 0 infinite values .* the first: 3 .c3."):
        vc.tl.embed(adata, **FEW)


class TestMapInAFrame:
    def test_is_scored_started_from_and_repeated(self) -> None:
        adata = with_frame_as_map()
        plain = adata.copy()
        plain.obsm["X_umap"] = adata.obsm["X_umap"].to_numpy()
        assert vc.tl.score(adata) == vc.tl.score(plain)
        for one in (adata, plain):
            vc.tl.embed(one, init="X_umap", key_added="next", **FEW)
        assert np.array_equal(adata.obsm["next"], plain.obsm["next"])
        vc.tl.rerun(adata, "umap")
        assert adata.uns["umap_rerun"]["rerun_of"]["equal"]

    def test_places_new_cells_and_is_saved(self, tmp_path: Path) -> None:
        adata = with_frame_as_map()
        new = cells("Float32")[:5].copy()
        new.obs_names = [f"n{i}" for i in range(5)]
        vc.tl.project(new, adata, key_added="here")
        assert np.array_equal(new.obsm["here"], adata.obsm["X_umap"].to_numpy()[:5])
        vc.models.save(adata, tmp_path / "map")
        del adata.uns["umap"]
        vc.models.adopt(adata)

    @pytest.mark.parametrize("map_in_frame", [False, True])
    @pytest.mark.parametrize(
        ("values", "drawn"),
        [
            (pd.array([True, False, None, True] * 10, dtype="boolean"), {"True", "False", "NA"}),
            (pd.Series([True, None] * 20, index=NAMES, dtype=object), {"True", "False", "NA"}),
            (pd.array([1, 2, None, 3] * 10, dtype="Int64"), set()),
            (pd.array([0.5, None] * 20, dtype="Float32"), set()),
        ],
    )
    def test_is_drawn_whatever_the_colour(self, map_in_frame: bool, values: Any, drawn: set[str]) -> None:
        import matplotlib.pyplot as plt

        adata = with_frame_as_map()
        if not map_in_frame:
            adata.obsm["X_umap"] = adata.obsm["X_umap"].to_numpy()
        adata.obs["shade"] = values
        before = adata.copy()
        ax = vc.pl.embedding(adata, color="shade", show=False)
        legend = ax.get_legend()
        assert {text.get_text() for text in legend.get_texts()} == drawn if drawn else legend is None
        assert adata.obs.equals(before.obs) and list(adata.uns) == list(before.uns)
        plt.close("all")


class TestEmptyX:
    def raw_only(self) -> ad.AnnData:
        adata = ad.AnnData(obs=pd.DataFrame(index=NAMES))
        adata.raw = ad.AnnData(np.random.default_rng(0).normal(size=(N_OBS, 60)).astype(np.float32), obs=adata.obs)
        return adata

    def test_lists_of_slots_name_what_is_filled(self) -> None:
        adata = ad.AnnData(shape=(N_OBS, 60))
        adata.obsm["X_mine"] = np.zeros((N_OBS, 3))
        with pytest.raises(InputError, match="use_rep='X' is not in the AnnData; it has 'X_mine'"):
            vc.tl.embed(adata, use_rep="X")
        with pytest.raises(InputError, match="obsm has 'X_mine', .X is empty. Run sc.pp.pca"):
            vc.tl.embed(adata)
        adata.obsm["X_umap"] = np.zeros((N_OBS, 2))
        with pytest.raises(InputError, match="color='3' is neither a column"):
            vc.pl.embedding(adata, color="3", show=False)

    @pytest.mark.parametrize("kwargs", [{}, {"use_rep": "X"}, {"use_rep": "X_pca"}])
    def test_genes_in_raw_are_pointed_at(self, kwargs: dict[str, str]) -> None:
        with pytest.raises(InputError, match=r"The genes are in .raw; adata.raw.to_adata\(\) is an AnnData of them"):
            vc.tl.embed(self.raw_only(), **kwargs)

    def test_a_projection_points_at_raw(self) -> None:
        reference = self.raw_only().raw.to_adata()
        sc.pp.pca(reference, n_comps=5)
        vc.tl.embed(reference, **FEW)
        with pytest.raises(InputError, match=r"The genes are in .raw; adata_new.raw.to_adata\(\)"):
            vc.tl.project(self.raw_only(), reference)
        few = self.raw_only().raw.to_adata()
        few.raw = few
        few = few[:, :10].copy()
        with pytest.raises(InputError, match=r"adata_new.raw has 60 of these genes: give adata_new.raw.to_adata\(\)"):
            vc.tl.project(few, reference)
        vc.tl.project(few.raw.to_adata(), reference)


@pytest.mark.parametrize("key", [None, "umap"])
def test_a_map_of_another_tool_names_adopt(key: str | None) -> None:
    theirs = cells()
    theirs.obsm["X_umap"] = np.zeros((N_OBS, 2))
    if key is not None:
        theirs.uns["umap"] = {"params": {"a": 1.0, "b": 1.0}}
        vc.tl.embed(theirs, key_added="ours", **FEW)
    with pytest.raises(ModelError, match=r"run vc.models.adopt\(adata, 'X_umap'\) before"):
        vc.tl.project(cells()[:5].copy(), theirs, key=key)
