"""A MuData is read like an AnnData; of other objects it is said what to give instead."""

from __future__ import annotations

import subprocess
import sys
import warnings
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import vicinal as vc
from vicinal.contract.errors import InputError

N_OBS = 60


@pytest.fixture
def rows(rng):
    return rng.normal(size=(N_OBS, 6)).astype(np.float32)


@pytest.fixture
def mdata(rows):
    from mudata import MuData

    names = [f"c{i:02d}" for i in range(N_OBS)]
    parts = {
        "rna": ad.AnnData(rows, obs=pd.DataFrame(index=names)),
        "prot": ad.AnnData(rows[:, :3] + 1, obs=pd.DataFrame(index=names)),
    }
    parts["prot"].var_names = ["p0", "p1", "p2"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = MuData(parts)
    made.obsm["X_joint"] = rows
    made.obs["kind"] = pd.Categorical(["a", "b"] * (N_OBS // 2))
    return made


@pytest.fixture
def adata(mdata, rows):
    return ad.AnnData(obs=mdata.obs.copy(), obsm={"X_joint": rows})


def test_its_map_has_the_bits_of_an_anndata_with_the_same_slots(mdata, adata):
    for given in (mdata, adata):
        vc.tl.embed(given, use_rep="X_joint", n_epochs=5, labels="kind")
    np.testing.assert_array_equal(mdata.obsm["X_umap"], adata.obsm["X_umap"])
    assert mdata.uns["umap"]["score"] == adata.uns["umap"]["score"]
    assert set(mdata.obsm) == {"rna", "prot", "X_joint", "X_umap"}


def test_its_neighbours_are_found_where_scanpy_writes_and_ours_where_scanpy_reads(mdata, adata):
    vc.pp.neighbors(mdata, use_rep="X_joint", n_neighbors=6)
    sc.pp.neighbors(adata, use_rep="X_joint", n_neighbors=6, transformer="sklearn")
    assert abs(mdata.obsp["connectivities"] - adata.obsp["connectivities"]).max() < 1e-3
    sc.tl.umap(mdata, maxiter=2)
    sc.pp.neighbors(mdata, use_rep="X_joint", n_neighbors=6)
    vc.tl.embed(mdata, n_epochs=2)
    assert mdata.uns["umap"]["params"]["neighbors_key"] == "neighbors"


def test_scores_plans_projections_and_figures(mdata, adata, tmp_path):
    vc.tl.embed(mdata, use_rep="X_joint", n_epochs=2)
    assert vc.tl.score(mdata, labels="kind")["knn_recall_15"] > 0
    assert vc.tl.plan(mdata, use_rep="X_joint").n_obs == N_OBS
    vc.tl.project(adata, mdata, stranger_level=None)
    axes = vc.pl.embedding(mdata, color="kind", show=False)
    assert len(axes.collections[0].get_offsets()) == N_OBS
    with pytest.raises(InputError, match="use_rep='X_pca' is not in the AnnData"):
        vc.tl.embed(mdata, use_rep="X_pca")


def test_a_copy_leaves_it_alone_and_a_modality_is_an_anndata(mdata):
    made = vc.tl.embed(mdata, use_rep="X_joint", n_epochs=2, copy=True)
    assert type(made) is type(mdata) and "X_umap" in made.obsm and "X_umap" not in mdata.obsm
    vc.tl.embed(mdata["rna"], n_epochs=2)
    assert "X_umap" in mdata["rna"].obsm


def test_without_a_representation_it_says_so(mdata):
    del mdata.obsm["X_joint"]
    with pytest.raises(InputError, match="no representation to find neighbours in"):
        vc.tl.embed(mdata)


def object_of(name, package="somewhere", **slots):
    return type(name, (), {"__module__": package, **slots})()


@pytest.mark.parametrize(
    "given, to_give",
    [
        (object_of("MuData", obsm={}), r"mdata\['rna'\]"),
        (object_of("SpatialData", tables={}), r"sdata\.tables"),
        (object_of("AnnData", "snapatac2._snapatac2"), r"'snapatac2'.*to_memory\(\)"),
        (object_of("AnnDataSet", "snapatac2"), r"to_adata\(\)"),
        (np.zeros((5, 2)), r"anndata\.AnnData\(values\)"),
        (sparse.eye(5).tocsr(), r"anndata\.AnnData\(values\)"),
        (pd.DataFrame({"a": [1.0]}), r"anndata\.AnnData\(values\)"),
        ([[1.0, 2.0]], r"anndata\.AnnData\(values\)"),
        ("cells.h5ad", r"anndata\.read_h5ad\(path\)"),
        (Path("cells.h5ad"), r"anndata\.read_h5ad\(path\)"),
        (None, "scanpy returns"),
    ],
    ids=lambda value: type(value).__name__,
)
@pytest.mark.parametrize("call", [vc.tl.embed, vc.tl.score, vc.pp.neighbors, vc.pl.embedding, vc.tl.plan])
def test_other_objects_are_refused_with_what_to_give(call, given, to_give):
    with pytest.raises(InputError, match=rf"^adata.*expected an AnnData: .*{to_give}"):
        call(given)


def test_mudata_is_not_imported_for_an_anndata():
    code = "import sys, anndata as ad, numpy as np, vicinal as vc; vc.tl.plan(ad.AnnData(np.eye(20)))"
    code += "; print('mudata' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
