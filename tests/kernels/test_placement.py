from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import brentq, minimize

from vicinal.kernels.placement import descend, draw_others, weighted_means, weighted_medians


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


def naive_weights(distances):
    """Weights of one row without missing neighbours, from the definition by `naive_place` of unit vectors."""
    return naive_place(np.arange(len(distances)), distances, np.eye(len(distances)))


def naive_median(distances, places):
    weights = naive_weights(distances)
    if distances[0] == 0:
        return weights @ places
    spread = np.ptp(places, axis=0).max()

    def total(point):
        return weights @ np.linalg.norm(places - point, axis=1)

    starts = [weights @ places, *places]
    found = [minimize(total, start, method="Nelder-Mead", options={"xatol": 1e-6 * spread}) for start in starts]
    return min(found, key=lambda result: result.fun).x


@pytest.mark.parametrize(("k", "d"), [(1, 2), (2, 2), (5, 2), (15, 2), (15, 3)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_medians_have_the_least_weighted_distance(rng, k, d, scale):
    indices, distances = table(rng, 12, k, k + 3)
    layout = (rng.normal(size=(k + 3, d)) * scale).astype(np.float32)
    got = run(weighted_medians, indices, distances, layout)
    for i in range(12):
        places = layout[indices[i]].astype(float)
        weights, best = naive_weights(distances[i]), naive_median(distances[i], places)
        here, there = (weights @ np.linalg.norm(places - point, axis=1) for point in (got[i], best))
        assert here <= there + 0.01 * scale


def test_a_neighbour_elsewhere_does_not_pull_the_median(rng):
    """Four of five neighbours are together: the mean lies between, the median beside them."""
    layout = np.array([[0, 0], [0.1, 0], [0, 0.1], [0.1, 0.1], [10, 10]], np.float32)
    indices, distances = np.arange(5, dtype=np.int32)[None], np.ones((1, 5), np.float32)
    assert np.linalg.norm(run(weighted_means, indices, distances, layout)[0]) > 2
    assert np.linalg.norm(run(weighted_medians, indices, distances, layout)[0]) < 0.2


def test_medians_turn_with_the_map(rng):
    indices, distances = table(rng, 30, 8, 20)
    layout, angle = rng.normal(size=(20, 2)).astype(np.float32), 0.7
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    got = run(weighted_medians, indices, distances, layout @ turn.T)
    np.testing.assert_allclose(got, run(weighted_medians, indices, distances, layout) @ turn.T, atol=1e-5)


A, B, STRENGTH, RATE = (np.float32(value) for value in (1.577, 0.895, 5.0, 0.05))


def run_steps(function, indices, distances, layout, places, others, *, a=A, b=B, strength=STRENGTH, rate=RATE):
    moved = places.copy()
    function(indices, distances, layout, others, a, b, strength, rate, 0, len(indices), moved)
    return moved


def naive_steps(distances, near, place, others, *, a=float(A), b=float(B), strength=float(STRENGTH), rate=float(RATE)):
    """One row: the slope of each pair's loss by numeric differences, cut off at 4, added up by weight."""
    weights = naive_weights(distances)
    weights = weights / weights.max()

    def pull(point, other):
        return np.log1p(a * ((point - other) ** 2).sum() ** b)

    def push(point, other):
        # The force is softened as umap-learn's, so the slope of the loss is taken of the log odds alone.
        squared = ((point - other) ** 2).sum()
        return 2 * b * (point - other) / ((0.001 + squared) * (1 + a * squared**b))

    def slope(point, other):
        steps = 1e-6 * np.eye(len(point))
        return np.array([(pull(point + step, other) - pull(point - step, other)) / 2e-6 for step in steps])

    for step, drawn in enumerate(others):
        force = sum(w * np.clip(-slope(place, other), -4 / w, 4 / w) for w, other in zip(weights, near, strict=True))
        each = strength * weights.sum() / drawn.shape[1]
        force = force + sum(np.clip(each * push(place, other), -4, 4) for other in drawn.T)
        place = place + rate * (1 - step / len(others)) * force
    return place


@pytest.mark.parametrize(
    ("k", "d", "n_steps", "n_others"), [(1, 2, 1, 1), (4, 2, 3, 5), (15, 2, 10, 64), (6, 3, 5, 20)]
)
def test_steps_equal_the_definition(rng, k, d, n_steps, n_others):
    indices, distances = table(rng, 10, k, 40)
    layout = (3 * rng.normal(size=(40, d))).astype(np.float32)
    others, places = draw_others(layout, n_steps, n_others, 7), rng.normal(size=(10, d)).astype(np.float32)
    got = run_steps(descend, indices, distances, layout, places, others)
    assert (got != places).any(axis=1).all()
    for i in range(10):
        expected = naive_steps(distances[i], layout[indices[i]].astype(float), places[i].astype(float), others)
        np.testing.assert_allclose(got[i], expected, atol=2e-3)


def test_compiled_steps_equal_python(rng):
    indices, distances = table(rng, 9, 5, 20)
    indices[2, 3:], distances[2, 3:] = -1, np.inf
    layout = rng.normal(size=(20, 2)).astype(np.float32)
    others, places = draw_others(layout, 4, 6, 3), rng.normal(size=(9, 2)).astype(np.float32)
    in_python = run_steps(descend.py_func, indices, distances, layout, places, others)
    np.testing.assert_allclose(run_steps(descend, indices, distances, layout, places, others), in_python, atol=1e-5)
    medians = run(weighted_medians.py_func, indices, distances, layout)
    np.testing.assert_allclose(run(weighted_medians, indices, distances, layout), medians, atol=1e-6)


def test_rows_at_distance_0_or_without_neighbours_take_no_steps(rng):
    indices, distances = table(rng, 3, 5, 20)
    distances[0, 0], indices[1], distances[1] = 0, -1, np.inf
    layout = rng.normal(size=(20, 2)).astype(np.float32)
    places = rng.normal(size=(3, 2)).astype(np.float32)
    got = run_steps(descend, indices, distances, layout, places, draw_others(layout, 5, 8, 0))
    np.testing.assert_array_equal(got[:2], places[:2])
    assert (got[2] != places[2]).all()


def test_others_are_cells_of_the_map_in_equal_shares():
    layout = np.arange(20, dtype=np.float32).reshape(10, 2)
    others = draw_others(layout, 50, 200, 1)
    cells = others[:, 0, :].ravel() / 2
    np.testing.assert_array_equal(others[:, 1, :].ravel(), 2 * cells + 1)
    assert abs(np.bincount(cells.astype(int), minlength=10) / 1000 - 1).max() < 0.15
    assert (others[0] != others[1]).any() and (draw_others(layout, 50, 200, 2) != others).any()


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 12),
    k=st.integers(1, 8),
    d=st.integers(1, 4),
    scale=st.sampled_from([1e-30, 1e-6, 1.0, 1e6, 1e18]),
    a=st.sampled_from([0.0, 1e-3, 1.0, 1e3]),
    b=st.sampled_from([0.1, 0.9, 3.0]),
)
def test_steps_are_finite_and_a_function_of_the_row(seed, n, k, d, scale, a, b):
    rng = np.random.default_rng(seed)
    indices, distances = table(rng, n, k, k + 3)
    layout = (rng.normal(size=(k + 3, d)) * scale).astype(np.float32)
    others, places = draw_others(layout, 6, 5, seed), run(weighted_medians, indices, distances, layout)
    curve = {"a": np.float32(a), "b": np.float32(b)}
    together = run_steps(descend, indices, distances, layout, places, others, **curve)
    assert np.isfinite(together).all()
    for i in range(n):
        alone = run_steps(descend, indices[[i]], distances[[i]], layout, places[[i]], others, **curve)
        np.testing.assert_array_equal(alone[0], together[i])
