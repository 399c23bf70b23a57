"""The public conformance kit on objectives made of functions, and on the optimiser that runs them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from vicinal.api import Capabilities, CoefficientForm
from vicinal.backends.objective import umap
from vicinal.backends.optimizer import numba_sgd
from vicinal.kernels import output_metrics
from vicinal.testing import ObjectiveConformance, OptimizerConformance


@njit
def pull(squared, parameters):
    return -2 / (1 + squared)


@njit
def push(squared, parameters):
    return 2 / ((0.001 + squared) * (1 + squared))


class Cauchy:
    """The kernel 1 / (1 + d^2) as coefficients."""

    capabilities = Capabilities(forms=("coefficients",))
    negative_sample_rate = 5.0

    def form(self, name: str) -> CoefficientForm:
        return CoefficientForm(attraction=pull, repulsion=push)

    def attraction(self, squared_distance: np.ndarray) -> np.ndarray:
        return np.log1p(squared_distance)

    def repulsion(self, squared_distance: np.ndarray) -> np.ndarray:
        return np.log1p(1 / (squared_distance + 1e-3))

    def rescale(self, layout: np.ndarray) -> np.ndarray:
        return (layout * (10 / (float(np.ptp(layout)) or 1))).astype(np.float32)


class TestSphere(ObjectiveConformance):
    spec = umap.SPEC
    params = {"output_metric": "haversine"}
    test_rescaling_keeps_the_order_along_each_dimension = None  # it is tried in three dimensions; a sphere has two


class TestOwnMetric(ObjectiveConformance):
    spec = umap.SPEC
    params = {"output_metric": output_metrics.euclidean}


class TestOptimizerWithCoefficients(OptimizerConformance):
    spec = numba_sgd.SPEC

    def make_objective(self) -> Any:
        return Cauchy()


class TestOptimizerWithMetric(OptimizerConformance):
    spec = numba_sgd.SPEC

    def make_objective(self) -> Any:
        return umap.UmapObjective(umap.UmapParams(output_metric=output_metrics.euclidean))
