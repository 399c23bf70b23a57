from __future__ import annotations

import numba
import numpy as np

from vicinal.kernels.pulls import LANES, pull


@numba.njit
def compiled(ends, weights, places, first, x, y, per_dof, sums):
    pull(ends, weights, places, first, x, y, per_dof, sums)


def test_compiled_as_written(rng):
    ends = rng.integers(0, 50, size=40).astype(np.uint32)
    weights = rng.uniform(size=40).astype(np.float32)
    places = rng.normal(scale=5, size=(50, 2)).astype(np.float32)
    for first in (0, 3, 32):
        found = rng.normal(size=2 * LANES).astype(np.float32)
        expected, arguments = (
            found.copy(),
            (ends, weights, places, first, np.float32(1.5), np.float32(-2), np.float32(0.5)),
        )
        pull(*arguments, expected)
        compiled(*arguments, found)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_far_places_pull_by_nothing_and_stay_finite():
    places = np.full((LANES, 2), 1e30, dtype=np.float32)
    sums = np.zeros(2 * LANES, dtype=np.float32)
    weights = np.ones(LANES, dtype=np.float32)
    compiled(np.arange(LANES, dtype=np.uint32), weights, places, 0, np.float32(0), np.float32(0), np.float32(1), sums)
    assert np.isfinite(sums).all()
