"""The one import for authors of backends."""

from __future__ import annotations

from .contract.data import MISSING, Graph, Layout, Neighbors
from .contract.errors import InputError, ModelError, PluginError, StageError, VicinalError, WriteError
from .contract.network import FittedModel, FittedNetwork, NetworkRequest
from .contract.requests import GraphRequest, InitRequest, KnnRequest, OptimizeRequest, ScoreRequest
from .contract.seeds import child_seed, generator
from .contract.spec import API_VERSION, MACHINE_LOCAL, STAGES, BackendSpec, Capabilities, NoParams, Preset
from .contract.stages import (
    CoefficientForm,
    GraphBuilder,
    Host,
    Init,
    KernelForm,
    Knn,
    KnnIndex,
    MetricForm,
    NetworkBuilder,
    NormalizedForm,
    Objective,
    Optimization,
    Optimizer,
    Score,
    SubMap,
    TorchForm,
)
from .kernels.draws import alias_tables
from .kernels.network import apply_layers
from .kernels.processors import available_threads
from .plugin.hookspecs import hookimpl

__all__ = [
    "API_VERSION",
    "MACHINE_LOCAL",
    "MISSING",
    "STAGES",
    "BackendSpec",
    "Capabilities",
    "CoefficientForm",
    "FittedModel",
    "FittedNetwork",
    "Graph",
    "GraphBuilder",
    "GraphRequest",
    "Host",
    "Init",
    "InitRequest",
    "InputError",
    "KernelForm",
    "Knn",
    "KnnIndex",
    "KnnRequest",
    "Layout",
    "MetricForm",
    "NormalizedForm",
    "ModelError",
    "NetworkBuilder",
    "NetworkRequest",
    "Neighbors",
    "NoParams",
    "Objective",
    "Optimization",
    "OptimizeRequest",
    "Optimizer",
    "PluginError",
    "Preset",
    "Score",
    "ScoreRequest",
    "StageError",
    "SubMap",
    "TorchForm",
    "VicinalError",
    "WriteError",
    "alias_tables",
    "apply_layers",
    "available_threads",
    "child_seed",
    "generator",
    "hookimpl",
]


def __dir__() -> list[str]:
    return sorted(__all__)
