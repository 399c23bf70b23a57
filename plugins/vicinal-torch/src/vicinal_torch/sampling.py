"""Draws batches: edges in proportion to their weight, and pairs to keep apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vicinal.api import Graph, child_seed

WALK = 4
NEGATIVES_AN_EDGE = 5


@dataclass(frozen=True)
class Draw:
    """A batch of cells.

    Attributes
    ----------
    cells
        int64 ``(m,)``, one after the other the first cells of all walks, the second ones, and so on; then, where
        negatives are uniform, any cells.
    n_walks
        Walks: cell ``p`` and cell ``p + n_walks`` share an edge.
    n_edges
        Edges: the first as many cells begin one.
    shifts
        How far from the beginning of an edge the cells are, around the others, that it is kept apart from.
    n_uniform
        Cells at the end that are there to keep apart from alone.
    """

    cells: Tensor
    n_walks: int
    n_edges: int
    shifts: tuple[int, ...]
    n_uniform: int = 0


class EdgeSampler:
    """Draws edges by weight, as walks over the graph.

    A walk that starts with an edge drawn by weight, and goes on from cell to cell by weight, meets every edge of a
    symmetric graph in proportion to its weight at every step. So each cell but the ends serves two edges, and a
    batch holds more edges than half its cells. In a directed graph that is not so, and a walk is one edge.

    Parameters
    ----------
    batch_size
        Edges in a batch.
    trained
        Boolean ``(n_obs,)``: the cells whose edges are drawn; None for all.
    device
        Where the batches are used.
    uniform
        Whether pairs to keep apart are with any cells rather than those of the batch.
    """

    def __init__(
        self, graph: Graph, batch_size: int, trained: NDArray[np.bool_] | None, device: torch.device, *, uniform: bool
    ) -> None:
        # Double precision, which sums of weights need, is not everywhere.
        self._to, device = device, device if device.type == "cuda" else torch.device("cpu")
        self._walk = 2 if graph.directed else WALK
        self.n_walks = max(1, -(-batch_size // (self._walk - 1)))
        self.n_edges = self.n_walks * (self._walk - 1)
        weights = graph.weights if trained is None else _weights_within(graph, trained)
        sums = np.cumsum(weights, dtype=np.float64)
        self.total = float(sums[-1]) if len(sums) else 0.0
        self._starts = torch.from_numpy(np.asarray(graph.indptr, dtype=np.int64)).to(device)
        self._ends = torch.from_numpy(np.require(graph.indices, requirements="W")).to(device)
        self._sums = torch.from_numpy(sums).to(device)
        cells = np.arange(graph.n_obs) if trained is None else np.flatnonzero(trained)
        self._cells = torch.from_numpy(cells).to(device) if uniform else None
        self._device = device

    @property
    def n_cells(self) -> int:
        """Cells in a batch."""
        return self.n_walks * self._walk + self._n_uniform

    @property
    def _n_uniform(self) -> int:
        return 0 if self._cells is None else self.n_walks

    def draw(self, n_batches: int, seed: int) -> list[Draw]:
        """Return batches, which are a function of the seed."""
        generator = torch.Generator(self._device).manual_seed(seed)
        n_walks = n_batches * self.n_walks
        draws = torch.rand(self._walk - 1, n_walks, generator=generator, device=self._device, dtype=torch.float64)
        edges = torch.searchsorted(self._sums, draws[0] * self.total, right=True).clamp_(max=len(self._sums) - 1)
        path = [torch.searchsorted(self._starts, edges, right=True) - 1, self._ends[edges].long()]
        for draw in draws[1:]:
            path.append(self._step(path[-1], draw))
        batches = torch.stack(path).view(self._walk, n_batches, self.n_walks).transpose(0, 1).flatten(1)
        if self._cells is not None:
            shape = (n_batches, self.n_walks)
            drawn = torch.randint(len(self._cells), shape, generator=generator, device=self._device)
            batches = torch.cat([batches, self._cells[drawn]], dim=1)
        batches, shifts = batches.to(self._to), self._shifts(n_batches, child_seed(seed, "shifts"))
        return [
            Draw(cells, self.n_walks, self.n_edges, tuple(far), self._n_uniform)
            for cells, far in zip(batches, shifts, strict=True)
        ]

    def _step(self, cells: Tensor, draw: Tensor) -> Tensor:
        """Return, for each cell, a neighbour drawn by weight."""
        first, last = self._starts[cells], self._starts[cells + 1] - 1
        low, high = torch.where(first > 0, self._sums[first - 1], 0.0), self._sums[last]
        # Rounding must not reach the sum of all, behind which there may be edges that weigh nothing.
        aim = torch.minimum(low + draw * (high - low), torch.nextafter(high, low))
        edges = torch.searchsorted(self._sums, aim, right=True)
        return self._ends[torch.minimum(torch.maximum(edges, first), last)].long()

    def _shifts(self, n_batches: int, seed: int) -> list[list[int]]:
        around = self._n_uniform or self.n_walks * self._walk
        generator = np.random.Generator(np.random.Philox(key=seed))
        return generator.integers(0 if self._n_uniform else 1, around, (n_batches, NEGATIVES_AN_EDGE)).tolist()


def _weights_within(graph: Graph, trained: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the weights, 0 where an end is not among the cells."""
    owners = np.repeat(trained, np.diff(graph.indptr))
    return np.where(owners & trained[graph.indices], graph.weights, np.float32(0))
