"""Columns far from zero keep what float32 would round away; where it still merges rows, it is said."""

from __future__ import annotations

import logging
from pathlib import Path

import anndata as ad
import h5py
import numpy as np
import pandas as pd
import pytest

import vicinal as vc
from vicinal.adata.far import center_of, count_merged
from vicinal.adata.read import read_slot
from vicinal.api import ModelError

FEW = {"n_epochs": 2}
SINCE_1970 = 1_700_000_000
N = 300


def rows(seed: int = 0, n: int = N) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.c_[rng.integers(0, 3600, n), rng.integers(-9, 9, n)].astype(np.float64)


def cells(values: np.ndarray, **slots) -> ad.AnnData:
    return ad.AnnData(values, obs=pd.DataFrame(index=[f"c{i}" for i in range(len(values))]), **slots)


def shifted(values: np.ndarray, dtype: str = "float64") -> np.ndarray:
    return (values + np.array([SINCE_1970, 0])).astype(dtype)


@pytest.mark.parametrize("dtype", ["float64", "int64", "uint64", "int32", "uint32"])
def test_a_map_is_that_of_centered_values(dtype):
    far, near = cells(shifted(abs(rows()), dtype)), cells(abs(rows()))
    vc.tl.embed(far, **FEW)
    vc.tl.embed(near, **FEW)
    kept = [set(map(tuple, a.uns["umap"]["score"].items())) for a in (far, near)]
    assert np.allclose(far.obsm["X_umap"], near.obsm["X_umap"], atol=1e-3) and len(kept[0] & kept[1]) >= 1


def test_integers_beyond_what_float64_holds():
    step = np.arange(N) % 7
    values = np.c_[1_700_000_000_000_000_000 + step, step]
    found = read_slot(cells(values), "X", None)
    assert len(np.unique(found.values[:, 0])) == 7 and found.n_merged == 0


@pytest.mark.parametrize(
    "values",
    [
        rows(),
        rows() * 1e9,
        rows() + 1000,
        np.full((N, 2), 5e9),
        shifted(rows()).astype(np.float32),
        rows().astype("int16"),
    ],
)
def test_what_float32_holds_is_left_as_it_is(values):
    found = read_slot(cells(values), "X", None)
    assert found.center is None and found.values.tobytes() == values.astype(np.float32).tobytes()


def test_only_by_metrics_that_a_shift_does_not_change():
    adata = cells(shifted(rows()))
    assert read_slot(adata, "X", None, metric="cosine").center is None
    assert read_slot(adata, "X", None, metric="manhattan").center.tolist()[1] == 0
    vc.pp.neighbors(adata, metric="cosine", use_rep="X", key_added="angles")
    vc.tl.embed(adata, neighbors_key="angles", **FEW)
    assert "center" not in adata.uns["umap"]["model"]["manifest"]


def test_new_cells_and_scores_have_the_same_center(tmp_path: Path):
    adata = cells(shifted(rows()))
    vc.tl.embed(adata, **FEW)
    new = cells(shifted(rows(1, 60)))
    vc.tl.project(new, adata, stranger_level=None)
    vc.models.save(adata, tmp_path / "map.vicinal")
    again = cells(shifted(rows(1, 60)))
    vc.tl.project(again, tmp_path / "map.vicinal", stranger_level=None)
    assert np.array_equal(new.obsm["X_umap"], again.obsm["X_umap"])
    assert len(np.unique(np.round(new.obsm["X_umap"], 3), axis=0)) > 50
    assert vc.tl.score(adata) == pytest.approx(adata.uns["umap"]["score"])


def test_a_center_of_another_kind_is_refused():
    adata = cells(shifted(rows()))
    vc.tl.embed(adata, **FEW)
    from vicinal.models.manifest import parse_manifest

    manifest = parse_manifest(adata.uns["umap"]["model"]["manifest"])
    for center in ([1.0], ["a", 2.0], [float("1e301"), 0.0], "far"):
        manifest.representation["center"] = center
        with pytest.raises(ModelError, match=r"representation\['center'\] is not 2 finite numbers"):
            parse_manifest(manifest.to_json())


def test_a_map_is_repeated_to_the_bit():
    adata = cells(shifted(rows()))
    vc.tl.embed(adata, **FEW)
    vc.tl.rerun(adata)
    assert np.array_equal(adata.obsm["X_umap"], adata.obsm["umap_rerun"])


def test_rows_that_rounding_merges_are_counted(caplog):
    values = np.c_[np.r_[np.arange(150), 3e9 + np.arange(150)], np.zeros(N)]
    adata = cells(values)
    with caplog.at_level(logging.WARNING, "vicinal"):
        vc.tl.embed(adata, **FEW)
    merged = 150 - len(np.unique((3e9 + np.arange(150)).astype(np.float32)))
    assert any(f"the rows of {merged} of 300 cells equal" in text for text in caplog.messages)
    assert adata.uns["umap"]["params"]["n_rows_merged"] == merged
    caplog.clear()
    vc.tl.embed(cells(rows()), **FEW)
    assert not caplog.messages


def test_equal_rows_are_not_merged_by_rounding():
    values = np.repeat(rows(n=30), 10, axis=0)
    assert count_merged(values, values.astype(np.float32), None, None, "X") == 0


@pytest.mark.parametrize("chunks", [None, (20, 2), (300, 1)])
def test_in_a_file(tmp_path, chunks):
    values = shifted(rows())
    stored = h5py.File(tmp_path / "values.h5", "w").create_dataset("values", data=values, chunks=chunks)
    center = center_of(stored, None, "euclidean")
    assert center is not None and abs(center[0] - values[:, 0].mean()) < 1 and center[1] == 0


def test_some_columns_alone():
    adata = cells(np.zeros((N, 1), np.float32), obsm={"X_pca": np.c_[rows()[:, 1], shifted(rows())]})
    assert read_slot(adata, "X_pca", 1).center is None
    assert read_slot(adata, "X_pca", 2).center[1] > 1e9
