"""What a backend may ask the pipeline for while it works: other maps, indices, a place for what it found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import Graph, Layout
from vicinal.contract.options import EmbedOptions
from vicinal.contract.requests import KnnRequest
from vicinal.contract.seeds import child_seed
from vicinal.contract.source import Representation, Source, StoredNeighbors
from vicinal.contract.stages import KnnIndex
from vicinal.plugin.manager import get_manager

from . import policy
from .plan import Plan, make_sub_plan


class RunHost:
    """Serves the backends of one run.

    Attributes
    ----------
    kept
        What they kept, by name, one row a cell in the order that rows are worked on.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self.kept: dict[str, np.ndarray] = {}

    def embed(
        self, rows: NDArray[np.float32] | None, arguments: Mapping[str, Any], graph: Graph | None = None
    ) -> Layout:
        """Return a map of some rows, or of a graph."""
        from .run import Run

        source = sub_source(rows, graph)
        run = Run(make_sub_plan(self._plan, source, arguments), source)
        run.complete()
        return run.layout

    def index(self, rows: NDArray[np.float32], k: int) -> KnnIndex:
        """Return an index over some rows that is to be asked for ``k`` neighbours."""
        plan, manager = self._plan, get_manager()
        options = EmbedOptions(metric=plan.metric_function or plan.metric, metric_kwds=dict(plan.metric_kwds))
        entry = manager.resolve("knn", policy.auto_index(options, *rows.shape))
        request = KnnRequest(
            representation=np.ascontiguousarray(rows),
            k=min(k, len(rows) - 1),
            n_obs=len(rows),
            metric=plan.metric,
            metric_function=plan.metric_function,
            metric_kwds=plan.metric_kwds,
            seed=child_seed(plan.random_state, "index"),
            n_jobs=plan.n_jobs,
        )
        return manager.load(entry)(entry.spec.params()).build(request)  # type: ignore[union-attr]

    def keep(self, name: str, values: np.ndarray) -> None:
        """Keep values, one row a cell, beside the map."""
        self.kept[name] = values


def sub_source(rows: NDArray[np.float32] | None, graph: Graph | None) -> Source:
    """Return what a map that is made on the way is made from."""
    representation = None if rows is None else Representation(name="sample", values=rows)
    stored = None if graph is None else StoredNeighbors(key="graph", graph=graph, neighbors=None, n_neighbors=None)
    n_obs = graph.n_obs if graph is not None else len(rows) if rows is not None else 0
    return Source(n_obs=n_obs, representation=representation, stored=stored)
