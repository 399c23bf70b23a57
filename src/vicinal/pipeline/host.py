"""What a backend may ask the pipeline for while it works: other maps, indices, a place for what it found."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import Layout
from vicinal.contract.options import EmbedOptions
from vicinal.contract.requests import KnnRequest
from vicinal.contract.seeds import child_seed
from vicinal.contract.source import Representation, Source
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

    def embed(self, rows: NDArray[np.float32], arguments: Mapping[str, Any]) -> Layout:
        """Return a map of some rows."""
        from .run import Run

        source = Source(n_obs=len(rows), representation=Representation(name="sample", values=rows))
        run = Run(make_sub_plan(self._plan, source, arguments), source)
        run.complete()
        return run.layout

    def index(self, rows: NDArray[np.float32], k: int) -> KnnIndex:
        """Return an index over some rows that is to be asked for ``k`` neighbours."""
        plan, manager = self._plan, get_manager()
        options = EmbedOptions(metric=plan.metric_function or plan.metric)
        entry = manager.resolve("knn", policy.auto_index(options, len(rows)))
        request = KnnRequest(
            representation=np.ascontiguousarray(rows),
            k=min(k, len(rows) - 1),
            n_obs=len(rows),
            metric=plan.metric,
            metric_function=plan.metric_function,
            seed=child_seed(plan.random_state, "index"),
            n_jobs=plan.n_jobs,
        )
        return manager.load(entry)(entry.spec.params()).build(request)  # type: ignore[union-attr]

    def keep(self, name: str, values: np.ndarray) -> None:
        """Keep values, one row a cell, beside the map."""
        self.kept[name] = values
