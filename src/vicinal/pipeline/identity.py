"""What a run was started with, as digests: a checkpoint is taken up only by the run it belongs to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from vicinal.contract.data import Graph
from vicinal.contract.source import Source

from .plan import Plan
from .rows import RowOrder


def identify(plan: Plan, params: Mapping[str, Any], source: Source) -> str:
    """Return a SHA-256 of the arguments of a run and of the rows and positions it was given."""
    backends = {stage: choice.full_name for stage, choice in plan.stages.items()}
    arguments = (
        sorted(params.items()),
        sorted(backends.items()),
        plan.course.snapshots,
        plan.n_obs,
        *plan.course.phases,
    )
    arrays = {
        "representation": source.representation.values if source.representation else None,
        "labels": source.labels,
        "fixed": source.fixed,
        **source.arrays,
    }
    digest = hashlib.sha256(repr(arguments).encode())
    for name, array in sorted(arrays.items()):
        if array is not None:
            digest.update(f"{name}{array.dtype}{array.shape}".encode())
            digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def identify_graph(graph: Graph) -> str:
    """Return a SHA-256 of a graph."""
    digest = hashlib.sha256()
    for array in (graph.indptr.astype(np.int64), graph.indices, graph.weights):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def digests_of(plan: Plan, source: Source, rows: RowOrder) -> dict[str, str]:
    """Return a SHA-256 of each thing that was read, by name; ``rows`` is the order that the source was sorted in."""
    stored = source.stored
    arrays: dict[str, np.ndarray | None] = {
        "representation": source.representation.values if source.representation else None,
        "labels": source.labels,
        "fixed": source.fixed,
        **source.arrays,
    }
    digests = {name: _digest(array) for name, array in arrays.items() if array is not None}
    if stored is not None and stored.graph is not None:
        digests["stored_graph"] = identify_graph(stored.graph)
    is_table_used = "knn" in plan.stages and plan.neighbors_key is not None
    if is_table_used and stored is not None and stored.neighbors is not None:
        table = rows.sort_neighbors(stored.neighbors)
        digests["stored_neighbors"] = _digest(table.indices, table.distances)
    return digests


def _digest(*arrays: np.ndarray) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
