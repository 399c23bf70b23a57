"""The interface of each stage. A backend is built with its parameters: ``Backend(params)``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .data import Graph, Layout, Neighbors
from .requests import GraphRequest, InitRequest, KnnRequest, OptimizeRequest, ScoreRequest


@runtime_checkable
class KnnIndex(Protocol):
    """An index over reference rows."""

    def neighbors(self) -> Neighbors:
        """Return the neighbours of the reference rows among themselves."""

    def query(self, rows: NDArray[np.float32], k: int) -> Neighbors:
        """Return the ``k`` reference rows nearest to each of ``rows``."""


@runtime_checkable
class Knn(Protocol):
    """Finds nearest neighbours."""

    def build(self, request: KnnRequest) -> KnnIndex:
        """Return an index over ``request.representation``."""


@runtime_checkable
class GraphBuilder(Protocol):
    """Turns neighbours into weights."""

    def build(self, request: GraphRequest) -> Graph:
        """Return the graph."""


@runtime_checkable
class Init(Protocol):
    """Makes the first layout."""

    def place(self, request: InitRequest) -> Layout:
        """Return a finite layout ``(n_obs, n_components)`` in any units."""


@dataclass(frozen=True, kw_only=True)
class KernelForm:
    """An objective as a family of built-in kernels and its parameters.

    Data rather than functions, so that compiled kernels stay in numba's disk cache.
    """

    family: str
    parameters: tuple[float, ...]


@runtime_checkable
class Objective(Protocol):
    """What a map is optimised for.

    Attributes
    ----------
    negative_sample_rate
        Negative samples per use of an edge; it sets how strongly cells repel.
    """

    negative_sample_rate: float

    def form(self, name: str) -> Any:
        """Return the objective in one of the forms its capabilities list, such as a `KernelForm`."""

    def attraction(self, squared_distance: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the loss of an edge at each squared distance in the map."""

    def repulsion(self, squared_distance: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the loss of a pair that should be apart, at each squared distance."""

    def rescale(self, layout: Layout) -> Layout:
        """Return a first layout in the units this objective starts from."""


@runtime_checkable
class Optimization(Protocol):
    """One optimisation under way.

    Attributes
    ----------
    epoch, n_epochs
        Epochs done, and epochs planned.
    layout
        The present layout, float32 ``(n_obs, n_components)``.
    """

    epoch: int
    n_epochs: int

    @property
    def layout(self) -> Layout:
        """The present layout."""

    def step(self, n_epochs: int, **overrides: Any) -> None:
        """Go on by some epochs, with some of the parameters replaced for these epochs only."""

    def state(self) -> Mapping[str, np.ndarray]:
        """Return all it needs, with its request, to go on in another process."""

    def restore(self, state: Mapping[str, np.ndarray], epoch: int) -> None:
        """Take up a state that `state` gave at an epoch."""


@runtime_checkable
class Optimizer(Protocol):
    """Moves a layout downhill."""

    def start(self, request: OptimizeRequest) -> Optimization:
        """Return an optimisation that has not moved yet."""


@runtime_checkable
class Score(Protocol):
    """Measures a layout."""

    def measure(self, request: ScoreRequest) -> Mapping[str, float]:
        """Return named numbers; leave out those that are undefined for this input."""
