"""A map is scored against, and takes new cells by, a representation only if its neighbours were made from that."""

from __future__ import annotations

import logging
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc
from scipy import sparse

import vicinal as vc
from vicinal.adata.sampled import pairs_of_matrix, share_linked, share_reproduced
from vicinal.api import InputError, ModelError

FEW = {"n_epochs": 2}
N = 240


def cells(n_vars: int = 0) -> ad.AnnData:
    """Return cells with a PCA, another representation, and places in a tissue."""
    rng = np.random.default_rng(0)
    made = ad.AnnData(
        rng.normal(size=(N, n_vars)).astype(np.float32), obs=pd.DataFrame(index=[f"c{i}" for i in range(N)])
    )
    made.obsm["X_pca"] = rng.normal(size=(N, 10)).astype(np.float32)
    made.obsm["X_other"] = rng.normal(size=(N, 6)).astype(np.float32)
    made.obsm["spatial"] = rng.uniform(size=(N, 2)) * 100
    return made


def other_pca(adata: ad.AnnData) -> None:
    adata.obsm["X_pca"] = np.random.default_rng(1).normal(size=(N, 10)).astype(np.float32)


def embedded(adata: ad.AnnData, **options) -> dict:
    vc.tl.embed(adata, **{**FEW, **options})
    return adata.uns["umap"]


def fits(adata: ad.AnnData, name: str, **options) -> None:
    entry = embedded(adata, **options)
    assert (
        entry["params"]["use_rep"] == name and "score" not in entry["reasons"] and "trustworthiness" in entry["score"]
    )
    new = adata[:20].copy()
    vc.tl.project(new, adata, key_added="X_new", stranger_level=None)
    assert np.allclose(new.obsm["X_new"], adata.obsm["X_umap"][:20], atol=1e-3)


def is_doubted(adata: ad.AnnData, why: str, **options) -> None:
    entry = embedded(adata, **options)
    assert entry["score"] == {} and why in entry["reasons"]["score"] and "use_rep" not in entry["params"]
    with pytest.raises(ModelError, match="places no new cells: .*use_rep="):
        vc.tl.project(adata[:20].copy(), adata)
    with pytest.raises(InputError, match=r"nothing to be scored against: .* Give use_rep="):
        vc.tl.score(adata, "umap")
    assert "trustworthiness" in vc.tl.score(adata, "umap", use_rep="X_pca")


class TestThoseOfTheRepresentation:
    @pytest.mark.parametrize("arguments", [{}, {"n_pcs": 7}, {"metric": "cosine"}, {"metric": "manhattan"}], ids=str)
    def test_as_scanpy_finds_them_without_use_rep(self, arguments):
        adata = cells(60)
        sc.pp.neighbors(adata, **arguments)
        assert "use_rep" not in adata.uns["neighbors"]["params"]
        fits(adata, "X_pca")
        assert adata.uns["umap"]["params"].get("n_pcs") == arguments.get("n_pcs")

    @pytest.mark.parametrize("metric", ["correlation", "chebyshev", "canberra"])
    def test_by_a_metric_that_is_measured_pair_by_pair(self, metric):
        adata = cells(60)
        sc.pp.neighbors(adata, metric=metric)
        assert not vc.tl.plan(adata).scores == () and vc.tl.plan(adata).representation == "X_pca"
        other_pca(adata)
        assert vc.tl.plan(adata).representation is None

    def test_few_genes_as_they_are_beside_a_pca(self):
        adata = cells(12)
        sc.pp.neighbors(adata)
        fits(adata, "X")

    def test_many_genes_as_they_are(self):
        adata = cells(80)
        sc.pp.neighbors(adata, n_pcs=0)
        fits(adata, "X")

    def test_columns_that_an_old_record_does_not_count(self):
        adata = cells(60)
        sc.pp.neighbors(adata, n_pcs=6)
        adata.uns["neighbors"]["params"] = {"n_neighbors": np.array([15]), "method": "umap"}
        fits(adata, "X_pca")

    @pytest.mark.parametrize("stored", ["X_pca", "X_other"])
    def test_named(self, stored):
        adata = cells()
        sc.pp.neighbors(adata, use_rep=stored)
        fits(adata, stored)

    def test_as_rapids_and_bbknn_record_them(self):
        adata = cells(60)
        sc.pp.neighbors(adata)
        params = adata.uns["neighbors"]["params"]
        params |= {"method": "rapids", "use_rep": "X_pca", "metric_kwds": {}}
        fits(adata, "X_pca")
        adata.obsp["distances"].data **= 2  # a library that leaves the root out
        fits(adata, "X_pca")
        bbknn = {"trim": 100, "computation": "annoy", "batch_key": "batch"}
        adata.uns["neighbors"]["params"] = {"n_neighbors": 15, "method": "umap", "metric": "angular", "bbknn": bbknn}
        unit = adata.obsm["X_pca"] / np.linalg.norm(adata.obsm["X_pca"], axis=1, keepdims=True)
        found = adata.obsp["distances"].tocoo()
        adata.obsp["distances"].data = np.linalg.norm(unit[found.row] - unit[found.col], axis=1)
        assert vc.tl.plan(adata).representation == "X_pca"

    def test_connectivities_alone(self):
        adata = cells(60)
        sc.pp.neighbors(adata)
        del adata.obsp["distances"]
        fits(adata, "X_pca")
        del adata.uns["neighbors"], adata.uns["umap"]
        fits(adata, "X_pca")

    def test_of_a_part_of_the_cells(self):
        adata = cells(60)
        sc.pp.neighbors(adata)
        fits(adata[::2].copy(), "X_pca")

    def test_in_another_form(self):
        adata = cells(60)
        sc.pp.neighbors(adata)
        adata.obsp["distances"] = adata.obsp["distances"].tocsc()
        adata.obsm["X_pca"] = -adata.obsm["X_pca"].astype(np.float64)
        fits(adata, "X_pca")

    def test_a_pca_under_another_name(self):
        adata = cells()
        sc.pp.neighbors(adata, use_rep="X_pca")
        adata.obsm["pca"] = adata.obsm.pop("X_pca")
        fits(adata, "pca")

    def test_by_vicinal(self):
        adata = cells()
        vc.pp.neighbors(adata, use_rep="X_other", metric="cosine")
        fits(adata, "X_other")
        vc.tl.embed(adata, "tsne", perplexity=4, **FEW)
        assert "trustworthiness" in adata.uns["tsne"]["score"]

    def test_equal_cells(self):
        adata = cells(60)
        adata.obsm["X_pca"][::2] = adata.obsm["X_pca"][0]
        sc.pp.neighbors(adata)
        assert "trustworthiness" in embedded(adata)["score"]

    def test_given_as_arrays(self):
        adata = cells()
        gaps = np.linalg.norm(adata.obsm["X_pca"][:, None] - adata.obsm["X_pca"][None], axis=2)
        fits(adata, "X_pca", knn=(np.argsort(gaps, axis=1)[:, :15], np.sort(gaps, axis=1)[:, :15]))
        sc.pp.neighbors(adata, use_rep="X_pca")
        fits(adata, "X_pca", graph=adata.obsp["connectivities"])


def weighted_by_two(adata: ad.AnnData) -> None:
    adata.obsm["both"] = np.hstack([adata.obsm["X_pca"], adata.obsm["X_other"]])
    sc.pp.neighbors(adata, use_rep="both")
    del adata.obsm["both"]
    adata.uns["neighbors"]["params"] |= {
        "use_rep": {"rna": "X_pca", "prot": "X_other"},
        "n_pcs": {"rna": 10, "prot": 6},
    }


def in_space(adata: ad.AnnData) -> None:
    sc.pp.neighbors(adata, use_rep="spatial")
    adata.uns["neighbors"]["params"] = {"n_neighbors": 15, "coord_type": "generic", "radius": None}


def links_in_space(adata: ad.AnnData) -> None:
    in_space(adata)
    del adata.obsp["distances"]


def dropped(adata: ad.AnnData) -> None:
    sc.pp.neighbors(adata, use_rep="X_other")
    del adata.obsm["X_other"]


def made_anew(adata: ad.AnnData) -> None:
    sc.pp.neighbors(adata, use_rep="X_pca")
    other_pca(adata)


def made_anew_unnamed(adata: ad.AnnData) -> None:
    wide = ad.AnnData(np.zeros((N, 60), np.float32), obsm=dict(adata.obsm))
    sc.pp.neighbors(wide)
    adata.obsp, adata.uns["neighbors"] = wide.obsp, wide.uns["neighbors"]
    other_pca(adata)


FOREIGN = {
    weighted_by_two: "from several representations: 'X_other', 'X_pca'",
    in_space: "do not say what they were made from, and 'X_pca' does not give them",
    links_in_space: "do not say what they were made from, and 'X_pca' does not give them",
    dropped: "from 'X_other', which is not there, and 'X_pca' does not give them",
    made_anew: "from 'X_pca', which has changed since",
    made_anew_unnamed: "do not say what they were made from",
}


class TestThoseOfAnother:
    @pytest.mark.parametrize("made", FOREIGN, ids=lambda made: made.__name__)
    def test_nothing_is_scored_or_placed_and_it_is_said(self, made, caplog):
        adata = cells()
        made(adata)
        with caplog.at_level(logging.WARNING, "vicinal"):
            is_doubted(adata, FOREIGN[made])
        assert sum("gets no scores and places no new cells; give use_rep=" in text for text in caplog.messages) == 1

    @pytest.mark.parametrize("made", FOREIGN, ids=lambda made: made.__name__)
    def test_until_use_rep_is_given(self, made):
        adata = cells()
        made(adata)
        fits(adata, "X_pca", use_rep="X_pca")
        assert "trustworthiness" in embedded(adata, use_rep="X_pca", graph="precomputed")["score"]

    def test_a_slot_that_would_fit_is_named(self):
        adata = cells()
        in_space(adata)
        assert "obsm['spatial'] does" in embedded(adata)["reasons"]["score"]

    @pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
    @pytest.mark.filterwarnings("ignore:Writing zarr v2")
    def test_so_it_is_from_a_file(self, tmp_path: Path, suffix):
        adata = cells()
        weighted_by_two(adata)
        vc.tl.embed(adata, **FEW)
        path = tmp_path / f"cells.{suffix}"
        (adata.write_h5ad if suffix == "h5ad" else adata.write_zarr)(path)
        back = (ad.read_h5ad if suffix == "h5ad" else ad.read_zarr)(path)
        with pytest.raises(ModelError, match="several representations"):
            vc.models.save(back, tmp_path / "map.vicinal")
        assert not (tmp_path / "map.vicinal").exists()
        vc.tl.rerun(back)
        assert np.array_equal(back.obsm["X_umap"], back.obsm["umap_rerun"])

    def test_nor_does_t_sne_start_from_it(self):
        adata = cells()
        dropped(adata)
        vc.tl.embed(adata, "tsne", perplexity=4, **FEW)
        entry = adata.uns["tsne"]
        assert entry["score"] == {} and entry["backends"]["init"] == "spectral@vicinal"
        vc.tl.embed(adata, "tsne", perplexity=4, init="pca", **FEW)
        assert adata.uns["tsne"]["backends"]["init"] == "pca@vicinal" and adata.uns["tsne"]["score"] == {}
        with pytest.raises(ModelError, match="places no new cells"):
            vc.tl.project(adata[:9].copy(), adata, key="tsne")

    def test_neighbours_searched_afresh_are_those_of_the_representation(self):
        adata = cells()
        dropped(adata)
        fits(adata, "X_pca", knn="exact")

    @pytest.mark.parametrize("given", ["knn", "graph"])
    def test_given_as_arrays(self, given):
        adata = cells()
        space = adata.obsm["spatial"]
        gaps = np.linalg.norm(space[:, None] - space[None], axis=2)
        knn = np.argsort(gaps, axis=1)[:, :15], np.sort(gaps, axis=1)[:, :15]
        in_space(adata)
        graph = adata.obsp["connectivities"].copy()
        del adata.obsp["connectivities"], adata.obsp["distances"], adata.uns["neighbors"]
        is_doubted(adata, f"given as {given} do not say", **{given: knn if given == "knn" else graph})

    def test_a_map_of_another_tool_is_not_adopted(self):
        adata = cells()
        dropped(adata)
        adata.obsm["X_umap"] = adata.obsm["spatial"].astype(np.float32)
        with pytest.raises(InputError, match="'X_other', which is not there.*Give use_rep="):
            vc.models.adopt(adata)
        vc.models.adopt(adata, use_rep="X_pca")

    def test_a_plan_shows_it(self):
        adata = cells()
        dropped(adata)
        plan = vc.tl.plan(adata)
        assert any("which is not there" in note for note in plan.notes) and plan.representation is None


class TestTheSample:
    def test_few_wrong_distances_are_let_through_and_many_are_not(self, rng):
        values = rng.normal(size=(100, 5)).astype(np.float32)
        gaps = np.linalg.norm(values[:, None] - values[None], axis=2)
        for share in (0.1, 0.5):
            stored = np.where(rng.random(gaps.shape) < share, gaps * 1.5, gaps)
            found = share_reproduced(values, pairs_of_matrix(sparse.csr_matrix(stored)), "euclidean")
            assert found == pytest.approx(1 - share, abs=0.12)

    @pytest.mark.parametrize(
        "matrix", [sparse.csr_matrix((9, 9)), sparse.eye(9), sparse.csr_matrix(np.full((9, 9), np.nan))]
    )
    def test_nothing_to_go_by(self, matrix):
        assert share_reproduced(np.ones((9, 2), np.float32), pairs_of_matrix(matrix), "euclidean") is None
        assert share_linked(np.ones((9, 2), np.float32), sparse.csr_matrix((9, 9)), "euclidean") is None

    def test_a_metric_that_nobody_knows(self, rng):
        values = rng.normal(size=(20, 3)).astype(np.float32)
        pairs = pairs_of_matrix(sparse.csr_matrix(rng.random((20, 20))))
        assert share_reproduced(values, pairs, "module:own") is None
        assert share_linked(values, sparse.csr_matrix(rng.random((20, 20))), "module:own") is None
