from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.kernels import field

LOW, PER_UNIT = np.float32(-1.5), np.float32(2.0)
NOTHING = np.zeros(2, dtype=np.float32)


def cubic(distance):
    """The cubic B-spline at a distance in intervals, from its definition by cases."""
    d = np.abs(distance)
    return np.where(d < 1, 2 / 3 - d**2 + d**3 / 2, np.where(d < 2, (2 - d) ** 3 / 6, 0.0))


def charges(places, shape):
    """Every node of the grid against every cell."""
    total = np.zeros(shape)
    for place in (places.astype(np.float64) - LOW) * PER_UNIT:
        along = [cubic(np.arange(n) - x) for n, x in zip(shape[-len(place) :], place, strict=True)]
        total += np.array(along[0] if len(along) == 1 else np.einsum(*_outer(along))).reshape(shape)
    return total


def _outer(vectors):
    return list(itertools.chain.from_iterable((v, [axis]) for axis, v in enumerate(vectors)))


def case(n_components, rng, n=40):
    places = rng.uniform(-0.9, 4.0, size=(n, n_components)).astype(np.float32)
    shape = (1, 16) if n_components == 1 else (16, 15)
    low = np.full(n_components, LOW)
    spread = getattr(field, f"spread_{n_components}d")
    gather = getattr(field, f"gather_{n_components}d")
    return places, shape, low, spread, gather


@settings(deadline=None)
@given(st.floats(0, 1, width=32))
def test_the_weights_of_a_spline_sum_to_one_and_its_slopes_to_zero(t):
    weights, slopes = field.spline(np.float32(t)), field.slopes(np.float32(t))
    np.testing.assert_allclose(weights, cubic(np.arange(-1, 3) - np.float64(np.float32(t))), atol=1e-6)
    assert sum(slopes) == pytest.approx(0, abs=1e-6)


@settings(deadline=None)
@given(st.floats(0.01, 0.99))
def test_slopes_are_those_of_the_weights(t):
    numeric = (cubic(np.arange(-1, 3) - (t + 1e-5)) - cubic(np.arange(-1, 3) - (t - 1e-5))) / 2e-5
    np.testing.assert_allclose(field.slopes(np.float32(t)), numeric, atol=1e-4)


@settings(deadline=None)
@given(st.floats(0, 1, width=32))
def test_waves_turn_once(t):
    turn = 2 * np.pi * np.float64(np.float32(t))
    np.testing.assert_allclose(field.waves(np.float32(t)), (np.cos(turn), np.sin(turn)), atol=1.2e-4)


@pytest.mark.parametrize("n_components", [1, 2])
def test_what_a_cell_adds_where_it_is_is_taken_off(n_components, rng):
    places, shape, low, _, gather = case(n_components, rng)
    potential, own = np.zeros(shape, dtype=np.float32), np.array([0.7, 0.2], dtype=np.float32)
    gradient = np.full_like(places, np.nan)
    turns = 2 * np.pi * (places.astype(np.float64) - LOW) * PER_UNIT
    read = gather(places, low, PER_UNIT, potential, gradient, own, 0, len(places))
    assert read == pytest.approx(-(0.7 + 0.2 * np.cos(turns).sum(axis=1)).sum(), rel=1e-3)
    # Half of what it loses when it moves: as much is lost by what moved towards it.
    np.testing.assert_allclose(gradient, np.pi * 0.2 * np.sin(turns) * PER_UNIT, atol=1e-3)


@pytest.mark.parametrize("n_components", [1, 2])
def test_spread_charges_are_the_splines_around_the_cells(n_components, rng):
    places, shape, low, spread, _ = case(n_components, rng)
    grid = np.zeros(shape, dtype=np.float32)
    first, last = spread(places, low, PER_UNIT, grid, 5, len(places))
    np.testing.assert_allclose(grid, charges(places[5:], shape), atol=1e-5)
    assert grid.sum() == pytest.approx(len(places) - 5, rel=1e-5)
    assert not grid[:first].any() and not grid[last:].any() and grid[first].any() and grid[last - 1].any()


@pytest.mark.parametrize("n_components", [1, 2])
def test_what_is_read_is_the_spread_turned_round(n_components, rng):
    """The sum that a cell reads is that of the grid times the weights by which it would be spread."""
    places, shape, low, spread, gather = case(n_components, rng)
    potential = rng.normal(size=shape).astype(np.float32)
    gradient = np.full_like(places, np.nan)
    for i in range(len(places)):
        own = np.zeros(shape, dtype=np.float32)
        spread(places, low, PER_UNIT, own, i, i + 1)
        read = gather(places, low, PER_UNIT, potential, gradient, NOTHING, i, i + 1)
        assert read == pytest.approx(float((own * potential).sum()), abs=1e-4)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("n_components", [1, 2])
def test_the_gradient_is_that_of_what_is_read(n_components, rng):
    places, shape, low, _, gather = case(n_components, rng, n=10)
    potential = rng.normal(size=shape).astype(np.float32)
    gradient, scratch, step = np.empty_like(places), np.empty_like(places), 1e-2
    gather(places, low, PER_UNIT, potential, gradient, NOTHING, 0, len(places))
    for axis in range(n_components):
        ahead, behind = places.copy(), places.copy()
        ahead[:, axis] += step
        behind[:, axis] -= step
        for i in range(len(places)):
            up, down = (gather(at, low, PER_UNIT, potential, scratch, NOTHING, i, i + 1) for at in (ahead, behind))
            assert gradient[i, axis] == pytest.approx((up - down) / (2 * step), abs=0.03)


def test_grids_are_summed_over_their_rows_and_emptied(rng):
    grids = np.zeros((3, 6, 4), dtype=np.float32)
    rows = np.array([[0, 2], [1, 5], [6, 0]])
    for grid, (first, last) in zip(grids, rows, strict=True):
        grid[first:last] = rng.normal(size=(max(last - first, 0), 4))
    expected, total = grids.sum(axis=0), np.full((6, 4), np.nan, dtype=np.float32)
    field.merge(grids, rows, total, 0, 4)
    field.merge(grids, rows, total, 4, 6)
    np.testing.assert_allclose(total, expected, atol=1e-6)
    assert not grids.any()
