"""Whether rows give the neighbours that are stored, told from a sample of these."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vicinal.contract.data import MISSING, Neighbors
from vicinal.contract.metrics import checked_kwds

N_PAIRS = 256
"""Stored distances that are computed anew."""
N_CELLS = 64
"""Cells whose nearest neighbour is looked for among those that a graph links them to."""
LINKED_ENOUGH = 5
"""Links of a cell that must have its nearest neighbour among them."""
FEWEST = 10
"""Cells with so many links, below which nothing can be told."""
SAME = 0.01
"""Share by which a distance may differ: approximate arithmetic, another solver of the same PCA."""
MOST = 0.8
"""Share of the sample that must be as stored."""
POWERS = (1.0, 2.0, 0.5)
"""Distances may be stored squared, or in another unit."""

Measure = Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]]


@dataclass(frozen=True)
class Pairs:
    """Pairs of cells with their stored distance."""

    rows: NDArray[np.intp]
    columns: NDArray[np.intp]
    distances: NDArray[np.float64]


def pairs_of_table(table: Neighbors) -> Pairs:
    """Return entries of a neighbour table, of cells that are evenly spaced."""
    if table.k == 0:
        return Pairs(np.empty(0, np.intp), np.empty(0, np.intp), np.empty(0))
    rows = _evenly(table.n_obs, 4 * N_PAIRS)
    places = np.arange(len(rows)) % max(1, table.k)
    usable = np.flatnonzero((table.indices[rows, places] != MISSING) & np.isfinite(table.distances[rows, places]))
    some = usable[_evenly(len(usable))]
    rows, places = rows[some], places[some]
    return Pairs(rows, table.indices[rows, places].astype(np.intp), table.distances[rows, places].astype(np.float64))


def pairs_of_matrix(matrix: Any) -> Pairs:
    """Return evenly spaced entries of a sparse matrix, off its diagonal and finite."""
    csr = sparse.csr_matrix(matrix)
    some = _evenly(csr.nnz, 4 * N_PAIRS)
    rows = np.searchsorted(csr.indptr, some, side="right") - 1
    columns, distances = csr.indices[some], csr.data[some].astype(np.float64)
    usable = np.flatnonzero((rows != columns) & np.isfinite(distances) & (distances >= 0))
    usable = usable[_evenly(len(usable))]
    return Pairs(rows[usable].astype(np.intp), columns[usable].astype(np.intp), distances[usable])


def _evenly(n: int, at_most: int = N_PAIRS) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, n - 1, min(n, at_most)).astype(np.intp)) if n else np.empty(0, np.intp)


def share_reproduced(
    values: NDArray[np.float32], pairs: Pairs, metric: str | None, kwds: Mapping[str, Any] | None = None
) -> float | None:
    """Return the share of stored distances that rows give, up to one factor; None where that cannot be told.

    Parameters
    ----------
    values
        ``(n_obs, n_features)``.
    metric
        As recorded; None to try the usual ones.
    """
    if len(pairs.rows) == 0:
        return None
    a, b = values[pairs.rows].astype(np.float64), values[pairs.columns].astype(np.float64)
    measures = [_euclidean, _cosine] if metric is None else _measures_of(metric, kwds or {})
    made = [found for found in (_tried(measure, a, b) for measure in measures) if found is not None]
    if not made:
        return None
    share = max(_share_alike(pairs.distances, found) for found in made)
    # Old records do not say how many columns were taken.
    return max(share, _by_some_columns(a, b, pairs.distances)) if share < MOST and _euclidean in measures else share


def _measures_of(metric: str, kwds: Mapping[str, Any]) -> list[Measure]:
    from vicinal.kernels.metrics import pair_distances

    own = {"cosine": _cosine, "angular": _cosine, "manhattan": _manhattan, "l1": _manhattan, "cityblock": _manhattan}
    if metric in own:
        return [own[metric]]
    if metric in ("euclidean", "l2", "sqeuclidean") or (metric == "minkowski" and kwds in ({}, {"p": 2})):
        return [_euclidean]
    return [lambda a, b: pair_distances(a, b, metric, checked_kwds(metric, kwds))]


def _tried(measure: Measure, a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64] | None:
    try:
        with np.errstate(all="ignore"):
            found = measure(a, b)
    except (ValueError, TypeError, KeyError, AttributeError):  # a metric that only its own library knows
        return None
    return found if np.isfinite(found).all() else None


def _euclidean(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(np.square(a - b).sum(axis=1))


def _manhattan(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.abs(a - b).sum(axis=1)


def _cosine(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    return np.maximum(0.0, 1 - np.divide((a * b).sum(axis=1), lengths, out=np.ones(len(a)), where=lengths > 0))


def _share_alike(stored: NDArray[np.float64], made: NDArray[np.float64]) -> float:
    """Return the share of distances that are as stored, raised to some power and in some unit."""
    return max(_share_in_one_unit(stored, made**power) for power in POWERS)


def _share_in_one_unit(stored: NDArray[np.float64], made: NDArray[np.float64]) -> float:
    apart = (made > 0) & (stored > 0)
    factor = float(np.median(stored[apart] / made[apart])) if apart.any() else 1.0
    typical = float(np.median(made)) * factor
    expected = made * factor
    return float((np.abs(stored - expected) <= SAME * np.maximum(expected, 0.1 * typical)).mean())


def _by_some_columns(a: NDArray[np.float64], b: NDArray[np.float64], stored: NDArray[np.float64]) -> float:
    """Return the largest share that any number of columns, from the front, gives."""
    longer = np.sqrt(np.cumsum(np.square(a - b), axis=1))
    return max(_share_alike(stored, longer[:, n]) for n in range(longer.shape[1]))


def share_linked(values: NDArray[np.float32], graph: Any, metric: str | None) -> float | None:
    """Return the share of cells that a graph links to their nearest neighbour; None where that cannot be told."""
    if metric not in (None, "euclidean", "l2", "cosine"):
        return None
    links = sparse.csr_matrix(graph)
    able = np.flatnonzero(np.diff(links.indptr) >= LINKED_ENOUGH)
    if len(able) < FEWEST:
        return None
    cells = able[_evenly(len(able), N_CELLS)]
    near = _distances_to_nearest(values, cells, metric)
    linked = np.array([_nearest_linked(values, links, cell, metric) for cell in cells])
    return float((linked <= near * (1 + SAME)).mean())


def _measure(metric: str | None) -> Measure:
    return _cosine if metric == "cosine" else _euclidean


def _nearest_linked(values: NDArray[np.float32], links: Any, cell: int, metric: str | None) -> float:
    others = links.indices[links.indptr[cell] : links.indptr[cell + 1]]
    others = others[others != cell]
    rows = values[others].astype(np.float64)
    own = np.broadcast_to(values[cell].astype(np.float64), rows.shape)
    return float(_measure(metric)(own, rows).min(initial=np.inf))


def _distances_to_nearest(
    values: NDArray[np.float32], cells: NDArray[np.intp], metric: str | None
) -> NDArray[np.float64]:
    from vicinal.kernels.knn import Reference, nearest_rows
    from vicinal.kernels.processors import available_threads

    reference = Reference.pack(values, "cosine" if metric == "cosine" else "euclidean")
    found, _ = nearest_rows(reference, values[cells], 1, own=cells, n_jobs=available_threads())
    return _measure(metric)(values[cells].astype(np.float64), values[found[:, 0]].astype(np.float64))
