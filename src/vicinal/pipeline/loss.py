"""The number that tells how well a layout does by its objective, the same for every optimizer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import Graph, Layout
from vicinal.contract.seeds import generator
from vicinal.contract.stages import Objective, squared_euclidean

EXACT_UP_TO = 500
"""Cells up to which all pairs are used."""

CHUNK = 1 << 20


@dataclass(frozen=True)
class Pairs:
    """Pairs of cells, and the share of each in a weighted sum."""

    heads: NDArray[np.integer]
    tails: NDArray[np.integer]
    shares: NDArray[np.floating]


class LossProbe:
    """Evaluates the loss that sampling edges with negative samples optimises.

    With w the weights of the stored edges (i, j), W their sum, d the sums of the rows, A and R the objective's
    attraction and repulsion at the squared distance of a pair, and m the negative samples per use of an edge::

        attraction = 1/W  sum_ij w_ij A_ij
        repulsion  = 1/W  m/(2n)  sum_i d_i sum_{j != i} R_ij

    An edge used from either end pulls both cells, a negative sample pushes only the cell it was drawn for; hence the
    1/2. Where all row sums are equal, the expected update of the layout is along the gradient of this loss. Where
    they differ, the update of cell i weighs its push from j by d_i, the gradient by (d_i + d_j) / 2: the update is then
    the gradient of nothing (Damrich and Hamprecht 2021, arXiv:2103.14608). In a directed graph the pull, too, moves
    the owner of the edge alone: the factor is m/n, and the loss is the mean of what the owners lower, each for itself
    and with the others at rest.

    Up to 500 cells the sums are over all pairs. Beyond, they are estimated without bias from a sample that is fixed
    by the seed: edges drawn in proportion to weight, and for each, as in the optimisation, its owner with another
    cell drawn uniformly. So values are comparable along a run and between optimizers.

    Parameters
    ----------
    seed
        Fixes the sample.
    n_pairs
        Edges, and other pairs, in the sample.
    """

    def __init__(self, graph: Graph, objective: Objective, *, seed: int, n_pairs: int = 2_500) -> None:
        self._objective = objective
        self._squared_distances = getattr(objective, "squared_distances", squared_euclidean)
        factor = objective.negative_sample_rate / max(graph.n_obs, 1) * (1.0 if graph.directed else 0.5)
        if graph.n_obs <= EXACT_UP_TO or not graph.weights.any():
            self._edges, self._others = _all_pairs(graph, factor)
        else:
            self._edges, self._others = _sampled_pairs(graph, factor, seed, n_pairs)

    def evaluate(self, layout: Layout) -> dict[str, float]:
        """Return ``attraction`` and ``repulsion``, whose sum is the loss; both are 0 for a graph without edges."""
        return {
            "attraction": self._weighted_sum(self._edges, self._objective.attraction, layout),
            "repulsion": self._weighted_sum(self._others, self._objective.repulsion, layout),
        }

    def _weighted_sum(self, pairs: Pairs, loss: Callable[[NDArray], NDArray], layout: Layout) -> float:
        squared = self._squared_distances(layout.take(pairs.heads, axis=0), layout.take(pairs.tails, axis=0))
        return float(np.sum(pairs.shares * loss(squared)))


def _all_pairs(graph: Graph, factor: float) -> tuple[Pairs, Pairs]:
    n_obs = graph.n_obs
    owners = np.repeat(np.arange(n_obs), np.diff(graph.indptr))
    shares = graph.weights / (np.sum(graph.weights, dtype=np.float64) or 1.0)
    degrees = np.bincount(owners, weights=shares, minlength=n_obs)
    joined = np.flatnonzero(degrees)
    heads, tails = np.repeat(joined, n_obs), np.tile(np.arange(n_obs), len(joined))
    apart = heads != tails
    heads, tails = heads[apart], tails[apart]
    return Pairs(owners, graph.indices, shares), Pairs(heads, tails, factor * degrees[heads])


def _sampled_pairs(graph: Graph, factor: float, seed: int, n_pairs: int) -> tuple[Pairs, Pairs]:
    rng, n_obs = generator(seed), graph.n_obs
    edges = _draw_by_weight(graph.weights, (np.arange(n_pairs) + rng.random(n_pairs)) / n_pairs)
    owners = np.searchsorted(graph.indptr, edges, side="right") - 1
    others = rng.integers(0, n_obs - 1, size=n_pairs)
    others += others >= owners
    shares = np.full(n_pairs, 1 / n_pairs)
    return Pairs(owners, graph.indices[edges], shares), Pairs(owners, others, factor * (n_obs - 1) * shares)


def _draw_by_weight(weights: NDArray[np.float32], quantiles: NDArray[np.float64]) -> NDArray[np.intp]:
    """Return the entry at each quantile of the summed weights, in chunks: the running sum of all would be large."""
    starts = range(0, len(weights), CHUNK)
    sums = np.cumsum([0.0, *(np.sum(weights[s : s + CHUNK], dtype=np.float64) for s in starts)])
    targets = quantiles * sums[-1]
    drawn = np.full(len(targets), len(weights) - 1, dtype=np.intp)
    for start, before, after in zip(starts, sums[:-1], sums[1:], strict=True):
        first, last = np.searchsorted(targets, [before, after])
        running = before + np.cumsum(weights[start : start + CHUNK], dtype=np.float64)
        running[-1] = after  # the sum and the running sum may round differently
        drawn[first:last] = start + np.searchsorted(running, targets[first:last], side="right")
    return drawn
