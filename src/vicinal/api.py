"""The one import for authors of backends."""

from __future__ import annotations

from .contract.data import MISSING, Graph, Layout, Neighbors
from .contract.errors import InputError, ModelError, PluginError, StageError, VicinalError
from .contract.requests import GraphRequest, InitRequest, KnnRequest, OptimizeRequest, ScoreRequest
from .contract.seeds import child_seed, generator
from .contract.spec import API_VERSION, STAGES, BackendSpec, Capabilities, NoParams, Preset
from .contract.stages import (
    CoefficientForm,
    GraphBuilder,
    Host,
    Init,
    KernelForm,
    Knn,
    KnnIndex,
    MetricForm,
    Objective,
    Optimization,
    Optimizer,
    Score,
    SubMap,
)
from .plugin.hookspecs import hookimpl

__all__ = [
    "API_VERSION",
    "MISSING",
    "STAGES",
    "BackendSpec",
    "Capabilities",
    "CoefficientForm",
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
    "ModelError",
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
    "VicinalError",
    "child_seed",
    "generator",
    "hookimpl",
]
