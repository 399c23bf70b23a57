"""What was read from an AnnData, and what is to be written to it; neither holds an AnnData."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .data import Graph, Layout, Neighbors


@dataclass(frozen=True, kw_only=True)
class Representation:
    """The rows that neighbours are found in.

    Attributes
    ----------
    name
        ``obsm`` key, ``"X"``, or a layer's name.
    values
        float32 ``(n_obs, n_features)``, C-contiguous and finite.
    n_pcs
        Columns taken from the front, None for all.
    shared
        Whether the values are the AnnData's own, not a copy in another form.
    spooled
        Whether they are in a temporary file, which the system need not keep in memory.
    center
        float64 ``(n_features,)``, what was taken off each column before it was rounded to float32; None for nothing.
    n_merged
        Rows that rounding made equal to others.
    """

    name: str
    values: NDArray[np.float32]
    n_pcs: int | None = None
    shared: bool = True
    spooled: bool = False
    center: NDArray[np.float64] | None = None
    n_merged: int = 0

    @property
    def record(self) -> dict[str, Any]:
        """What a model must know to read other cells alike."""
        center = {} if self.center is None else {"center": self.center.tolist()}
        return {"name": self.name, "n_features": self.values.shape[1], "n_pcs": self.n_pcs, **center}


@dataclass(frozen=True, kw_only=True)
class StoredNeighbors:
    """Neighbours found in an AnnData.

    Attributes
    ----------
    key
        Key in ``uns``.
    graph
        Connectivities, sharing the AnnData's arrays where it can; None where they will not be used.
    neighbors
        Distances as a neighbour table; None where there are none, or they will not be used.
    n_neighbors
        As the AnnData states it (the cell itself counted), else from the table.
    params
        What ``uns`` says of how they were made.
    note
        Why they do not suffice, where it was to be them; or what is missing of them.
    """

    key: str
    graph: Graph | None
    neighbors: Neighbors | None
    n_neighbors: int | None
    params: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Source:
    """All that the pipeline may use of an AnnData.

    Attributes
    ----------
    arrays
        Extra inputs by name: ``positions``, ``paga_positions``, ``paga_groups``, ``sample_groups``; for networks
        ``landmark_positions``, ``validation``, ``validation_rows``.
    labels
        int64 ``(n_obs,)`` codes, ``-1`` for unknown; None where no labels were named.
    obsm_keys
        Keys of ``obsm``, for messages.
    names
        Name of each cell, which fixes the order the rows are worked on in; None where that order does not matter.
    notes
        What was read from where and why, for people.
    doubt
        Why the representation is not what the neighbours were made from, or may not be; "" where nothing says so.
    """

    n_obs: int
    names: NDArray[Any] | None = None
    representation: Representation | None = None
    stored: StoredNeighbors | None = None
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    labels: np.ndarray | None = None
    fixed: NDArray[np.bool_] | None = None
    obsm_keys: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    doubt: str = ""


@dataclass(frozen=True, kw_only=True)
class LossHistory:
    """The objective's value along the optimisation.

    Attributes
    ----------
    epochs
        int64 ``(m,)``.
    total
        float64 ``(m,)``.
    parts
        Name to float64 ``(m,)``.
    """

    epochs: NDArray[np.int64]
    total: NDArray[np.float64]
    parts: Mapping[str, NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class EmbedResult:
    """A finished map with its provenance.

    Attributes
    ----------
    snapshots
        Layouts by epoch, of the epochs they were asked for at; None where none were.
    kept
        What backends kept beside the map, by name, one row a cell.
    inputs
        SHA-256 of what was read, by name.
    """

    layout: Layout
    params: Mapping[str, Any]
    loss: LossHistory
    backends: Mapping[str, str]
    reasons: Mapping[str, str]
    timings: Mapping[str, float]
    score: Mapping[str, float]
    reusable: Mapping[str, Any]
    snapshots: Mapping[int, Layout] | None = None
    kept: Mapping[str, np.ndarray] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
