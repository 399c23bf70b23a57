"""What the host hands to a backend: one frozen request a stage, to which fields are only ever added."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .data import Graph, Layout, Neighbors

if TYPE_CHECKING:
    from .stages import Host, NetworkBuilder, Objective


@dataclass(frozen=True, kw_only=True)
class KnnRequest:
    """Ask for an index over the rows of a representation.

    Attributes
    ----------
    representation
        float32 ``(n_obs, n_features)``, C-contiguous and finite; None for given neighbours.
    k
        Neighbours wanted per row, the row itself not counted; below ``n_obs``.
    metric
        Name of the metric; of a function, ``module:qualname``.
    metric_function
        The function where the user gave one, compiled with `numba.njit`: ``(x, y) -> distance``.
    metric_kwds
        The metric's arguments, checked; empty for backends that do not declare `Capabilities.metric_kwds`.
    seed
        This stage's own seed.
    n_jobs
        Threads it may use.
    """

    representation: NDArray[np.float32] | None
    k: int
    n_obs: int
    metric: str = "euclidean"
    seed: int = 0
    n_jobs: int = 1
    metric_function: Callable[..., float] | None = None
    metric_kwds: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class GraphRequest:
    """Ask for a graph, from neighbours or from one that is stored.

    Attributes
    ----------
    labels
        int64 ``(n_obs,)`` codes, ``-1`` for unknown, by which a backend that declares ``supervised`` weighs edges;
        None where no labels were named.
    """

    n_obs: int
    neighbors: Neighbors | None = None
    stored: Graph | None = None
    labels: NDArray[np.integer] | None = None
    seed: int = 0
    n_jobs: int = 1


@dataclass(frozen=True, kw_only=True)
class InitRequest:
    """Ask for a first layout; the host scales it for the objective that follows.

    Attributes
    ----------
    arrays
        What `Capabilities.inputs` asked for: ``positions`` ``(n_obs, n_components)``;
        ``paga_positions`` ``(n_groups, 2)`` and ``paga_groups`` ``(n_obs,)``; ``sample_groups`` ``(n_obs,)``, codes
        of the groups to sample from, where the user named a column.
    host
        Makes other maps and indices on the way.
    """

    graph: Graph
    n_components: int
    representation: NDArray[np.float32] | None = None
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    seed: int = 0
    n_jobs: int = 1
    host: Host | None = None


@dataclass(frozen=True, kw_only=True)
class OptimizeRequest:
    """Ask an optimizer to take charge of a layout.

    Attributes
    ----------
    fixed
        Boolean ``(n_obs,)``: cells that must not move; None for none.
    forms
        Forms the objective offers.
    arrays
        What the user gave for the training of networks: ``landmark_positions`` ``(n_obs, n_components)``, NaN where a
        cell has none; ``validation`` boolean ``(n_obs,)``, cells not to train on; ``validation_rows`` ``(m,
        n_features)``, rows of other cells.
    networks
        Role to what builds it, of the networks that the optimizer named.
    callbacks
        Those of the user's callbacks that the optimizer takes itself.
    host
        Finds neighbours on the way.
    """

    graph: Graph
    layout: Layout
    objective: Objective
    representation: NDArray[np.float32] | None = None
    labels: np.ndarray | None = None
    fixed: NDArray[np.bool_] | None = None
    seed: int = 0
    n_jobs: int = 1
    forms: tuple[str, ...] = ("kernel",)
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    networks: Mapping[str, NetworkBuilder] = field(default_factory=dict)
    callbacks: tuple[Any, ...] = ()
    host: Host | None = None


@dataclass(frozen=True, kw_only=True)
class ScoreRequest:
    """Ask how well a layout keeps the representation; neighbour tables are exact, for sampled cells.

    Attributes
    ----------
    sample
        ``(m,)`` indices of the cells the tables are for.
    representation_neighbors, layout_neighbors
        int32 ``(m, K)`` nearest cells among all ``n_obs``, the cell itself left out.
    layout_ranks
        int64 ``(m, K)``: rank (1 = nearest) in the representation of each layout neighbour.
    labels
        Integer codes ``(n_obs,)``, ``-1`` for unknown; None where no labels were named.
    """

    representation: NDArray[np.float32]
    layout: Layout
    sample: NDArray[np.intp]
    representation_neighbors: NDArray[np.int32]
    layout_neighbors: NDArray[np.int32]
    layout_ranks: NDArray[np.int64]
    labels: NDArray[np.integer] | None = None
    seed: int = 0

    @property
    def n_obs(self) -> int:
        """Number of cells in the map."""
        return self.layout.shape[0]
