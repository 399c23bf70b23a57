"""Broken sparse matrices, through every door by which one comes in."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import anndata as ad
from fuzz_bases import EPOCHS, OPTIONS, Say, cells, finite
from fuzz_sparse import broken
from scipy import sparse

import vicinal as vc


def sparse_matrix(draw: random.Random, say: Say) -> Any:
    adata = cells()
    door = draw.choice(list(DOORS))
    of_cells = door in ("X", "layer", "obsm")
    base = (
        sparse.csr_matrix(adata.X) if of_cells else adata.obsp["distances" if "distances" in door else "connectivities"]
    )
    matrix, done = broken(base, draw, ["csr", "csc", "coo"] if door == "graph" else ["csr", "csc"])
    say(f"{door}, {done}")
    DOORS[door](adata, matrix)
    return finite(adata, "map")


def _stored(adata: ad.AnnData, key: str, matrix: Any) -> ad.AnnData:
    adata.obsp[key] = matrix
    return adata


def _to_view(adata: ad.AnnData, matrix: Any) -> None:
    view = _stored(adata, "connectivities", matrix)[::2]
    vc.tl.embed(view, **EPOCHS)


def _to_x(adata: ad.AnnData, matrix: Any, **options: Any) -> None:
    adata.X = matrix
    vc.tl.embed(adata, use_rep="X", key_added="map", **OPTIONS)


def _to_slot(adata: ad.AnnData, slot: str, matrix: Any) -> None:
    getattr(adata, slot)["S"] = matrix
    vc.tl.embed(adata, use_rep="S", key_added="map", **OPTIONS)


DOORS: dict[str, Callable[[ad.AnnData, Any], Any]] = {
    "connectivities": lambda a, m: vc.tl.embed(_stored(a, "connectivities", m), **EPOCHS),
    "connectivities, tsne": lambda a, m: vc.tl.embed(
        _stored(a, "connectivities", m), "tsne", graph="precomputed", **EPOCHS
    ),
    "connectivities, plan": lambda a, m: vc.tl.plan(_stored(a, "connectivities", m)),
    "distances": lambda a, m: vc.tl.embed(_stored(a, "distances", m), n_neighbors=4, **EPOCHS),
    "distances, tsne": lambda a, m: vc.tl.embed(_stored(a, "distances", m), "tsne", perplexity=1.5, **EPOCHS),
    "distances, score": lambda a, m: vc.tl.score(_stored(a, "distances", m), "X_pca", n_jobs=1),
    "connectivities of a view": _to_view,
    "distances, precomputed, of a view": lambda a, m: vc.tl.embed(
        _stored(a, "D", m)[::2], metric="precomputed", use_rep="D", **EPOCHS, n_neighbors=4
    ),
    "graph": lambda a, m: vc.tl.embed(a, graph=m, **EPOCHS),
    "distances, precomputed": lambda a, m: vc.tl.embed(
        _stored(a, "D", m), metric="precomputed", use_rep="D", **EPOCHS, n_neighbors=4
    ),
    "X": _to_x,
    "layer": lambda a, m: _to_slot(a, "layers", m),
    "obsm": lambda a, m: _to_slot(a, "obsm", m),
}
