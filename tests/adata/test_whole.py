"""Stored neighbours of which cells were taken out are searched afresh, or it is said how many lack some."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pytest
import scanpy as sc

import vicinal as vc

FEW = {"n_epochs": 2}


@pytest.fixture(scope="module")
def whole() -> ad.AnnData:
    made = ad.AnnData(np.random.default_rng(0).normal(size=(400, 6)).astype(np.float32))
    sc.pp.neighbors(made, use_rep="X")
    return made


@pytest.fixture
def part(whole) -> ad.AnnData:
    return whole[::4].copy()


def knn_of(adata: ad.AnnData, **options) -> str:
    return vc.tl.plan(adata, **options).stages["knn"].name


def without_rows(adata: ad.AnnData) -> ad.AnnData:
    return ad.AnnData(obs=adata.obs.copy(), obsp=dict(adata.obsp), uns=dict(adata.uns))


def test_whole_ones_are_taken(whole, caplog):
    with caplog.at_level(logging.WARNING, "vicinal"):
        assert knn_of(whole, n_neighbors=6) == "given"
        vc.tl.plan(whole)
    assert not caplog.messages


def test_what_was_cut_is_searched_afresh(part, caplog):
    with caplog.at_level(logging.WARNING, "vicinal"):
        vc.tl.embed(part, n_neighbors=6, **FEW)
    assert any("of 100 cells have fewer than 5 neighbours" in t and "searched afresh" in t for t in caplog.messages)
    again = part.copy()
    vc.tl.embed(again, n_neighbors=6, knn="exact", **FEW)
    assert np.array_equal(part.obsm["X_umap"], again.obsm["X_umap"])


def test_so_it_is_where_zeros_were_dropped():
    counts = np.random.default_rng(0).poisson(0.15, size=(300, 12)).astype(np.float32)
    adata = ad.AnnData(counts)
    sc.pp.neighbors(adata, use_rep="X", n_neighbors=5)
    assert knn_of(adata, n_neighbors=4) == "given"
    adata.obsp["distances"].eliminate_zeros()
    assert knn_of(adata, n_neighbors=4) == "exact"


def test_without_a_representation_it_is_said(part, caplog):
    alone = without_rows(part)
    with caplog.at_level(logging.WARNING, "vicinal"):
        vc.tl.embed(alone, n_neighbors=6, **FEW)
    assert any("fewer than 5 neighbours" in t and "nothing to search afresh in" in t for t in caplog.messages)
    assert "fewer than 5 neighbours" in alone.uns["umap"]["reasons"]["knn"]


def test_nor_is_another_space_searched(part):
    part.obsm["X_pca"] = np.random.default_rng(1).normal(size=(100, 5)).astype(np.float32)
    part.uns["neighbors"]["params"]["use_rep"] = "X_gone"
    del part.X
    vc.tl.embed(part, n_neighbors=6, **FEW)
    assert part.uns["umap"]["backends"]["knn"] == "given@vicinal" and part.uns["umap"]["score"] == {}


def test_few_cells_that_lack_some_are_let_be(whole):
    adata = whole.copy()
    for cell in range(4):
        adata.obsp["distances"].data[adata.obsp["distances"].indptr[cell] :][:12] = np.inf
    assert knn_of(adata, n_neighbors=6) == "given"
    for cell in range(6):
        adata.obsp["distances"].data[adata.obsp["distances"].indptr[cell] :][:12] = np.inf
    assert knn_of(adata, n_neighbors=6) == "exact"


def test_a_map_of_a_cut_graph_says_so(part, whole, caplog):
    with caplog.at_level(logging.WARNING, "vicinal"):
        vc.tl.embed(part, **FEW)
    assert any("fewer than 14 edges" in t and "it was cut" in t for t in caplog.messages)
    assert "fewer than 14 edges" in part.uns["umap"]["reasons"]["graph"]
    assert "fewer" not in vc.tl.plan(whole).stages["graph"].reason


def test_a_graph_that_does_not_say_how_many(part):
    part.uns["neighbors"]["params"] = {"n_neighbors": 15, "coord_type": "generic"}
    assert "fewer" not in vc.tl.plan(part).stages["graph"].reason
    del part.uns["neighbors"]
    assert "fewer" not in vc.tl.plan(part).stages["graph"].reason


def test_t_sne_of_a_part_without_a_representation(whole):
    part = without_rows(whole)
    part.obsp["distances"] = whole.obsp["distances"].copy()
    part.obsp["distances"].data[:30] = np.inf
    vc.tl.embed(part, "tsne", perplexity=4, **FEW)
    assert "fewer" not in part.uns["tsne"]["reasons"]["knn"]  # of 3 cells in 400
    assert vc.tl.plan(whole, "tsne", perplexity=4).stages["knn"].name == "given"
