"""Another method's map of the same graph, to start from where that ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vicinal.contract.data import Layout
from vicinal.contract.errors import InputError
from vicinal.contract.requests import InitRequest
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities
from vicinal.contract.stages import SubMap

from .sample_place import OF_THE_WHOLE

OF_THE_GRAPH = {"n_neighbors", "metric", "knn", "graph", "method"}


@dataclass(frozen=True, kw_only=True)
class MapParams:
    """Parameters of the map to start from.

    Attributes
    ----------
    map_method
        Method it is made by.
    map_params
        Other arguments of `vicinal.tl.embed` for it, such as ``{"n_epochs": 50}``. It has the graph, the dimensions,
        the seed and the objective of the whole.
    """

    map_method: str = "umap"
    map_params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.map_params, Mapping):
            given = type(self.map_params).__name__
            raise InputError(f"map_params is a {given}; give a dict of arguments, such as {{'n_epochs': 50}}")
        for name in self.map_params:
            if not isinstance(name, str) or name in OF_THE_WHOLE or name in OF_THE_GRAPH:
                msg = f"map_params holds {name!r}, which is as in the whole map"
                raise InputError(f"{msg}; give arguments such as n_epochs, init or learning_rate")


class Backend:
    """Runs another method on the graph."""

    def __init__(self, params: MapParams) -> None:
        self.params = params

    def sub_maps(self, n_obs: int, arrays: Mapping[str, np.ndarray]) -> list[SubMap]:
        """Return the map that `place` will ask for."""
        arguments = {"method": self.params.map_method, **self.params.map_params}
        return [SubMap(n_obs=n_obs, arguments=arguments, on_graph=True)]

    def place(self, request: InitRequest) -> Layout:
        """Return the other method's map."""
        assert request.host is not None
        (planned,) = self.sub_maps(request.graph.n_obs, request.arrays)
        return request.host.embed(request.representation, planned.arguments, request.graph)


SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="init",
    name="map",
    target="vicinal.backends.init.map:Backend",
    summary="Another method's map of the same graph",
    params=MapParams,
    capabilities=Capabilities(inputs=("graph",), deterministic=True, final_scale=True),
)
