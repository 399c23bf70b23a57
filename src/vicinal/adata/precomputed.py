"""A matrix of distances between all cells, as the neighbours that it holds."""

from __future__ import annotations

import dataclasses
from typing import Any

import anndata as ad
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vicinal.contract.data import MISSING
from vicinal.contract.errors import InputError, did_you_mean, listing
from vicinal.contract.metrics import PRECOMPUTED
from vicinal.contract.options import EUCLIDEAN, EmbedOptions
from vicinal.pipeline.plan import stored_neighbors_wanted
from vicinal.plugin.manager import get_manager

from .pieces import readable
from .stored import check_source, checked_rows, is_sparse

ROWS_AT_ONCE = 2**22
"""Distances of a dense matrix that are looked at at a time."""


def with_precomputed(adata: object, options: EmbedOptions) -> EmbedOptions:
    """Return options with the neighbours that a matrix of distances holds, where the metric is ``precomputed``.

    Raises
    ------
    InputError
        If there is no such matrix, or it cannot be one of distances.
    """
    is_asked = isinstance(options.metric, str) and options.metric == PRECOMPUTED
    if (
        not is_asked
        or not isinstance(adata, ad.AnnData)
        or not (isinstance(options.knn, str) and options.knn == "auto")
    ):
        return options
    if options.n_pcs is not None:
        raise InputError(f"n_pcs={options.n_pcs!r} is not allowed with metric='precomputed'; leave it out")
    if isinstance(options.init, str) and options.init == "pca":
        raise InputError(
            "init='pca' is not allowed with metric='precomputed': distances have no columns; give 'spectral'"
        )
    matrix, name = _matrix(adata, options.use_rep)
    wanted = _wanted(options, adata.n_obs)
    knn = _of_sparse(matrix, wanted) if sparse.issparse(matrix) else _of_dense(np.asarray(matrix), wanted, name)
    return dataclasses.replace(options, knn=knn, use_rep=None)


def _matrix(adata: ad.AnnData, name: Any) -> tuple[Any, str]:
    """Return the matrix of distances of a name, checked for its shape, a sparse one as rows that were checked."""
    check_source(adata)
    slots = {"X": adata.X, **dict(adata.layers), **dict(adata.obsm), **dict(adata.obsp)}
    square = [key for key, value in slots.items() if getattr(value, "shape", None) == (adata.n_obs, adata.n_obs)]
    if not isinstance(name, str) or name not in slots:
        given = f"use_rep={name!r}" if name is not None else "use_rep"
        msg = f"metric='precomputed': {given} must name a matrix of distances in obsp, obsm, layers, or 'X'"
        raise InputError(f"{msg}; square ones are {listing(square)}.{did_you_mean(name, square)}")
    matrix = slots[name]
    if name not in square:
        shape, n_obs = getattr(matrix, "shape", None), adata.n_obs
        raise InputError(f"metric='precomputed': {name!r} has shape {shape}; expected ({n_obs}, {n_obs})")
    if is_sparse(matrix):
        return checked_rows(matrix, repr(name)), name
    return matrix if isinstance(matrix, np.ndarray) else readable(matrix, name), name


def _wanted(options: EmbedOptions, n_obs: int) -> int:
    """Return how many neighbours a map takes, the cell itself counted."""
    plain = dataclasses.replace(options, metric=EUCLIDEAN, use_rep=None)
    wanted = stored_neighbors_wanted(plain, n_obs) or options.n_neighbors or get_manager().preset("umap").n_neighbors
    return min(int(wanted), n_obs) if isinstance(wanted, int | np.integer) and wanted > 0 else n_obs


def _of_dense(matrix: NDArray[Any], wanted: int, name: str) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the nearest of each row, the cell itself among them; ties go to the smaller index."""
    if matrix.dtype.kind not in "fiub":
        raise InputError(f"metric='precomputed': {name!r} has dtype {matrix.dtype}; expected real numbers")
    n_obs = len(matrix)
    indices, distances = np.empty((n_obs, wanted), np.int64), np.empty((n_obs, wanted))
    step = max(1, ROWS_AT_ONCE // n_obs)
    for start in range(0, n_obs, step):
        part = np.array(matrix[start : start + step], dtype=np.float64)
        own = np.arange(len(part)), start + np.arange(len(part))
        part[own] = -np.inf
        order = np.argsort(part, axis=1, kind="stable")[:, :wanted]
        part[own] = 0.0
        indices[start : start + step] = order
        distances[start : start + step] = np.take_along_axis(part, order, axis=1)
    return indices, distances


def _of_sparse(matrix: Any, wanted: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the nearest of the stored entries of each row, zeros that are stored included."""
    coo = sparse.coo_matrix(matrix)
    keep = coo.row != coo.col
    rows, columns, values = coo.row[keep], coo.col[keep], coo.data[keep].astype(np.float64)
    order = np.lexsort((columns, values, rows))
    rows, columns, values = rows[order], columns[order], values[order]
    counts = np.bincount(rows, minlength=coo.shape[0])
    place = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    near = place < wanted - 1
    width = max(int(min(counts.max(initial=0), wanted - 1)), 1)
    indices, distances = np.full((coo.shape[0], width), MISSING, np.int64), np.full((coo.shape[0], width), np.inf)
    indices[rows[near], place[near]], distances[rows[near], place[near]] = columns[near], values[near]
    return indices, distances
