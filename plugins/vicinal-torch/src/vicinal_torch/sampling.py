"""Draws batches: edges in proportion to their weight, and pairs to keep apart."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from vicinal.api import Graph, alias_tables, child_seed

WALK = 6
NEGATIVES_AN_EDGE = 16


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

    A walk that starts at a cell drawn by the sum of its weights, and goes on from cell to cell by weight, meets every
    edge of a symmetric graph in proportion to its weight at every step. So each cell but the ends serves two edges,
    and a batch holds more edges than half its cells. In a directed graph that is not so, and a walk is one edge.

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
        self._walk = 2 if graph.directed else WALK
        self.n_walks = max(1, -(-batch_size // (self._walk - 1)))
        self.n_edges = self.n_walks * (self._walk - 1)
        weights = graph.weights if trained is None else _weights_within(graph, trained)
        degrees = _degrees(graph, weights)
        self.total = float(degrees.sum(dtype=np.float64))
        self._device = device
        self._cells = _Table(device, np.array([0, graph.n_obs]), degrees)
        self._edges = _Table(device, graph.indptr, weights)
        self._ends = torch.from_numpy(np.require(graph.indices, requirements="W")).to(device)
        chosen = np.arange(graph.n_obs) if trained is None else np.flatnonzero(trained)
        self._any = torch.from_numpy(chosen).to(device) if uniform else None

    @property
    def n_cells(self) -> int:
        """Cells in a batch."""
        return self.n_walks * self._walk + self._n_uniform

    @property
    def _n_uniform(self) -> int:
        return 0 if self._any is None else self.n_walks

    def draw(self, n_batches: int, seed: int) -> list[Draw]:
        """Return batches, which are a function of the seed."""
        generator = torch.Generator(self._device).manual_seed(seed)
        n_walks = n_batches * self.n_walks
        path = [self._cells.draw_any(n_walks, generator)]
        for _ in range(self._walk - 1):
            path.append(self._ends[self._edges.draw(path[-1], generator)].long())
        batches = torch.stack(path).view(self._walk, n_batches, self.n_walks).transpose(0, 1).flatten(1)
        if self._any is not None:
            shape = (n_batches, self.n_walks)
            drawn = torch.randint(len(self._any), shape, generator=generator, device=self._device)
            batches = torch.cat([batches, self._any[drawn]], dim=1)
        shifts = self._shifts(n_batches, child_seed(seed, "shifts"))
        return [
            Draw(cells, self.n_walks, self.n_edges, tuple(far), self._n_uniform)
            for cells, far in zip(batches, shifts, strict=True)
        ]

    def _shifts(self, n_batches: int, seed: int) -> list[list[int]]:
        around = self._n_uniform or self.n_walks * self._walk
        generator = np.random.Generator(np.random.Philox(key=seed))
        return generator.integers(0 if self._n_uniform else 1, around, (n_batches, NEGATIVES_AN_EDGE)).tolist()


class _Table:
    """Draws entries of consecutive stretches by weight, each in one look."""

    def __init__(self, device: torch.device, starts: NDArray[np.integer], weights: NDArray[np.float32]) -> None:
        shares, others = alias_tables(starts, weights)
        self._starts = torch.from_numpy(np.asarray(starts[:-1], dtype=np.int64)).to(device)
        self._sizes = torch.from_numpy(np.diff(starts).astype(np.float32)).to(device)
        self._shares, self._others = torch.from_numpy(shares).to(device), torch.from_numpy(others).to(device)

    def draw_any(self, n: int, generator: torch.Generator) -> Tensor:
        """Return entries of the only stretch, which may be so long that fractions would not tell them all apart."""
        device = self._shares.device
        entries = torch.randint(len(self._shares), (n,), generator=generator, device=device)
        return self._kept_or_other(entries, self._starts[0], torch.rand(n, generator=generator, device=device))

    def draw(self, stretches: Tensor, generator: torch.Generator) -> Tensor:
        """Return an entry of each of the stretches, counted from the beginning of all."""
        where, kept = torch.rand(2, len(stretches), generator=generator, device=stretches.device)
        first, sizes = self._starts[stretches], self._sizes[stretches]
        # A product may round up to the size itself, and a stretch be empty.
        entries = first + torch.minimum((where * sizes).floor(), sizes - 1).clamp_(min=0).long()
        return self._kept_or_other(entries.clamp_(max=len(self._shares) - 1), first, kept)

    def _kept_or_other(self, entries: Tensor, first: Tensor, kept: Tensor) -> Tensor:
        return torch.where(kept < self._shares[entries], entries, first + self._others[entries])


def _degrees(graph: Graph, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the sum of each cell's weights."""
    sums = np.concatenate([[0.0], np.cumsum(weights, dtype=np.float64)])
    return np.maximum(np.diff(sums[graph.indptr]), 0).astype(np.float32)


def _weights_within(graph: Graph, trained: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the weights, 0 where an end is not among the cells."""
    owners = np.repeat(trained, np.diff(graph.indptr))
    return np.where(owners & trained[graph.indices], graph.weights, np.float32(0))
