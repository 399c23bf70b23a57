"""Slots whose names do not begin with ``X_``: ``obsm["pca"]``, ``obsm["umap"]``, as scanpy can be set to write them."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import vicinal as vc
from vicinal.api import InputError

N_OBS, N_GENES = 60, 8
FEW = {"n_epochs": 2}


@pytest.fixture
def adata() -> ad.AnnData:
    rng = np.random.default_rng(0)
    genes = rng.normal(size=(N_OBS, N_GENES)) * np.linspace(3, 1, N_GENES)
    loadings = np.linalg.svd(genes - genes.mean(axis=0), full_matrices=False)[2][:4].T
    components = (genes - genes.mean(axis=0)) @ loadings
    cells = ad.AnnData(genes.astype(np.float32), obs=pd.DataFrame(index=[f"c{i}" for i in range(N_OBS)]))
    cells.obsm["pca"], cells.obsm["umap"] = components.astype(np.float32), components[:, :2].astype(np.float32)
    cells.varm["pca"] = loadings
    cells.uns["pca"] = {"params": {"zero_center": True}}
    cells.uns["umap"] = {"params": {"a": 0.58, "b": 1.33}}
    return cells


@pytest.fixture
def usual(adata: ad.AnnData) -> ad.AnnData:
    """The same cells with ``X_`` before the names."""
    cells = adata.copy()
    for name in ("pca", "umap"):
        cells.obsm[f"X_{name}"] = cells.obsm.pop(name)
    cells.varm["PCs"] = cells.varm.pop("pca")
    return cells


def test_a_map_is_made_of_the_pca(adata: ad.AnnData, usual: ad.AnnData) -> None:
    for cells in (adata, usual):
        vc.tl.embed(cells, key_added="map", **FEW)
    assert adata.uns["map"]["params"]["use_rep"] == "pca"
    np.testing.assert_array_equal(adata.obsm["map"], usual.obsm["map"])


def test_neighbors_are_found_in_the_pca(adata: ad.AnnData) -> None:
    vc.pp.neighbors(adata)
    assert adata.uns["neighbors"]["params"]["use_rep"] == "pca"


@pytest.mark.parametrize("basis", ["umap", "X_umap", None])
def test_a_map_is_found_by_either_name(adata: ad.AnnData, usual: ad.AnnData, basis: str | None) -> None:
    named = {} if basis is None else {"basis": basis}
    scores = vc.tl.score(adata, **named)
    assert scores == vc.tl.score(usual, **named)
    assert adata.uns["umap"]["score"] == scores
    axes = vc.pl.embedding(adata, show=False, **named)
    np.testing.assert_allclose(axes.collections[0].get_offsets(), adata.obsm["umap"], rtol=1e-6)


@pytest.mark.parametrize("init", ["umap", "X_umap"])
def test_a_map_starts_another_by_either_name(adata: ad.AnnData, usual: ad.AnnData, init: str) -> None:
    for cells in (adata, usual):
        vc.tl.embed(cells, init=init, key_added="map", **FEW)
    np.testing.assert_array_equal(adata.obsm["map"], usual.obsm["map"])


@pytest.mark.parametrize("basis", ["umap", "X_umap"])
def test_an_adopted_map_places_cells(adata: ad.AnnData, usual: ad.AnnData, basis: str) -> None:
    for cells in (adata, usual):
        vc.models.adopt(cells, basis)
    new, as_usual = adata[:10].copy(), usual[:10].copy()
    vc.tl.project(new, adata)
    vc.tl.project(as_usual, usual)
    np.testing.assert_array_equal(new.obsm["X_umap"], as_usual.obsm["X_umap"])


def test_genes_are_placed_by_the_loadings(adata: ad.AnnData) -> None:
    vc.tl.embed(adata, key_added="map", **FEW)
    new = ad.AnnData(adata.X[:10].copy(), var=adata.var)
    vc.tl.represent(new, adata)
    np.testing.assert_allclose(new.obsm["pca"], adata.obsm["pca"][:10], atol=1e-4)


def test_a_map_stays_beside_that_of_another_name(adata: ad.AnnData) -> None:
    theirs = adata.obsm["umap"].copy()
    vc.tl.embed(adata, **FEW)
    np.testing.assert_array_equal(adata.obsm["umap"], theirs)
    vc.tl.rerun(adata, "umap")
    np.testing.assert_array_equal(adata.obsm["umap_rerun"], adata.obsm["X_umap"])
    assert adata.uns["umap_rerun"]["rerun_of"]["equal"]
    vc.tl.score(adata)
    kept = dict(adata.uns["umap"]["score"])
    with pytest.raises(InputError, match=r"uns\['umap'\] tells of the map 'X_umap'.*adata\.obsm\.pop\('umap'\)"):
        vc.tl.score(adata, basis="umap")
    assert adata.uns["umap"]["score"] == kept
