"""What the knn backends share: tidy tables out of whatever a library or a user gives."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vicinal.contract.data import MISSING, Neighbors
from vicinal.contract.errors import InputError, did_you_mean, listing

if TYPE_CHECKING:
    from vicinal.kernels.metrics import Space

ROWS_AT_ONCE = 65_536


def tidy(
    indices: NDArray[np.integer], distances: NDArray[np.floating], k: int, *, metric: str, leave_out_self: bool
) -> Neighbors:
    """Return a table of exactly ``k`` columns from ``(n_rows, width)`` arrays.

    Rows are sorted by distance, then by index. A neighbour without an index or a finite distance is missing, a
    repeated one counts once, and with ``leave_out_self`` a row is no neighbour of itself wherever it stands.
    """
    n_rows, width = indices.shape
    table = Neighbors(
        indices=np.full((n_rows, k), MISSING, np.int32),
        distances=np.full((n_rows, k), np.inf, np.float32),
        metric=metric,
    )
    kept = min(k, width)
    for start in range(0, n_rows, ROWS_AT_ONCE):
        rows = slice(start, start + ROWS_AT_ONCE)
        own = np.arange(n_rows)[rows, None] if leave_out_self else np.intp(MISSING)
        nearest, far = _tidy_rows(indices[rows], distances[rows], own)
        table.indices[rows, :kept] = nearest[:, :kept]
        table.distances[rows, :kept] = far[:, :kept]
    return table


def _tidy_rows(indices, distances, own):
    with np.errstate(over="ignore"):
        indices, distances = indices.astype(np.int32), distances.astype(np.float32)
    _drop(indices, distances, (indices < 0) | (indices == own) | ~np.isfinite(distances))
    indices, distances = _reorder(np.lexsort((distances, indices), axis=1), indices, distances)
    repeated = np.zeros(indices.shape, bool)
    repeated[:, 1:] = indices[:, 1:] == indices[:, :-1]
    _drop(indices, distances, repeated)
    return _reorder(np.argsort(distances, axis=1, kind="stable"), indices, distances)


def _drop(indices, distances, which):
    indices[which], distances[which] = MISSING, np.inf


def _reorder(order, *arrays):
    return tuple(np.take_along_axis(array, order, axis=1) for array in arrays)


def from_sparse(matrix: sparse.csr_matrix, k: int, *, metric: str, leave_out_self: bool) -> Neighbors:
    """Return the stored entries of a sparse matrix of distances, zeros included, as a table."""
    counts = np.diff(matrix.indptr)
    stored = np.arange(counts.max(initial=0)) < counts[:, None]
    indices = np.full(stored.shape, MISSING, np.int64)
    distances = np.full(stored.shape, np.inf)
    indices[stored], distances[stored] = matrix.indices, matrix.data
    return tidy(indices, distances, k, metric=metric, leave_out_self=leave_out_self)


def unknown_metric(metric: str, knn: str, known: Collection[str]) -> str:
    """Return the message for a metric that a backend has not: what was meant, then what there is."""
    return f"metric={metric!r} is unknown to knn={knn!r}.{did_you_mean(metric, known)} Allowed are {listing(known)}"


def coordinates_in(space: Space, rows: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return rows in the coordinates of a metric, or raise `InputError` where they have none."""
    try:
        return space.of_rows(rows)
    except ValueError as error:
        raise InputError(str(error)) from error


def check_columns(rows: np.ndarray, n_features: int) -> None:
    """Raise `InputError` unless ``rows`` can be compared with the reference."""
    if rows.ndim != 2 or rows.shape[1] != n_features:
        msg = f"rows has shape {rows.shape}; expected (n_rows, {n_features}), as the reference has {n_features} columns"
        raise InputError(msg)
