"""What every objective must do."""

# ruff: noqa: D102  the name of a check says what it checks

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from vicinal.contract.stages import KernelForm

from .base import Conformance
from .data import normal_layout, read_only

SQUARED_DISTANCES = read_only(np.logspace(-2, 3, 200))


class ObjectiveConformance(Conformance):
    """Checks of an objective."""

    stage: ClassVar[str] = "objective"

    def exercise(self) -> Any:
        """Ask for its forms, its losses and a first layout."""
        objective = self.make_backend()
        forms = [objective.form(name) for name in self.spec.capabilities.forms]
        losses = objective.attraction(SQUARED_DISTANCES), objective.repulsion(SQUARED_DISTANCES)
        return forms, losses, objective.rescale(normal_layout(40))

    def test_gives_every_form_it_declares(self) -> None:
        assert self.spec.capabilities.forms, "an objective without forms fits no optimizer"
        for name in self.spec.capabilities.forms:
            assert self.make_backend().form(name) is not None, f"form {name!r} is declared"

    def test_kernel_forms_are_data(self) -> None:
        forms = [self.make_backend().form(name) for name in self.spec.capabilities.forms]
        for form in forms:
            if isinstance(form, KernelForm):
                assert np.isfinite(np.asarray(form.parameters, dtype=np.float64)).all()
                assert form in {form}, "it must be hashable"

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


def _slope(loss: Callable[[np.ndarray], np.ndarray], step: float) -> np.ndarray:
    """Return central differences in the logarithm of the squared distance."""
    low, high = SQUARED_DISTANCES * np.exp(-step), SQUARED_DISTANCES * np.exp(step)
    return (np.asarray(loss(high)) - np.asarray(loss(low))) / (2 * step)
