"""The order cells are moved in, and their edges laid out in that order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import Graph, Layout

ROUNDS = 4
"""Parts of a pass. Cells of a later part see where those of the earlier ones have gone: neighbours that all moved
at once would pass each other by, which costs quality while steps are long."""
CELLS_SORTED_TOGETHER = 4096
ARRANGED_AT_ONCE = 65_536


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Cells in the order they are moved in, 6 bytes an edge.

    Attributes
    ----------
    order, rank
        int32 ``(n_obs,)``: the cells in their order, and the place of each in it.
    starts, ends, shares
        The edges, as `vicinal.kernels.lanes.arrange` writes them; cells that stay have none.
    most_uses
        At least the largest number of edges that a cell uses in a pass.
    """

    order: NDArray[np.int32]
    rank: NDArray[np.int32]
    starts: NDArray[np.int64]
    ends: NDArray[np.int32]
    shares: NDArray[np.uint16]
    most_uses: int

    @classmethod
    def of(cls, graph: Graph, fixed: NDArray[np.bool_] | None, *, width: int, n_passes: int, n_jobs: int) -> Schedule:
        """Lay out a graph for passes that each use an equal part of the weights.

        Parameters
        ----------
        width
            Cells that are moved side by side; these use about as many edges.
        """
        from vicinal.kernels.lanes import LARGEST_WEIGHT, ONE_USE, arrange, uses_per_epoch
        from vicinal.kernels.parallel import over_rows

        n_obs = graph.n_obs
        stays = read_only(np.zeros(n_obs) if fixed is None else fixed, np.bool_)
        indptr, indices = read_only(graph.indptr, np.int64), read_only(graph.indices, np.int32)
        weights = read_only(graph.weights, np.float32)
        scale = np.float32(LARGEST_WEIGHT / (weights.max(initial=0) or 1) / n_passes)
        uses = np.zeros(n_obs, dtype=np.int64)
        uses_per_epoch(indptr, weights, scale, stays, uses)
        order, rank = _dealt_order(uses, width)
        starts = read_only(np.append(0, np.cumsum(np.where(stays, 0, np.diff(indptr))[order])), np.int64)
        ends, shares = np.empty(starts[-1], dtype=np.int32), np.empty(starts[-1], dtype=np.uint16)
        edges = (indptr, indices, weights, scale, order, rank, starts, ends, shares)
        over_rows(lambda start, stop: arrange(*edges, start, stop), n_obs, n_jobs, chunk=ARRANGED_AT_ONCE)
        return cls(
            order=order,
            rank=rank,
            starts=starts,
            ends=read_only(ends, np.int32),
            shares=read_only(shares, np.uint16),
            most_uses=int(uses.max(initial=0)) // ONE_USE + 2,
        )

    def arranged(self, layout: Layout) -> Layout:
        """Return a layout in this order, a copy."""
        return np.ascontiguousarray(layout, dtype=np.float32)[self.order]

    def restored(self, layout: Layout) -> Layout:
        """Return a layout in the order of the graph, a copy."""
        return layout[self.rank]


def _dealt_order(uses: NDArray[np.int64], width: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return an order, and its inverse, of blocks of cells with about as many uses, dealt out to the rounds in turn.

    The last block, which may be short, stays last.
    """
    n_obs = len(uses)
    order = np.lexsort((-uses, np.arange(n_obs) // CELLS_SORTED_TOGETHER)).astype(np.int32)
    whole = n_obs // width
    blocks = order[: whole * width].reshape(whole, width)
    dealt = np.concatenate([*(blocks[part::ROUNDS].ravel() for part in range(ROUNDS)), order[whole * width :]])
    rank = np.empty_like(dealt)
    rank[dealt] = np.arange(n_obs, dtype=np.int32)
    return read_only(dealt, np.int32), read_only(rank, np.int32)


def rounds(n_obs: int, width: int, n_tasks: int) -> list[NDArray[Any]]:
    """Return the edges of the tasks of each round, in blocks of ``width`` cells."""
    n_blocks = -(-n_obs // width)
    ends = np.linspace(0, n_blocks, min(ROUNDS, n_blocks) + 1).astype(int)
    return [np.unique(np.linspace(a, b, n_tasks + 1).astype(int)) for a, b in zip(ends[:-1], ends[1:], strict=True)]


def read_only(array: Any, dtype: type[np.generic]) -> np.ndarray:
    """Return a read-only view: numba compiles anew where some arrays are writable and others are not."""
    view = np.ascontiguousarray(array, dtype=dtype).view()
    view.flags.writeable = False
    return view
