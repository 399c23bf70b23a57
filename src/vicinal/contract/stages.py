"""The interface of each stage. A backend is built with its parameters: ``Backend(params)``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .data import Graph, Layout, Neighbors
from .network import NetworkRequest
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
    """Finds nearest neighbours.

    It may also have ``check_metric(metric, function)``, called before any work, to raise `InputError` for a metric
    it does not have.
    """

    def build(self, request: KnnRequest) -> KnnIndex:
        """Return an index over ``request.representation``."""


@runtime_checkable
class GraphBuilder(Protocol):
    """Turns neighbours into weights.

    It may also have

    - ``n_neighbors(n_obs)``, how many neighbours it wants where the user names no number, the cell itself counted.
    - ``prepare(n_obs, n_neighbors)``, called before any work with the number it will get, to raise `InputError`, or to
      return a note, possibly empty, on what it makes of that.
    """

    def build(self, request: GraphRequest) -> Graph:
        """Return the graph."""


@dataclass(frozen=True, kw_only=True)
class SubMap:
    """A map that a backend will ask for on the way.

    Attributes
    ----------
    n_obs
        Cells in it.
    arguments
        Those of `vicinal.tl.embed` that differ from the whole map's: ``method``, ``n_neighbors``, parameters.
    on_graph
        Whether it is a map of all cells on the graph of the whole; it then has the objective of the whole too.
    """

    n_obs: int
    arguments: Mapping[str, Any]
    on_graph: bool = False


class Host(Protocol):
    """What a backend may ask for while it works; with the metric, threads and seed of the whole map."""

    def embed(
        self, rows: NDArray[np.float32] | None, arguments: Mapping[str, Any], graph: Graph | None = None
    ) -> Layout:
        """Return a map of some rows, or of a graph, its plan recorded; for ``arguments`` see `SubMap`."""

    def index(self, rows: NDArray[np.float32], k: int) -> KnnIndex:
        """Return an index over some rows that is to be asked for ``k`` neighbours."""

    def keep(self, name: str, values: np.ndarray) -> None:
        """Keep values, one row a cell, beside the map."""


@runtime_checkable
class Init(Protocol):
    """Makes the first layout.

    It may also have ``sub_maps(n_obs, arrays)``, the list of `SubMap` that it will ask the host for, called before any
    work with the number of cells and the extra arrays of the request.
    """

    def place(self, request: InitRequest) -> Layout:
        """Return a finite layout ``(n_obs, n_components)`` in any units."""


@dataclass(frozen=True, kw_only=True)
class KernelForm:
    """An objective as a family of built-in kernels and its parameters.

    Data rather than functions, so that compiled kernels stay in numba's disk cache.
    """

    family: str
    parameters: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class CoefficientForm:
    """An objective as the factors by which pairs attract and repel; runs in a kernel compiled once a process.

    Attributes
    ----------
    attraction, repulsion
        Compiled with `numba.njit`: ``(squared_distance, parameters) -> factor``. The distance is a float32 of at
        least 1e-12, Euclidean; the parameters are a float32 array; the factor of the difference of two places is
        the force on the first of them, so a negative one draws them together.
    parameters
        Handed to both functions.
    """

    attraction: Callable[..., float]
    repulsion: Callable[..., float]
    parameters: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True)
class MetricForm:
    """A family of kernels in a distance of its own; runs in a kernel compiled once a process.

    Attributes
    ----------
    family, parameters
        As in `KernelForm`.
    metric
        Compiled with `numba.njit`: ``(x, y) -> (distance, gradient with respect to x)`` of two float32 places.
    """

    family: str
    parameters: tuple[float, ...]
    metric: Callable[..., Any]


@dataclass(frozen=True, kw_only=True)
class NormalizedForm:
    """An objective whose kernel is divided by its sum over all pairs, as a family and its parameters.

    ``student_t`` is ``(1 + d^2 / dof)^-dof``, its parameter ``dof``. With P the weights of the graph over their sum,
    the loss is ``sum P log P - sum P log w + log sum w``, the last sum over all pairs.
    """

    family: str
    parameters: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class TorchForm:
    """An objective as losses of torch tensors, which torch differentiates.

    Attributes
    ----------
    attraction, repulsion
        ``(squared_distances) -> losses``, of tensors of one shape, equal to the objective's own ``attraction`` and
        ``repulsion``, with gradients that are finite from a squared distance of 0 on.
    """

    attraction: Callable[[Any], Any]
    repulsion: Callable[[Any], Any]


@runtime_checkable
class Objective(Protocol):
    """What a map is optimised for.

    It may also have ``squared_distances(x, y)``, the squared distances of ``(m, n_components)`` places to others,
    ``(m,)``; without it they are those of `squared_euclidean`. And ``jitter``, the standard deviation of the noise by
    which coincident cells of a first layout part, 0.0001 without it; ``placement``, how new cells are placed in a map
    of it: ``n_neighbors``, ``n_steps``, and the curve ``a``, ``b`` where it has no parameters of these names.

    Attributes
    ----------
    negative_sample_rate
        Negative samples per use of an edge; it sets how strongly cells repel.
    """

    negative_sample_rate: float

    def form(self, name: str) -> Any:
        """Return the objective in one of the forms its capabilities list.

        ``kernel`` is a `KernelForm`, ``coefficients`` a `CoefficientForm`, ``metric`` a `MetricForm`, ``normalized``
        a `NormalizedForm`, ``torch`` a `TorchForm`.
        """

    def attraction(self, squared_distance: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the loss of an edge at each squared distance in the map."""

    def repulsion(self, squared_distance: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return the loss of a pair that should be apart, at each squared distance."""

    def rescale(self, layout: Layout) -> Layout:
        """Return a first layout in the units this objective starts from."""


def squared_euclidean(x: Layout, y: Layout) -> NDArray[np.float64]:
    """Return the squared distance of each row of ``x`` to the row of ``y`` beside it."""
    difference = np.subtract(x, y, dtype=np.float64)
    return np.einsum("ij,ij->i", difference, difference)


@runtime_checkable
class Optimization(Protocol):
    """One optimisation under way; after a `KeyboardInterrupt`, epoch, layout and state are those of one moment.

    It may also have

    - ``run(n_epochs, pause, **overrides)``, where it owns the loop: as ``step``, but after each epoch it calls
      ``pause()``, and ends where that is true. Where something else ended it, ``stopped_by`` names that.
    - ``losses()``, the losses of the last epoch by name, ``loss`` among them, in place of those the host would take;
      and ``loss_points``, at how many epochs it is asked for them where that is not after each.
    - ``model()``, the `FittedModel` that maps rows.

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
    """Moves a layout downhill.

    It may also have

    - ``overrides``, names of what ``Optimization.step`` takes besides the number of epochs; without, it cannot be led
      through phases. With an objective some may not be there: ``overrides_for(objective, forms)`` returns the others.
    - ``check_overrides(overrides)``, called before any work, to raise `InputError` for a value that is not allowed.
    - ``schedule(n_obs)``, the phases it divides itself into where the user gives none: a list of dicts with ``n``, a
      number of epochs, and overrides. The numbers add up to the epochs it plans.
    - ``check(n_obs, n_components, n_features, arrays, has_fixed, networks, callbacks)``, called by keyword before any
      work, to raise `InputError`; the last two as in `OptimizeRequest`.
    - ``takes_callback(callback)``, whether a user's callback is one that it calls itself.
    - ``networks()``, role to ``(name, params)`` of the backends of the stage ``network`` that it needs.
    - ``apply(module, network, rows, n_jobs)``, what a `FittedNetwork` without layers makes of rows; ``module`` is one
      built anew, or the user's.
    """

    def start(self, request: OptimizeRequest) -> Optimization:
        """Return an optimisation that has not moved yet."""


@runtime_checkable
class NetworkBuilder(Protocol):
    """Builds networks for an optimizer to train.

    The module it builds may have ``layers()``, how it is applied without the library that trains it, in the words of
    `vicinal.api.apply_layers`; arrays are named as in its state.
    """

    def build(self, request: NetworkRequest) -> Any:
        """Return a network that maps ``(m, *input_dims)`` to ``(m, *output_dims)``; of torch, an ``nn.Module``."""


@runtime_checkable
class Score(Protocol):
    """Measures a layout."""

    def measure(self, request: ScoreRequest) -> Mapping[str, float]:
        """Return named numbers; leave out those that are undefined for this input."""
