"""Cells added to a map, and brought into its space, where its representation is far from zero."""

from __future__ import annotations

import json
import logging

import anndata as ad
import numpy as np
import pytest

import vicinal as vc
from vicinal.adata.model import model_from_adata
from vicinal.adata.read import read_slot
from vicinal.api import InputError

N_GENES, N_PCS = 40, 5
AWAY = np.array([1_700_000_000, 0, 0, -3e8, 0.0])
KEPT = {"n_epochs": 3, "n_neighbors": 10, "n_jobs": 1}


def genes(n: int, seed: int) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    kinds = np.random.default_rng(99).normal(scale=2, size=(3, N_GENES))
    adata = ad.AnnData((kinds[rng.integers(3, size=n)] + rng.normal(size=(n, N_GENES))).astype(np.float32))
    adata.obs_names = [f"cell{seed}_{i}" for i in range(n)]
    adata.var_names = [f"Gene{i}" for i in range(N_GENES)]
    return adata


def bare(*parts: ad.AnnData) -> ad.AnnData:
    return ad.concat([ad.AnnData(part.X, obs=part.obs[[]], var=part.var[[]]) for part in parts])


def reference_at(away: np.ndarray) -> ad.AnnData:
    """A map of principal components that were moved."""
    adata = genes(150, 0)
    centred = adata.X.astype(np.float64) - adata.X.mean(axis=0, dtype=np.float64)
    loadings = np.linalg.svd(centred, full_matrices=False)[2][:N_PCS].T
    adata.obsm["X_pca"], adata.varm["PCs"] = centred @ loadings + away, loadings
    vc.tl.embed(adata, use_rep="X_pca", **KEPT)
    return adata


@pytest.fixture(scope="module")
def far() -> ad.AnnData:
    return reference_at(AWAY)


@pytest.fixture(scope="module")
def near() -> ad.AnnData:
    return reference_at(np.zeros(N_PCS))


@pytest.fixture
def new() -> ad.AnnData:
    return genes(40, 1)


def by_hand(new: ad.AnnData, reference: ad.AnnData) -> np.ndarray:
    return (new.X.astype(np.float64) - reference.X.mean(axis=0, dtype=np.float64)) @ reference.varm["PCs"]


def test_components_are_where_those_of_the_reference_are(far, new, caplog):
    vc.tl.represent(new, far)
    assert new.obsm["X_pca"].dtype == np.float64
    np.testing.assert_allclose(new.obsm["X_pca"] - AWAY, by_hand(new, far), atol=1e-3)
    with caplog.at_level(logging.WARNING, "vicinal"):
        vc.tl.represent(new, far)
        assert not caplog.text
        new.obsm["X_pca"] += 3
        vc.tl.represent(new, far)
    assert "held other values" in caplog.text


def test_genes_and_components_give_the_same_places(far, new, tmp_path):
    vc.models.save(far, tmp_path / "model")
    by_components = new.copy()
    vc.tl.represent(by_components, tmp_path / "model")
    vc.tl.project(by_components, far, use_rep="X_pca")
    vc.tl.project(new, tmp_path / "model")
    np.testing.assert_allclose(by_components.obsm["X_umap"], new.obsm["X_umap"], atol=1e-3)


def test_places_are_those_of_a_map_near_zero(far, near, new):
    other = new.copy()
    vc.tl.project(new, far)
    vc.tl.project(other, near)
    np.testing.assert_allclose(new.obs["umap_stranger_p"], other.obs["umap_stranger_p"], atol=0.02)
    found = far.uns["umap"]["model"]["manifest"]
    assert "center" in found and "center" not in near.uns["umap"]["model"]["manifest"]


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("in_a_file", [False, True])
def test_update_starts_where_project_places(far, new, tmp_path, stored, in_a_file):
    adata, model = bare(new, far), far
    if in_a_file:
        vc.models.save(far, tmp_path / "model")
        model = tmp_path / "model"
    if stored:
        vc.tl.represent(new, model)
        adata.obsm["X_pca"] = np.vstack([new.obsm["X_pca"], far.obsm["X_pca"]])
    vc.tl.update(adata, model, n_epochs=0, n_jobs=1)
    vc.tl.project(new, model)
    np.testing.assert_allclose(adata.obsm["X_umap"][:40], new.obsm["X_umap"], atol=1e-3)
    np.testing.assert_array_equal(adata.obsm["X_umap"][40:], far.obsm["X_umap"])
    np.testing.assert_allclose(adata.obsm["X_pca"][40:] - AWAY, far.obsm["X_pca"] - AWAY, atol=1e-4)
    np.testing.assert_allclose(adata.obsm["X_pca"][:40] - AWAY, by_hand(new, far), atol=1e-3)


def test_the_grown_map_keeps_the_center(far, new):
    adata, later = bare(far, new), genes(20, 2)
    vc.tl.update(adata, far, **KEPT)
    vc.tl.represent(later, far)
    vc.tl.project(later, adata, use_rep="X_pca")
    assert len(np.unique(np.round(later.obsm["X_umap"], 2), axis=0)) > 15
    again = adata.copy()
    vc.tl.project(again, adata, key_added="again", use_rep="X_pca")
    np.testing.assert_array_equal(again.obsm["again"], adata.obsm["X_umap"])


def test_components_of_another_pca_are_refused(far, new):
    adata = bare(far, new)
    other = by_hand(new, far)[:, ::-1] + AWAY
    adata.obsm["X_pca"] = np.vstack([far.obsm["X_pca"], other])
    with pytest.raises(InputError, match="new cells is not what the map's PCA makes of them"):
        vc.tl.update(adata, far, n_epochs=0)


def test_rows_without_genes():
    rng = np.random.default_rng(0)
    rows = np.c_[1.7e9 + rng.integers(0, 3600, 200), rng.integers(-9, 9, 200)].astype(np.float64)
    every = ad.AnnData(obsm={"X_time": rows})
    every.obs_names = [f"c{i}" for i in range(200)]
    old, new = every[:150].copy(), every[150:].copy()
    vc.tl.embed(old, use_rep="X_time", **KEPT)
    vc.tl.update(every, old, **KEPT | {"n_epochs": 0})
    vc.tl.project(new, old)
    np.testing.assert_array_equal(every.obsm["X_umap"][150:], new.obsm["X_umap"])
    vc.tl.project(new, every)
    np.testing.assert_array_equal(every.obsm["X_umap"][150:], new.obsm["X_umap"])


def times(n: int, start: float, seed: int) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    return ad.AnnData(obsm={"X_time": np.c_[start + rng.integers(0, 3600, n), rng.integers(-9, 9, n)].astype(float)})


def test_training_goes_on_with_the_center_of_the_model():
    pytest.importorskip("torch")
    first, more = times(100, 1.7e9, 0), times(120, 1.7e9 + 900, 1)
    options = {"method": "parametric_umap", "use_rep": "X_time", "n_training_epochs": 1, "n_neighbors": 10}
    vc.tl.embed(first, **options)
    vc.tl.embed(more, continue_from=first, **options)
    centers = [json.loads(a.uns[key]["model"]["manifest"])["representation"]["center"] for a, key in keyed(first, more)]
    assert centers[0] == centers[1]
    with pytest.raises(InputError, match="metric='cosine' does not fit continue_from"):
        vc.tl.embed(more, continue_from=first, metric="cosine", **options)


def test_training_goes_on_without_a_center_where_the_model_has_none():
    near, away = model_from_adata(embedded(times(100, 0, 0))), times(100, 1.7e9, 1)
    assert read_slot(away, "X_time", None).center is not None
    assert read_slot(away, "X_time", None, as_in=near).center is None


def embedded(adata: ad.AnnData) -> ad.AnnData:
    vc.tl.embed(adata, use_rep="X_time", **KEPT)
    return adata


def keyed(*every: ad.AnnData) -> list[tuple[ad.AnnData, str]]:
    return [(adata, next(iter(adata.uns))) for adata in every]
