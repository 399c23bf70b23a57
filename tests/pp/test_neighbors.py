from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

import vicinal as vc
from vicinal.api import InputError


@pytest.fixture
def adata() -> ad.AnnData:
    cells = vc.datasets.pbmc68k_reduced()
    fresh = ad.AnnData(cells.X, obs=cells.obs, obsm={"X_pca": cells.obsm["X_pca"]})
    fresh.uns["iroot"] = 0
    return fresh


def test_scanpy_slots_and_scanpy_values(adata: ad.AnnData) -> None:
    theirs = adata.copy()
    vc.pp.neighbors(adata, n_neighbors=12)
    sc.pp.neighbors(theirs, n_neighbors=12, use_rep="X_pca")
    assert set(theirs.uns["neighbors"]) == set(adata.uns["neighbors"])
    assert set(theirs.uns["neighbors"]["params"]) <= set(adata.uns["neighbors"]["params"])
    for slot in ("distances", "connectivities"):
        np.testing.assert_allclose(adata.obsp[slot].toarray(), theirs.obsp[slot].toarray(), atol=2e-4)


def test_leiden_paga_dpt_and_umap_of_scanpy_run_on_it(adata: ad.AnnData) -> None:
    vc.pp.neighbors(adata)
    sc.tl.leiden(adata, flavor="igraph", n_iterations=2, directed=False)
    sc.tl.paga(adata, groups="leiden")
    sc.tl.diffmap(adata)
    sc.tl.dpt(adata)
    vc.tl.embed(adata, n_epochs=20)
    assert adata.obs["leiden"].nunique() > 2 and np.isfinite(adata.obs["dpt_pseudotime"]).mean() > 0.9
    assert adata.uns["umap"]["backends"]["graph"] == "precomputed@vicinal"


def test_key_added_and_copy(adata: ad.AnnData) -> None:
    made = vc.pp.neighbors(adata, key_added="mine", copy=True)
    assert "mine" not in adata.uns and {"mine_distances", "mine_connectivities"} <= set(made.obsp)
    assert vc.tl.plan(made, neighbors_key="mine").stages["graph"].name == "precomputed"


def test_bad_input_changes_nothing(adata: ad.AnnData) -> None:
    with pytest.raises(InputError, match="n_neighbors=700"):
        vc.pp.neighbors(adata, n_neighbors=700)
    with pytest.raises(InputError, match="unknown parameter 'min_dist'"):
        vc.pp.neighbors(adata, min_dist=0.1)
    assert not adata.obsp and "neighbors" not in adata.uns
