"""What every objective must do."""

# ruff: noqa: D102  the name of a check says what it checks

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import pytest

from vicinal.contract.functions import is_jitted
from vicinal.contract.stages import CoefficientForm, KernelForm, MetricForm, NormalizedForm, TorchForm

from .base import Conformance
from .data import normal_layout, read_only

SQUARED_DISTANCES = read_only(np.logspace(-2, 3, 200))
BEYOND_SOFTENING = read_only(np.logspace(-0.5, 2, 40))
FORM_TYPES = {
    "kernel": KernelForm,
    "coefficients": CoefficientForm,
    "metric": MetricForm,
    "normalized": NormalizedForm,
    "torch": TorchForm,
}


class ObjectiveConformance(Conformance):
    """Checks of an objective."""

    stage: ClassVar[str] = "objective"

    def exercise(self) -> Any:
        """Ask for its forms, its losses and a first layout."""
        objective = self.make_backend()
        forms = [objective.form(name) for name in self._usable()]
        losses = objective.attraction(SQUARED_DISTANCES), objective.repulsion(SQUARED_DISTANCES)
        return forms, losses, objective.rescale(normal_layout(40))

    def test_gives_every_form_it_declares(self) -> None:
        assert self._offered(), "an objective without forms fits no optimizer"
        for name in self._usable():
            assert self.make_backend().form(name) is not None, f"form {name!r} is declared"

    def test_kernel_forms_are_data(self) -> None:
        for form in self._forms(KernelForm):
            assert np.isfinite(np.asarray(form.parameters, dtype=np.float64)).all()
            assert form in {form}, "it must be hashable"

    def test_forms_are_of_their_type(self) -> None:
        for name in {*self._usable()} & {*FORM_TYPES}:
            assert isinstance(self.make_backend().form(name), FORM_TYPES[name])

    def test_functions_of_forms_are_jitted(self) -> None:
        for form in self._forms(CoefficientForm):
            assert is_jitted(form.attraction) and is_jitted(form.repulsion), "decorate them with numba.njit"
        for form in self._forms(MetricForm):
            assert is_jitted(form.metric), "decorate it with numba.njit"

    def test_coefficients_pull_and_push(self) -> None:
        for form in self._forms(CoefficientForm):
            for factor_of, sign in ((form.attraction, -1), (form.repulsion, 1)):
                factors = _factors(factor_of, np.append(SQUARED_DISTANCES, [1e-12, 1e12]), form)
                assert np.isfinite(factors).all(), "they must be finite from squared distances of 1e-12 on"
                assert (sign * factors >= 0).all(), "attraction is negative, towards the other; repulsion positive"

    def test_coefficients_are_the_slopes_of_the_losses(self) -> None:
        """A force is minus the gradient: minus twice the slope of the loss in the squared distance."""
        objective = self.make_backend()
        for form in self._forms(CoefficientForm):
            for factor_of, loss in ((form.attraction, objective.attraction), (form.repulsion, objective.repulsion)):
                low, high = BEYOND_SOFTENING * np.exp(-1e-4), BEYOND_SOFTENING * np.exp(1e-4)
                expected = -2 * (np.asarray(loss(high)) - np.asarray(loss(low))) / (high - low)
                factors = _factors(factor_of, BEYOND_SOFTENING, form)
                np.testing.assert_allclose(factors, expected, rtol=0.02, atol=1e-3 * np.abs(expected).max())

    def test_metric_is_that_of_the_losses_and_has_its_own_gradient(self) -> None:
        objective = self.make_backend()
        n_components = max(2, getattr(objective, "capabilities", self.spec.capabilities).n_components[0])
        x, y = (normal_layout(50, n_components, seed) for seed in (0, 1))
        for form in self._forms(MetricForm):
            found = [form.metric(a.copy(), b.copy()) for a, b in zip(x, y, strict=True)]
            if hasattr(objective, "squared_distances"):
                squared = np.square([distance for distance, _ in found])
                np.testing.assert_allclose(objective.squared_distances(x, y), squared, rtol=1e-4)
            for a, b, (_, gradient) in zip(x, y, found, strict=True):
                np.testing.assert_allclose(gradient, _numeric_gradient(form.metric, a, b), atol=0.05)

    def test_tensors_have_the_same_losses(self) -> None:
        objective = self.make_backend()
        for form in self._forms(TorchForm):
            torch = pytest.importorskip("torch")
            for of_tensors, loss in ((form.attraction, objective.attraction), (form.repulsion, objective.repulsion)):
                squared = SQUARED_DISTANCES.astype(np.float32)
                made = of_tensors(torch.tensor(squared))
                assert made.dtype == torch.float32 and made.shape == squared.shape
                expected = np.asarray(loss(squared))
                np.testing.assert_allclose(made.numpy(), expected, rtol=1e-5, atol=1e-5)

    def test_losses_of_tensors_can_be_descended(self) -> None:
        """Losses and slopes are finite wherever cells may be, coincident ones too."""
        for form in self._forms(TorchForm):
            torch = pytest.importorskip("torch")
            for of_tensors in (form.attraction, form.repulsion):
                ends = torch.tensor([0, 1e-12, 1, 1e12], requires_grad=True)
                made = of_tensors(ends)
                made.sum().backward()
                assert made.isfinite().all(), f"losses at {ends.tolist()} are {made.tolist()}"
                assert ends.grad.isfinite().all(), f"slopes at {ends.tolist()} are {ends.grad.tolist()}"

    def _offered(self) -> tuple[str, ...]:
        """Return the forms offered with the parameters it has."""
        return getattr(self.make_backend(), "capabilities", self.spec.capabilities).forms

    def _usable(self) -> tuple[str, ...]:
        """Return the forms that can be had here: losses of tensors only where torch is installed."""
        has_torch = importlib.util.find_spec("torch") is not None
        return tuple(name for name in self._offered() if name != "torch" or has_torch)

    def _forms(self, kind: type) -> list[Any]:
        forms = [self.make_backend().form(name) for name in self._usable()]
        return [form for form in forms if isinstance(form, kind)]

    def test_attraction_rises_with_distance(self) -> None:
        loss = np.asarray(self.make_backend().attraction(SQUARED_DISTANCES))
        assert loss.shape == SQUARED_DISTANCES.shape
        assert (np.diff(loss) >= 0).all(), "farther apart, an edge must not cost less"
        assert loss[-1] > loss[0]

    def test_repulsion_falls_with_distance(self) -> None:
        loss = np.asarray(self.make_backend().repulsion(SQUARED_DISTANCES))
        assert loss.shape == SQUARED_DISTANCES.shape
        assert (np.diff(loss) <= 0).all(), "farther apart, a pair that is no edge must not cost more"
        assert loss[-1] < loss[0]

    def test_losses_are_finite_from_no_distance_to_a_large_one(self) -> None:
        objective = self.make_backend()
        for dtype in (np.float32, np.float64):
            ends = read_only(np.array([0, 1e-12, 1e12], dtype=dtype))
            assert np.isfinite(objective.attraction(ends)).all()
            assert np.isfinite(objective.repulsion(ends)).all()

    def test_losses_are_smooth(self) -> None:
        objective = self.make_backend()
        for loss in (objective.attraction, objective.repulsion):
            coarse, fine = _slope(loss, 1e-3), _slope(loss, 5e-4)
            np.testing.assert_allclose(coarse, fine, rtol=1e-2, atol=1e-5 * np.abs(fine).max())

    def test_negative_sample_rate_is_a_number(self) -> None:
        rate = self.make_backend().negative_sample_rate
        assert np.isfinite(rate)
        assert rate >= 0

    def test_rescaled_layout_is_usable_whatever_its_units(self) -> None:
        for scale in (1e-6, 1, 1e6):
            layout = read_only(normal_layout(40) * np.float32(scale))
            rescaled = self.make_backend().rescale(layout)
            assert rescaled.dtype == np.float32
            assert rescaled.shape == layout.shape
            assert np.isfinite(rescaled).all()
            assert rescaled.std() > 0

    def test_rescaling_keeps_the_order_along_each_dimension(self) -> None:
        layout = normal_layout(40, 3)
        np.testing.assert_array_equal(
            np.argsort(self.make_backend().rescale(layout), axis=0), np.argsort(layout, axis=0)
        )

    def test_rescaling_layouts_without_extent(self) -> None:
        for layout in (np.ones((5, 2), dtype=np.float32), np.zeros((1, 2), dtype=np.float32)):
            assert np.isfinite(self.make_backend().rescale(read_only(layout))).all()


def _factors(factor_of: Callable[..., float], squared: np.ndarray, form: CoefficientForm) -> np.ndarray:
    parameters = np.array(form.parameters, dtype=np.float32)
    return np.array([factor_of(np.float32(value), parameters) for value in squared])


def _numeric_gradient(metric: Callable[..., Any], x: np.ndarray, y: np.ndarray, step: float = 1e-2) -> np.ndarray:
    steps = np.float32(step) * np.eye(len(x), dtype=np.float32)
    return np.array([(metric(x + s, y.copy())[0] - metric(x - s, y.copy())[0]) / (2 * step) for s in steps])


def _slope(loss: Callable[[np.ndarray], np.ndarray], step: float) -> np.ndarray:
    """Return central differences in the logarithm of the squared distance."""
    low, high = SQUARED_DISTANCES * np.exp(-step), SQUARED_DISTANCES * np.exp(step)
    return (np.asarray(loss(high)) - np.asarray(loss(low))) / (2 * step)
