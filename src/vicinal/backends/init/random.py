"""A first layout without structure."""

from __future__ import annotations

import numpy as np

from vicinal.contract.data import Layout
from vicinal.contract.requests import InitRequest
from vicinal.contract.seeds import generator
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities, NoParams

SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="init",
    name="random",
    target="vicinal.backends.init.random:Backend",
    summary="Uniform in a cube",
    capabilities=Capabilities(deterministic=True),
)


class Backend:
    """Places every cell independently and uniformly."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def place(self, request: InitRequest) -> Layout:
        """Return coordinates uniform in [-1, 1)."""
        return random_layout(request.graph.n_obs, request.n_components, generator(request.seed))


def random_layout(n_obs: int, n_components: int, draw: np.random.Generator) -> Layout:
    """Return independent coordinates uniform in [-1, 1)."""
    return draw.uniform(-1, 1, size=(n_obs, n_components)).astype(np.float32)
