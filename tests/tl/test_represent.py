"""Components in a map's space, and cells added to a map as genes."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import vicinal as vc
from vicinal.api import InputError, ModelError

sc = pytest.importorskip("scanpy")

N_GENES, N_PCS = 80, 6
COLUMNS = ["umap_stranger_score", "umap_stranger_p", "umap_is_stranger"]


def logs(n, seed):
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(99).gamma(0.6, 4.0, size=(3, N_GENES))
    adata = ad.AnnData(sparse.csr_matrix(rng.poisson(means[rng.integers(3, size=n)]).astype(np.float32)))
    adata.obs_names = [f"cell{seed}_{i}" for i in range(n)]
    adata.var_names = [f"Gene{i}" for i in range(N_GENES)]
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata


@pytest.fixture(scope="module")
def reference():
    adata = logs(150, 0)
    sc.pp.pca(adata, n_comps=N_PCS)
    vc.tl.embed(adata, use_rep="X_pca", n_epochs=5, n_neighbors=10, n_jobs=1)
    return adata


@pytest.fixture
def new():
    return logs(40, 1)


def genes_alone(*parts):
    return ad.concat([ad.AnnData(part.X, obs=part.obs[[]], var=part.var[[]]) for part in parts])


def by_hand(new, reference):
    mean = reference.X.toarray().astype(float).mean(axis=0)
    return (new.X.toarray().astype(float) - mean) @ reference.varm["PCs"]


class TestRepresent:
    """`vicinal.tl.represent`."""

    def test_what_the_pca_of_the_reference_makes(self, reference, new):
        assert vc.tl.represent(new, reference) is None
        rows = new.obsm["X_pca"]
        assert rows.dtype == np.float32 and list(new.obsm) == ["X_pca"] and list(new.uns) == ["log1p"]
        np.testing.assert_allclose(rows, by_hand(new, reference), atol=1e-4)

    def test_a_function_of_each_cell_whatever_carries_the_model(self, reference, new, tmp_path):
        vc.models.save(reference, tmp_path / "model")
        expected = vc.tl.represent(new, reference, copy=True).obsm["X_pca"]
        turned = new[::-1, ::-1].copy()
        turned.layers["logs"] = turned.X
        del turned.X
        vc.tl.represent(turned, tmp_path / "model", use_rep="logs", key_added="made", n_jobs=2)
        np.testing.assert_array_equal(turned.obsm["made"][::-1], expected)
        assert "X_pca" not in new.obsm

    def test_what_is_there_is_replaced_and_said(self, reference, new, caplog):
        new.obsm["X_pca"] = np.ones((40, 3), np.float32)
        with caplog.at_level(logging.WARNING, "vicinal"):
            vc.tl.represent(new, reference)
            assert "held other values" in caplog.text
            caplog.clear()
            vc.tl.represent(new, reference)
        assert not caplog.text

    def test_what_cannot_be_made(self, reference, new):
        bare = reference.copy()
        del bare.varm["PCs"]
        with pytest.raises(ModelError, match="carries no PCA that makes 'X_pca' of genes: when it was saved"):
            vc.tl.represent(new, bare)
        with pytest.raises(InputError, match="use_rep='logs' holds no genes"):
            vc.tl.represent(new, reference, use_rep="logs")
        with pytest.raises(InputError, match="genes are not in var_names"):
            vc.tl.represent(new[:, :20].copy(), reference)
        with pytest.raises(InputError, match="key_added"):
            vc.tl.represent(new, reference, key_added="")
        assert not new.obsm


class TestUpdateOfGenes:
    """`vicinal.tl.update`, where the representation is not there, or also genes are."""

    def test_genes_are_as_good_as_components(self, reference, new):
        adata = genes_alone(new, reference)
        vc.tl.update(adata, reference, n_epochs=5, n_jobs=1)
        old = adata[reference.obs_names]
        np.testing.assert_array_equal(old.obsm["X_pca"], reference.obsm["X_pca"])
        np.testing.assert_array_equal(old.obsm["X_umap"], reference.obsm["X_umap"])
        vc.tl.represent(new, reference)
        np.testing.assert_array_equal(adata[new.obs_names].obsm["X_pca"], new.obsm["X_pca"])
        again = genes_alone(new, reference)
        again.obsm["X_pca"] = np.vstack([new.obsm["X_pca"], reference.obsm["X_pca"]])
        vc.tl.update(again, reference, n_epochs=5, n_jobs=1)
        np.testing.assert_array_equal(again.obsm["X_umap"], adata.obsm["X_umap"])

    def test_the_grown_map_has_a_model_of_its_own(self, reference, new):
        adata = genes_alone(reference, new)
        vc.tl.update(adata, reference, n_epochs=0, n_jobs=1)
        later = logs(5, 2)
        vc.tl.represent(later, reference)
        vc.tl.project(later, adata, use_rep="X_pca")
        assert np.isfinite(later.obsm["X_umap"]).all()

    def test_a_file_knows_its_cells_by_their_components(self, reference, new, tmp_path):
        vc.models.save(reference, tmp_path / "model")
        adata = genes_alone(new, reference)
        adata.obs_names = [f"other{i}" for i in range(adata.n_obs)]
        vc.tl.update(adata, tmp_path / "model", n_epochs=0, n_jobs=1)
        np.testing.assert_array_equal(adata.uns["umap"]["update"]["is_new"], np.arange(190) < 40)
        np.testing.assert_array_equal(adata.obsm["X_umap"][40:], reference.obsm["X_umap"])

    def test_components_of_another_pca_are_refused(self, reference, new):
        sc.pp.pca(new, n_comps=N_PCS)
        adata = genes_alone(reference, new)
        adata.obsm["X_pca"] = np.vstack([reference.obsm["X_pca"], new.obsm["X_pca"]])
        for part in (adata, adata[150 - 120 :].copy()):
            with pytest.raises(InputError, match="of 40 new cells is not what the map's PCA makes of them"):
                vc.tl.update(part, reference, n_epochs=0)
            assert list(part.obsm) == ["X_pca"] and not part.uns and part.obs.empty
        vc.tl.represent(adata, reference)
        vc.tl.update(adata, reference, n_epochs=0)
        assert "X_umap" in adata.obsm

    def test_genes_that_cannot_tell_are_named(self, reference, new, caplog):
        vc.tl.represent(new, reference)
        adata = genes_alone(reference, new)
        adata.obsm["X_pca"] = np.vstack([reference.obsm["X_pca"], new.obsm["X_pca"]])
        adata = adata[:, :30].copy()
        with caplog.at_level(logging.WARNING, "vicinal"):
            vc.tl.update(adata, reference, n_epochs=0)
        assert "their genes cannot tell" in caplog.text

    def test_too_few_genes(self, reference, new):
        adata = genes_alone(reference, new)[:, :60].copy()
        with pytest.raises(InputError, match="min_overlap"):
            vc.tl.update(adata, reference, n_epochs=0, min_overlap=0.99)
        with pytest.raises(InputError, match="min_overlap=2 is not allowed"):
            vc.tl.update(adata, reference, n_epochs=0, min_overlap=2)

    def test_new_cells_are_flagged_as_by_project(self, reference, new):
        adata = genes_alone(new, reference)
        vc.tl.update(adata, reference, n_epochs=0)
        vc.tl.project(new, reference)
        found = adata.obs.loc[new.obs_names, COLUMNS]
        assert found.equals(new.obs[COLUMNS])
        old = adata.obs.loc[reference.obs_names, COLUMNS]
        assert old[COLUMNS[:2]].isna().all().all() and not old[COLUMNS[2]].any()
        assert adata.uns["umap"]["strangers"]["n_strangers"] == new.obs[COLUMNS[2]].sum()
        vc.tl.update(adata, reference, n_epochs=0, stranger_level=None)
        assert not set(COLUMNS) & set(adata.obs) and "strangers" not in adata.uns["umap"]

    def test_flags_that_came_with_concatenated_cells_are_made_anew(self, reference, new):
        adata = genes_alone(new, reference)
        for name, value in zip(COLUMNS, (1.0, 0.5, False), strict=True):
            adata.obs[name] = value
        vc.tl.update(adata, reference, n_epochs=0)
        assert adata.obs.loc[reference.obs_names, COLUMNS[0]].isna().all()
        assert not (adata.obs.loc[new.obs_names, COLUMNS[0]] == 1.0).any()

    def test_columns_of_others_are_not_overwritten(self, reference, new):
        adata = genes_alone(new, reference)
        adata.obs[COLUMNS[0]] = 1.0
        with pytest.raises(InputError, match="no flags of an earlier projection"):
            vc.tl.update(adata, reference, n_epochs=0)
        assert not adata.obsm and not adata.uns
