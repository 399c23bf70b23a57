from __future__ import annotations

import numba
import numpy as np
import pytest

from vicinal.kernels.pairs import LANES, add_pairs


@numba.njit
def compiled(others, n, place, sums):
    add_pairs(others, n, place, sums)


@pytest.mark.parametrize("n_components", [1, 2, 3])
@pytest.mark.parametrize("n", [0, LANES, 4 * LANES])
def test_compiled_as_written(n_components, n, rng):
    others = rng.normal(scale=3, size=(3, 70)).astype(np.float32)
    place = tuple(np.float32(value) for value in (1.5, -2, 0.25)[:n_components])
    found = rng.normal(size=(1 + n_components) * LANES).astype(np.float32)
    expected = found.copy()
    add_pairs(others, n, place, expected)
    compiled(others, n, place, found)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_lanes_are_added_in_their_own_order(rng):
    """Lane by lane in single precision, to the bit: on no machine in another order, or with products fused."""
    others = rng.normal(scale=3, size=(2, 40 * LANES)).astype(np.float32)
    expected, found = np.zeros(3 * LANES, dtype=np.float32), np.zeros(3 * LANES, dtype=np.float32)
    x, y = np.float32(0.5), np.float32(1.25)
    for first in range(0, others.shape[1], LANES):
        add_pairs(others[:, first : first + LANES], LANES, (x, y), expected)
    compiled(others, others.shape[1], (x, y), found)
    np.testing.assert_array_equal(found, expected)


def test_far_places_stay_finite():
    sums = np.zeros(3 * LANES, dtype=np.float32)
    compiled(np.full((2, LANES), 1e18, dtype=np.float32), LANES, (np.float32(0), np.float32(0)), sums)
    assert np.isfinite(sums).all()
