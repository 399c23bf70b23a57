"""No edges: for maps that are their first layout."""

from __future__ import annotations

import numpy as np

from vicinal.contract.data import Graph
from vicinal.contract.requests import GraphRequest
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities, NoParams

SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="graph",
    name="edgeless",
    target="vicinal.backends.graph.edgeless:Backend",
    summary="No edges and no search for neighbours, where n_epochs=0 and the first layout needs none",
    capabilities=Capabilities(deterministic=True),
)


class Backend:
    """Joins no cell to another."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def build(self, request: GraphRequest) -> Graph:
        """Return a graph of vertices alone."""
        return Graph(
            indptr=np.zeros(request.n_obs + 1, dtype=np.int32),
            indices=np.empty(0, dtype=np.int32),
            weights=np.empty(0, dtype=np.float32),
        )
