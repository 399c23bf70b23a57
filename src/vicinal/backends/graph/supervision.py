"""Supervision: a graph in which cells of different labels are joined more weakly than their neighbourhood says.

As umap-learn does for categorical targets: the fuzzy set of the neighbourhoods is intersected with that of the labels,
and each cell is then given back an edge of weight 1 (McInnes, Healy and Melville 2018, arXiv:1802.03426).
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import Graph
from vicinal.kernels.parallel import over_rows

UNKNOWN = -1
UNKNOWN_DISTANCE = 1.0
"""Distance, in labels, of a cell whose label is unknown from any other."""
FAR = 2.5
"""Distance between two labels where ``target_weight`` is 0; without limit where it is 1."""


def supervised(graph: Graph, labels: NDArray[np.integer], target_weight: float, n_jobs: int = 1) -> Graph:
    """Return a graph intersected with the labels of its cells.

    A weight falls by exp(-2.5 / (1 - ``target_weight``)) between two labels, by exp(-1) where one of the two is
    unknown. Each row is then divided by its largest weight, and an undirected graph united with its transpose again,
    A + A' - A * A'. Edges that are left without weight are removed.

    Parameters
    ----------
    graph
        Left as it is; what is returned may share its indices.
    labels
        ``(n_obs,)``, -1 where unknown.
    """
    weights, largest = _intersected(graph, labels, _factors(target_weight), n_jobs)
    scales = np.where(largest > 0, largest, np.float32(1))

    def reset(start: int, stop: int) -> None:
        entries, owners, others = _edges(graph, start, stop)
        own = weights[entries] / scales[owners]
        if not graph.directed:
            # The mirror image has the same weight, so the transpose is this weight on the other end's scale.
            mirrored = weights[entries] / scales[others]
            own = np.minimum(own + mirrored - own * mirrored, np.float32(1))
        weights[entries] = own

    over_rows(reset, graph.n_obs, n_jobs)
    return _without_zeros(graph, weights)


def _factors(target_weight: float) -> tuple[float, float]:
    """Return what a weight is multiplied with between two labels, and where one of the two is unknown."""
    far = FAR / (1 - target_weight) if target_weight < 1 else math.inf
    return math.exp(-far), math.exp(-UNKNOWN_DISTANCE)


def _intersected(
    graph: Graph, labels: NDArray[np.integer], factors: tuple[float, float], n_jobs: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the weights of the intersection, and the largest of each row."""
    weights, largest = np.empty_like(graph.weights), np.zeros(graph.n_obs, dtype=np.float32)
    between, unknown = factors

    def intersect(start: int, stop: int) -> None:
        entries, owners, others = _edges(graph, start, stop)
        own, other = labels[owners], labels[others]
        factor = np.where(own == other, 1.0, between)
        factor[(own == UNKNOWN) | (other == UNKNOWN)] = unknown
        weights[entries] = graph.weights[entries] * factor
        np.maximum.at(largest, owners, weights[entries])

    over_rows(intersect, graph.n_obs, n_jobs)
    return weights, largest


def _edges(graph: Graph, start: int, stop: int) -> tuple[slice, NDArray[np.intp], NDArray[np.int32]]:
    """Return where the edges of some rows are stored, and both their ends."""
    entries = slice(int(graph.indptr[start]), int(graph.indptr[stop]))
    owners = np.repeat(np.arange(start, stop), np.diff(graph.indptr[start : stop + 1]))
    return entries, owners, graph.indices[entries]


def _without_zeros(graph: Graph, weights: NDArray[np.float32]) -> Graph:
    kept = weights > 0
    if kept.all():
        return dataclasses.replace(graph, weights=weights)
    n_before = np.zeros(len(kept) + 1, dtype=graph.indptr.dtype)
    np.cumsum(kept, dtype=n_before.dtype, out=n_before[1:])
    return dataclasses.replace(graph, indptr=n_before[graph.indptr], indices=graph.indices[kept], weights=weights[kept])
