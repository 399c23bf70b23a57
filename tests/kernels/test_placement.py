from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq

from vicinal.kernels.placement import weighted_means


def run(function, indices, distances, layout):
    places = np.empty((len(indices), layout.shape[1]), np.float32)
    function(indices, distances, layout, 0, len(indices), places)
    return places


def naive_place(indices, distances, layout):
    """One row, by the definition, with scipy's root finder."""
    there = indices >= 0
    d, places = distances[there].astype(np.float64), layout[indices[there]].astype(np.float64)
    if len(d) == 0:
        return np.full(layout.shape[1], np.nan)
    if d[0] == 0:
        return places[d == 0].mean(axis=0)
    excess, target = d - d[0], np.log2(len(d) + 1)
    floor = 1e-3 * d.sum() / (len(d) + 1)

    def surplus(sigma):
        return np.exp(-excess / sigma).sum() - target

    tiny, huge = 1e-9 * d[-1], 1e9 * d[-1]
    sigma = max(floor, brentq(surplus, tiny, huge, xtol=1e-300, rtol=1e-14) if surplus(tiny) < 0 else 0.0)
    weights = np.exp(-excess / sigma)
    return weights @ places / weights.sum()


def table(rng, n, k, m, scale=1.0):
    distances = np.sort(rng.gamma(3.0, size=(n, k)) * scale, axis=1).astype(np.float32)
    indices = np.argsort(rng.random((n, m)), axis=1)[:, :k].astype(np.int32)
    return indices, distances


@pytest.mark.parametrize(("n", "k", "m", "d"), [(1, 1, 1, 1), (7, 2, 5, 2), (40, 15, 60, 3), (5, 30, 30, 10)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_equals_the_definition(rng, n, k, m, d, scale):
    indices, distances = table(rng, n, k, m, scale)
    layout = rng.normal(size=(m, d)).astype(np.float32)
    expected = [naive_place(*row, layout) for row in zip(indices, distances, strict=True)]
    np.testing.assert_allclose(run(weighted_means, indices, distances, layout), expected, rtol=1e-5, atol=1e-6)


def test_compiled_equals_python(rng):
    indices, distances = table(rng, 20, 6, 30)
    distances[3, :2], distances[4] = 0, 1
    indices[5, 3:], distances[5, 3:] = -1, np.inf
    indices[6], distances[6] = -1, np.inf
    layout = rng.normal(size=(30, 2)).astype(np.float32)
    in_python = run(weighted_means.py_func, indices, distances, layout)
    np.testing.assert_allclose(run(weighted_means, indices, distances, layout), in_python, rtol=1e-6)
    assert np.isnan(in_python[6]).all()
    assert np.isfinite(np.delete(in_python, 6, axis=0)).all()


def test_weights_are_those_of_the_fuzzy_graph(rng):
    from vicinal.kernels.fuzzy import smooth_distances

    indices, distances = table(rng, 50, 14, 14)
    sigmas, rhos = smooth_distances(indices, distances)
    expected = np.exp(-(distances - rhos[:, None]) / sigmas[:, None])
    expected /= expected.sum(axis=1, keepdims=True)
    got = run(weighted_means, indices, distances, np.eye(14, dtype=np.float32))  # its own weights, in cell order
    np.testing.assert_allclose(np.take_along_axis(got, indices, axis=1), expected, atol=1e-5)


def test_coincident_row_takes_the_mean_of_its_twins_alone(rng):
    layout = rng.normal(size=(5, 2)).astype(np.float32)
    indices = np.array([[3, 1, 0, 2], [4, 0, 1, 2]], np.int32)
    distances = np.array([[0, 0, 0.5, 1], [0, 1, 2, 3]], np.float32)
    got = run(weighted_means, indices, distances, layout)
    np.testing.assert_allclose(got[0], layout[[3, 1]].mean(axis=0), rtol=1e-6)
    np.testing.assert_array_equal(got[1], layout[4])


def test_equidistant_neighbours_count_the_same(rng):
    layout = rng.normal(size=(4, 2)).astype(np.float32)
    got = run(weighted_means, np.array([[0, 1, 2, 3]], np.int32), np.full((1, 4), 2.5, np.float32), layout)
    np.testing.assert_allclose(got[0], layout.mean(axis=0), rtol=1e-5, atol=1e-6)


def test_ties_with_the_nearest_leave_the_smallest_bandwidth(rng):
    layout = rng.normal(size=(4, 2)).astype(np.float32)
    indices, distances = np.array([[0, 1, 2, 3]], np.int32), np.array([[1, 1, 1, 1.001]], np.float32)
    weight = np.exp(-0.001 / (1e-3 * 4.001 / 5))
    expected = np.average(layout, axis=0, weights=[1, 1, 1, weight])
    np.testing.assert_allclose(run(weighted_means, indices, distances, layout)[0], expected, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 12),
    k=st.integers(1, 8),
    scale=st.sampled_from([1e-30, 1e-6, 1.0, 1e6, 1e30]),
)
def test_inside_the_hull_and_a_function_of_the_row(seed, n, k, scale):
    rng = np.random.default_rng(seed)
    indices, distances = table(rng, n, k, k + 3, scale)
    distances[rng.random(n) < 0.3, 0] = 0
    layout = rng.normal(size=(k + 3, 2)).astype(np.float32)
    together = run(weighted_means, indices, distances, layout)
    alone = np.vstack([run(weighted_means, indices[[i]], distances[[i]], layout) for i in range(n)])
    np.testing.assert_array_equal(together, alone)
    near = layout[indices]
    assert (together >= near.min(axis=1) - 1e-5).all()
    assert (together <= near.max(axis=1) + 1e-5).all()
