"""The losses of cells that are never trained on."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from vicinal.api import Graph, child_seed

from .rows import Rows
from .sampling import EdgeSampler
from .task import Losses, Task

BATCHES, BATCH_SIZE, NEIGHBORS = 4, 1024, 15


class Validation:
    """Losses on a few batches, the same each time.

    Cells of the map that are held out are validated by the edges that reach them. Other cells are joined to their
    nearest among the trained ones, all by the same weight.
    """

    def __init__(self, losses: Losses, sampler: EdgeSampler, seed: int, counted: Tensor) -> None:
        self._losses, self._counted = losses, counted
        self._draws = sampler.draw(BATCHES, seed)

    @classmethod
    def of(cls, task: Task, losses: Losses, modules: nn.ModuleDict, device: torch.device) -> Validation | None:
        """Return what there is to validate on; None for nothing."""
        seed = child_seed(task.request.seed, "validation")
        if task.held_out is not None:
            sampler = EdgeSampler(_reaching(task.request.graph, task.held_out), BATCH_SIZE, None, device, uniform=False)
            counted = torch.from_numpy(task.held_out.copy()).to(device)
            return cls(losses, sampler, seed, counted) if sampler.total else None
        others = task.request.arrays.get("validation_rows")
        if others is None:
            return None
        graph, values = _joined(task, others)
        theirs = Losses(task, modules, Rows(values, task.dims, device), device, of_others=True)
        sampler = EdgeSampler(graph, BATCH_SIZE, None, device, uniform=False)
        return cls(theirs, sampler, seed, torch.arange(len(values), device=device) < len(others))

    def losses(self) -> dict[str, float]:
        """Return the mean losses, ``validation`` in all."""
        sums: dict[str, float] = {}
        with torch.no_grad():
            for draw in self._draws:
                for name, value in self._losses.of_pairs(draw, self._counted).items():
                    sums[name] = sums.get(name, 0.0) + float(value) / len(self._draws)
        total = sum(sums.values())
        return {"validation": total, **{f"validation_{name}": value for name, value in sums.items()}}


def _reaching(graph: Graph, held_out: np.ndarray) -> Graph:
    """Return the graph with the edges that have an end among those held out, as pairs alone."""
    owners = np.repeat(held_out, np.diff(graph.indptr))
    weights = np.where(owners | held_out[graph.indices], graph.weights, np.float32(0))
    return Graph(indptr=graph.indptr, indices=graph.indices, weights=weights, directed=True)


def _joined(task: Task, others: np.ndarray) -> tuple[Graph, np.ndarray]:
    """Return a graph from other cells to their nearest among the map's, and the rows of both, others first."""
    host, rows = task.request.host, task.request.representation
    assert host is not None
    assert rows is not None
    k = min(NEIGHBORS, len(rows) - 1)
    found = host.index(rows, k).query(others, k)
    near, where = np.unique(found.indices, return_inverse=True)
    ends = (len(others) + where.reshape(found.indices.shape)).astype(np.int32)
    indptr = np.concatenate([np.arange(len(others) + 1) * k, np.full(len(near), len(others) * k)])
    graph = Graph(
        indptr=indptr,
        indices=np.sort(ends, axis=1).ravel(),
        weights=np.ones(ends.size, dtype=np.float32),
        directed=True,
    )
    return graph, np.concatenate([others, rows[near]])
