from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.api import InputError, KernelForm, Objective
from vicinal.backends.objective.umap import UmapObjective, UmapParams


@pytest.fixture
def objective() -> UmapObjective:
    return UmapObjective(UmapParams())


@pytest.mark.parametrize(
    ("spread", "min_dist", "a", "b"),
    [(1, 0.1, 1.5769434603, 0.8950608779), (1, 0.5, 0.5830300203, 1.3341669924), (1, 0, 1.9328083973, 0.7904949732)],
)
def test_kernel_is_fitted_to_the_known_values(spread, min_dist, a, b):
    objective = UmapObjective(UmapParams(min_dist=min_dist, spread=spread))
    assert objective.a == pytest.approx(a, abs=1e-6)
    assert objective.b == pytest.approx(b, abs=1e-6)


@settings(deadline=None, max_examples=60)
@given(st.floats(1e-3, 1e3), st.floats(0, 1))
def test_kernel_falls_with_distance_and_is_near_its_target_at_any_scale(spread, fraction):
    objective = UmapObjective(UmapParams(min_dist=fraction * spread, spread=spread))
    distance = np.linspace(0, 3, 200) * spread
    kernel = np.exp(-objective.attraction(distance**2))
    target = np.where(distance < fraction * spread, 1, np.exp(-(distance / spread - fraction)))
    assert (np.diff(kernel) < 0).all()
    assert np.abs(kernel - target).mean() < 0.06


def test_given_kernel_parameters_are_taken():
    objective = UmapObjective(UmapParams(a=2, b=0.7, repulsion_strength=3, negative_sample_rate=7))
    assert objective.form("kernel") == KernelForm(family="umap", parameters=(2.0, 0.7, 3.0))
    assert objective.negative_sample_rate == 7
    assert isinstance(objective, Objective)


def test_another_form_is_refused(objective):
    with pytest.raises(InputError, match="no form 'coefficients'.*'kernel'"):
        objective.form("coefficients")


def test_losses_equal_the_plain_formula():
    objective = UmapObjective(UmapParams(a=1.3, b=0.8, repulsion_strength=2.5))
    squared = np.linspace(0.05, 40, 300)
    q, softened = (1 / (1 + 1.3 * s**0.8) for s in (squared, squared + 0.001))
    np.testing.assert_allclose(objective.attraction(squared), -np.log(q), rtol=1e-12)
    np.testing.assert_allclose(objective.repulsion(squared), -2.5 * np.log(1 - softened), rtol=1e-10)


def test_losses_have_their_limits_and_nothing_overflows(objective):
    squared = np.array([0, 1e-300, 1e-12, 1, 1e300, np.inf])
    with np.errstate(all="raise"):
        attraction, repulsion = objective.attraction(squared), objective.repulsion(squared)
    assert attraction[0] == 0 and attraction[-1] == np.inf
    assert np.isfinite(attraction[:-1]).all() and (np.diff(attraction) >= 0).all()
    assert repulsion[0] == repulsion[1] == objective.repulsion(np.zeros(1))[0] > 5 and repulsion[-1] == 0
    assert (np.diff(repulsion) <= 0).all()


def test_single_precision_distances_do(objective):
    squared = np.array([0.5, 2.0], np.float32)
    np.testing.assert_array_equal(objective.attraction(squared), objective.attraction(squared.astype(np.float64)))


def test_slope_of_the_losses_is_the_force_umap_applies():
    a, b = 1.3, 0.8
    objective = UmapObjective(UmapParams(a=a, b=b, repulsion_strength=2))
    d, step = np.linspace(0.3, 6, 50), 1e-6

    def slope(loss):
        return (loss((d + step) ** 2) - loss((d - step) ** 2)) / (2 * step)

    pull = 2 * a * b * d ** (2 * b - 2) / (1 + a * d ** (2 * b))
    push = -2 * 2 * b / ((d**2 + 0.001) * (1 + a * d ** (2 * b)))
    np.testing.assert_allclose(slope(objective.attraction), pull * d, rtol=1e-5)
    np.testing.assert_allclose(slope(objective.repulsion), push * d, rtol=2e-3)  # the curve is taken beside it


@settings(deadline=None)
@given(st.integers(0, 2**20), st.integers(2, 30), st.integers(1, 4), st.sampled_from([1e-30, 1e-4, 1.0, 1e4, 1e37]))
def test_rescale_centres_and_keeps_the_shape(seed, n, d, scale):
    layout = (np.random.default_rng(seed).normal(size=(n, d)) * scale).astype(np.float32)
    scaled = UmapObjective(UmapParams(a=1, b=1)).rescale(layout)
    assert scaled.dtype == np.float32 and scaled.shape == layout.shape
    assert np.ptp(scaled, axis=0).max() == pytest.approx(10, rel=1e-5)
    np.testing.assert_allclose(scaled.min(axis=0), -scaled.max(axis=0), atol=1e-4)
    ratio = np.ptp(layout.astype(float), axis=0) / np.ptp(layout.astype(float), axis=0).max()
    np.testing.assert_allclose(np.ptp(scaled, axis=0) / 10, ratio, atol=1e-5)


@pytest.mark.parametrize("shape", [(0, 2), (1, 2), (5, 3)])
def test_rescale_of_a_constant_layout_is_zero(objective, shape):
    layout = np.full(shape, 3.5, np.float32)
    assert np.array_equal(objective.rescale(layout), np.zeros(shape))
    assert (layout == 3.5).all()


def test_rescale_leaves_a_read_only_layout_alone(objective):
    layout = np.arange(6, dtype=np.float32).reshape(3, 2)
    layout.flags.writeable = False
    assert np.ptp(objective.rescale(layout), axis=0).max() == 10


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"min_dist": 2}, "min_dist=2 is larger than spread=1"),
        ({"min_dist": -0.1}, "min_dist=-0.1 is not allowed; give a finite number of at least 0"),
        ({"min_dist": np.nan}, "min_dist=nan"),
        ({"min_dist": "0.1"}, "min_dist='0.1'"),
        ({"spread": 0}, "spread=0 is not allowed; give a finite number above 0"),
        ({"spread": np.inf}, "spread=inf"),
        ({"a": 1.0}, "a is given without b"),
        ({"b": 1.0}, "b is given without a"),
        ({"a": 0, "b": 1}, "a=0"),
        ({"a": 1, "b": -1}, "b=-1"),
        ({"repulsion_strength": -1}, "repulsion_strength=-1"),
        ({"negative_sample_rate": -1}, "negative_sample_rate=-1"),
        ({"negative_sample_rate": True}, "negative_sample_rate=True"),
    ],
)
def test_parameters_are_checked(params, message):
    with pytest.raises(InputError, match=message):
        UmapParams(**params)
