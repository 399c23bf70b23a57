from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from scipy import sparse

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


def test_the_default_is_clipped_for_few_cells(adata: ad.AnnData) -> None:
    few = adata[:10].copy()
    vc.pp.neighbors(few)
    assert few.uns["neighbors"]["params"]["n_neighbors"] == 10
    assert (np.diff(few.obsp["distances"].indptr) == 9).all()


def test_neighbors_may_replace_neighbors(adata: ad.AnnData) -> None:
    for n_neighbors in (5, 8):
        vc.pp.neighbors(adata, key_added="mine", n_neighbors=n_neighbors)
    assert adata.uns["mine"]["params"]["n_neighbors"] == 8


def test_bad_input_changes_nothing(adata: ad.AnnData) -> None:
    with pytest.raises(InputError, match="n_neighbors=700"):
        vc.pp.neighbors(adata, n_neighbors=700)
    with pytest.raises(InputError, match="unknown parameter 'min_dist'") as error:
        vc.pp.neighbors(adata, min_dist=0.1)
    assert "Did you mean 'min_dist'" not in str(error.value)
    adata.uns["umap"] = {"params": {"a": 1.0, "b": 1.0}}
    for key_added in ("", "a/b", 3, "umap"):
        with pytest.raises(InputError, match=f"key_added={key_added!r}"):
            vc.pp.neighbors(adata, key_added=key_added)
    for graph in ("precomputed", sparse.eye(700, format="csr")):
        with pytest.raises(InputError, match="graph: the weights are computed here"):
            vc.pp.neighbors(adata, graph=graph)
    assert not adata.obsp and "neighbors" not in adata.uns


def test_does_not_depend_on_the_order_of_the_rows(rng: np.random.Generator) -> None:
    rows = rng.normal(size=(300, 6)).astype(np.float32)
    rows[:60] = rows[0]  # ties, which go to the cell whose name comes first
    cells = ad.AnnData(np.zeros((300, 1), dtype=np.float32))
    cells.obsm["X_pca"], cells.obs_names = rows, rng.permutation(300).astype(str)
    shuffled = cells[rng.permutation(300)].copy()
    for made in (cells, shuffled):
        vc.pp.neighbors(made, n_neighbors=10)
    sorted_back = shuffled[cells.obs_names].copy()
    for key in ("distances", "connectivities"):
        assert (sorted_back.obsp[key] != cells.obsp[key]).nnz == 0, key
