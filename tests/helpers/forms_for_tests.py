"""An objective given by jitted coefficients, as a plugin registers it."""

from __future__ import annotations

import numpy as np
from numba import njit

from vicinal.api import BackendSpec, Capabilities, CoefficientForm, NoParams, hookimpl


@njit
def cauchy_pull(squared, parameters):
    return -2 / (1 + squared)


@njit
def cauchy_push(squared, parameters):
    return 2 / ((0.001 + squared) * (1 + squared))


class Cauchy:
    negative_sample_rate = 2.5

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def form(self, name: str) -> CoefficientForm:
        assert name == "coefficients"
        return CoefficientForm(attraction=cauchy_pull, repulsion=cauchy_push)

    def attraction(self, squared_distance):
        return np.log1p(squared_distance)

    def repulsion(self, squared_distance):
        return np.log1p(1 / np.maximum(squared_distance, 1e-4))

    def rescale(self, layout):
        return layout / max(np.abs(layout).max(), 1e-6)


SPEC = BackendSpec(
    api_version=1,
    stage="objective",
    name="cauchy",
    target="forms_for_tests:Cauchy",
    capabilities=Capabilities(forms=("coefficients",), deterministic=True),
)


@hookimpl
def vicinal_register():
    return [SPEC]


@njit
def chebyshev(x, y):
    """Return the largest difference of two places, and its gradient."""
    gradient = np.zeros_like(x)
    largest = np.argmax(np.abs(x - y))
    gradient[largest] = np.sign(x[largest] - y[largest])
    return abs(x[largest] - y[largest]), gradient


def install(folder) -> None:
    """Write the metadata by which this module is found as a plugin."""
    metadata = folder / "forms_for_tests-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: forms-for-tests\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[vicinal.plugins]\nmain = forms_for_tests\n")
