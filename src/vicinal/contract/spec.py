"""What a plugin says about a backend: cheap data, read without importing the backend."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

API_VERSION = 1
"""Version of the contract between host and plugins; a spec states the one it was written for."""

MACHINE_LOCAL = "machine_local"
"""Key of a field's metadata: true for a parameter that names a place, a device or a helper on the machine, such as a
path or a logger. `vicinal.tl.rerun` never takes it from a record."""

STAGES = ("knn", "graph", "init", "objective", "optimizer", "score", "network")
"""What backends can be of. A network is no stage of its own: it is what an optimizer trains."""

METHOD_OF_STAGE = {
    "knn": "build",
    "graph": "build",
    "init": "place",
    "objective": "form",
    "optimizer": "start",
    "score": "measure",
    "network": "build",
}
"""The method by which the host calls a backend of each stage."""


@dataclass(frozen=True, kw_only=True)
class NoParams:
    """Parameters of a backend that has none."""


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a backend needs and can do; the planner decides by it, never by trying.

    Attributes
    ----------
    inputs
        What it cannot work without: ``representation``, ``neighbors``, ``graph``, ``stored_graph``,
        ``positions``, ``paga``, ``labels``, ``given_neighbors``, ``transformer``.
    metrics
        Metrics it computes; None for any.
    metric_kwds
        Whether a knn backend takes the arguments of metrics.
    forms
        Forms an objective offers, or an optimizer consumes.
    n_components
        Smallest and largest number of map dimensions.
    deterministic
        Same input and seed give the same bits for any number of threads.
    out_of_sample
        Its index or model answers for rows it has not seen.
    final_scale
        An initialisation whose layout is used as it is, neither rescaled nor jittered.
    supervised
        A graph backend that makes use of the labels, where its request has any.
    devices
        Where it can run.
    """

    inputs: tuple[str, ...] = ()
    metrics: tuple[str, ...] | None = None
    forms: tuple[str, ...] = ()
    n_components: tuple[int, int] = (1, 10)
    deterministic: bool = False
    out_of_sample: bool = False
    final_scale: bool = False
    supervised: bool = False
    devices: tuple[str, ...] = ("cpu",)
    metric_kwds: bool = False


@dataclass(frozen=True, kw_only=True)
class BackendSpec:
    """One backend of one stage.

    Attributes
    ----------
    api_version
        The `API_VERSION` it was written for.
    stage
        One of `STAGES`.
    name
        How users choose it.
    target
        ``"module:Class"``, imported at first use.
    summary
        One line for tables.
    params
        Frozen, keyword-only dataclass; its fields are what users may set.
    capabilities
        What it needs and can do.
    requires
        Top-level modules that must be importable.
    install
        What to run when one of them is not.
    cite
        References to cite when it is used.
    """

    api_version: int
    stage: str
    name: str
    target: str
    summary: str = ""
    params: type = NoParams
    capabilities: Capabilities = field(default_factory=Capabilities)
    requires: tuple[str, ...] = ()
    install: str = ""
    cite: tuple[str, ...] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """Names of the parameters users may set."""
        return tuple(f.name for f in dataclasses.fields(self.params))


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A named choice of stages with defaults: what ``method=`` selects.

    Attributes
    ----------
    api_version
        The `API_VERSION` it was written for.
    name
        The method's name; the map goes to ``obsm["X_{name}"]``.
    summary
        One line for tables.
    stages
        Stage to backend name; ``auto`` leaves it to the policy.
    n_neighbors
        Neighbours when the user names no number; the cell itself counts as one.
    defaults
        Parameter name to the value that replaces the backend's own default.
    scores
        Names of the score backends run at the end.
    """

    api_version: int
    name: str
    summary: str = ""
    stages: Mapping[str, str] = field(default_factory=dict)
    n_neighbors: int = 15
    defaults: Mapping[str, Any] = field(default_factory=dict)
    scores: tuple[str, ...] = ("knn_recall", "trustworthiness", "global_correlation")
