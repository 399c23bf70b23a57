from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_helpers import arranged, interpreted, random_graph, scale_of
from numba import njit
from umap import distances as umap_distances

from vicinal.kernels import generic, lanes, output_metrics, power, random
from vicinal.kernels.generic import coefficient_epoch, distances_of, metric_epoch

CURVE = (1.5769434603, 0.8950608779, 1.0)


@njit
def pull_factor(squared, parameters):
    a, b = parameters[0], parameters[1]
    return -2 * a * b * squared ** (b - 1) / (1 + a * squared**b)


@njit
def push_factor(squared, parameters):
    a, b, strength = parameters
    return 2 * strength * b / ((0.001 + squared) * (1 + a * squared**b))


@njit
def manhattan(x, y):
    return np.abs(x - y).sum(), np.sign(x - y)


def run_epoch(
    kernel,
    graph,
    layout,
    *,
    fixed=None,
    pulls=2,
    curve=CURVE,
    negatives=5.0,
    rate=1.0,
    seed=3,
    epoch=0,
    phase=0,
    ranges=None,
):
    n = len(layout)
    fixed = np.zeros(n, dtype=bool) if fixed is None else fixed
    moved, parameters = np.full_like(layout, np.nan), np.array(curve, dtype=np.float32)
    numbers = (pulls, parameters, negatives, np.float32(rate), seed, epoch, phase)
    edges, _ = arranged(graph, scale_of(graph[2]), fixed, np.arange(n, dtype=np.int32))
    for start, stop in ranges or [(0, n)]:
        kernel(*edges, layout, moved, *numbers, start, stop)
    return moved


def naive_epoch(pull, push, graph, layout, *, fixed, pulls, curve, negatives, rate, seed, epoch, phase):
    """The epoch written down from its description, in double precision; forces are ``f(own, other, curve)``."""
    indptr, indices, weights = graph
    curve = [float(np.float32(value)) for value in curve]
    parts = np.floor(weights * scale_of(weights) + np.float32(0.5)).astype(int)
    moved = layout.astype(np.float64)

    def draw(key, counter):
        return random.draw(np.uint64(key), np.uint64(counter))

    for i in np.flatnonzero(~fixed):
        offset = int(random.even_draw(np.uint64(draw(draw(seed, 0), i // lanes.LANES)), np.uint64(epoch))) >> 48
        offset = (offset + phase) % 2**16
        row = slice(indptr[i], indptr[i + 1])
        ends = offset + np.concatenate([[0], np.cumsum(parts[row])])
        key, counter = draw(draw(draw(seed, epoch + 1), phase), i), iter(range(10**9))
        for j in indices[row][np.diff(ends // 2**16) > 0]:
            for _ in range(pulls):
                moved[i] += rate * np.clip(pull(moved[i], layout[j].astype(float), curve), -4, 4)
            extra = negatives % 1 > 0 and random.uniform(np.uint64(draw(key, next(counter)))) < negatives % 1
            for _ in range(int(negatives) + extra):
                sample = random.below(np.uint64(draw(key, next(counter))), len(layout))
                if sample != i:
                    moved[i] += rate * np.clip(push(moved[i], layout[sample].astype(float), curve), -4, 4)
    return moved


def naive_forces(metric):
    def pull(own, other, curve):
        a, b, _ = curve
        distance, gradient = metric(own, other)
        return -2 * a * b * distance ** (2 * b - 1) / (1 + a * distance ** (2 * b)) * gradient

    def push(own, other, curve):
        a, b, strength = curve
        distance, gradient = metric(own, other)
        return 2 * strength * b * distance / ((0.001 + distance**2) * (1 + a * distance ** (2 * b))) * gradient

    return pull, push


def exact_euclidean(x, y):
    distance = np.linalg.norm(x - y)
    return distance, (x - y) / distance


def exact_manhattan(x, y):
    return np.abs(x - y).sum(), np.sign(x - y)


KERNELS = {
    "coefficients": (lambda: coefficient_epoch(pull_factor, push_factor), exact_euclidean),
    "euclidean": (lambda: metric_epoch(output_metrics.euclidean), exact_euclidean),
    "manhattan": (lambda: metric_epoch(manhattan), exact_manhattan),
}


@contextmanager
def interpreted_kernel(name):
    """Yield the kernel as plain Python, with all that it calls."""
    with interpreted(random, power, lanes, generic, output_metrics), pytest.MonkeyPatch.context() as patched:
        patched.setattr(generic, "compiled", lambda function: function)
        if name == "coefficients":
            yield coefficient_epoch.__wrapped__(pull_factor.py_func, push_factor.py_func)
        else:
            metric = {"euclidean": output_metrics.euclidean, "manhattan": manhattan.py_func}[name]
            yield metric_epoch.__wrapped__(metric)


@pytest.mark.parametrize("name", KERNELS)
@settings(deadline=None, max_examples=25)
@given(
    n=st.sampled_from([2, 5, 25, 70]),
    n_components=st.integers(1, 10),
    density=st.sampled_from([0.0, 0.1, 0.5]),
    negatives=st.sampled_from([0.0, 1.0, 2.5]),
    pulls=st.sampled_from([1, 2]),
    strength=st.sampled_from([0.0, 1.0, 3.0]),
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 1000),
    phase=st.integers(0, 2**16 - 1),
)
def test_equals_python_and_a_naive_version(
    name, n, n_components, density, negatives, pulls, strength, seed, epoch, phase
):
    rng = np.random.default_rng(seed % 1000)
    graph = random_graph(n, density, rng, directed=pulls == 1)
    # Far enough apart that single and double precision take the same course.
    layout = rng.normal(scale=5, size=(n, n_components)).astype(np.float32)
    settings = {
        "fixed": rng.random(n) < 0.2,
        "pulls": pulls,
        "curve": (*CURVE[:2], strength),
        "negatives": negatives,
        "rate": 0.05,
        "seed": seed,
        "epoch": epoch,
        "phase": phase,
    }
    make, metric = KERNELS[name]
    moved = run_epoch(make(), graph, layout, **settings)
    with interpreted_kernel(name) as kernel:
        python = run_epoch(kernel, graph, layout, **settings)
    np.testing.assert_allclose(moved, python, rtol=1e-5, atol=1e-4)
    naive = naive_epoch(*naive_forces(metric), graph, layout, **settings)
    np.testing.assert_allclose(moved, naive, rtol=1e-3, atol=2e-3)


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 200), max_size=5), st.integers(1, 4))
def test_any_split_of_the_vertices_gives_the_same_bits(cuts, n_components):
    rng = np.random.default_rng(1)
    graph = random_graph(200, 0.05, rng)
    layout = rng.normal(size=(200, n_components)).astype(np.float32)
    edges = sorted({0, 200, *cuts})
    ranges = list(zip(edges[:-1], edges[1:], strict=True))[::-1]
    kernel = coefficient_epoch(pull_factor, push_factor)
    np.testing.assert_array_equal(run_epoch(kernel, graph, layout, ranges=ranges), run_epoch(kernel, graph, layout))


def test_uses_the_same_edges_as_the_fast_kernel(rng):
    """With coefficients of UMAP and no negative samples the two kernels differ by rounding alone."""
    graph = random_graph(130, 0.1, rng)
    layout = rng.normal(scale=5, size=(130, 2)).astype(np.float32)
    fixed, moved, order = np.zeros(130, dtype=bool), np.empty_like(layout), np.arange(130, dtype=np.int32)
    edges, _ = arranged(graph, scale_of(graph[2]), fixed, order)
    curve, most_uses = map(np.float32, CURVE), int(np.diff(graph[0]).max()) + 1
    lanes.lanes_epoch(*edges, layout, moved, 2, *curve, 0.0, np.float32(0.1), 3, 7, 0, most_uses, 0, 3)
    for make, _ in (KERNELS["coefficients"], KERNELS["euclidean"]):
        generic_moved = run_epoch(make(), graph, layout, negatives=0.0, rate=0.1, epoch=7)
        np.testing.assert_allclose(generic_moved, moved, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("n_components", [1, 2, 10])
@pytest.mark.parametrize("scale", [0.0, 1e-20, 1e-6, 1.0, 1e6])
def test_always_finite_and_no_step_beyond_the_limit(name, scale, n_components, rng):
    graph = random_graph(40, 0.3, rng)
    layout = (scale * rng.normal(size=(40, n_components))).astype(np.float32)
    layout[:5] = layout[5]
    moved = run_epoch(KERNELS[name][0](), graph, layout, rate=0.5)
    assert np.isfinite(moved).all()
    n_steps = np.diff(graph[0])[:, None] * 7
    assert (np.abs(moved.astype(float) - layout) <= 2 * n_steps + 1e-5 * np.abs(layout) * n_steps).all()


def test_a_gradient_that_is_not_a_number_where_points_coincide_does_no_harm(rng):
    @njit
    def careless(x, y):
        distance = np.sqrt(((x - y) ** 2).sum())
        return distance, (x - y) / distance

    graph = random_graph(20, 0.5, rng)
    layout = np.zeros((20, 2), dtype=np.float32)
    np.testing.assert_array_equal(run_epoch(metric_epoch(careless), graph, layout), layout)


def test_fixed_and_isolated_vertices_stay(rng):
    indptr, indices, weights = random_graph(50, 0.2, rng)
    graph = (np.concatenate([indptr, np.full(5, indptr[-1])]), indices, weights)
    layout = rng.normal(size=(55, 2)).astype(np.float32)
    fixed = np.arange(55) % 4 == 0
    moved = run_epoch(coefficient_epoch(pull_factor, push_factor), graph, layout, fixed=fixed)
    stays = fixed | (np.diff(graph[0]) == 0)
    np.testing.assert_array_equal(moved[stays], layout[stays])
    assert (moved[~stays] != layout[~stays]).any(axis=1).mean() > 0.9


def test_a_kernel_is_made_once_for_the_same_functions():
    assert coefficient_epoch(pull_factor, push_factor) is coefficient_epoch(pull_factor, push_factor)
    assert metric_epoch(manhattan) is metric_epoch(manhattan)
    assert metric_epoch(manhattan) is not metric_epoch(output_metrics.euclidean)


@pytest.mark.parametrize(("a", "b", "strength"), [CURVE, (0.583, 1.334, 2.0)])
def test_slopes_are_those_of_the_generic_layout_of_umap_learn(a, b, strength):
    """Its coefficients as functions of w = 1 / (1 + a d^2b): 2b (w - 1) / d and 2 gamma b w / d."""
    parameters = np.array([a, b, strength], dtype=np.float32)
    for d in np.linspace(0.3, 10, 30):
        w = 1 / (1 + a * d ** (2 * b))
        assert generic.pull_of_curve(np.float32(d), parameters) == pytest.approx(2 * b * (w - 1) / d, rel=1e-4)
        assert generic.push_of_curve(np.float32(d), parameters) == pytest.approx(2 * strength * b * w / d, rel=0.012)


def test_euclidean_is_the_peers(rng):
    for n_components in (1, 2, 5):
        x, y = rng.normal(size=(2, n_components)).astype(np.float32)
        distance, gradient = output_metrics.euclidean(x, y)
        expected = umap_distances.euclidean_grad(x, y)
        assert distance == pytest.approx(expected[0], rel=1e-5)
        np.testing.assert_allclose(gradient, expected[1], atol=1e-5)


@settings(deadline=None)
@given(st.lists(st.floats(-20, 20, width=32), min_size=4, max_size=4))
def test_haversine_is_the_peers_and_the_angle_in_space(coordinates):
    points = np.array(coordinates, dtype=np.float32).reshape(2, 2)
    polar, longitude = points.astype(float).T
    space = np.column_stack([np.sin(polar) * np.cos(longitude), np.sin(polar) * np.sin(longitude), np.cos(polar)])
    chord = np.linalg.norm(space[0] - space[1])
    distance, gradient = output_metrics.haversine(*points)
    assert 2 * np.sin(distance / 2) == pytest.approx(chord, abs=1e-3)
    assert output_metrics.haversine.py_func(*points)[0] == pytest.approx(distance, abs=1e-3)
    if 0.05 < chord < 1.99:
        expected = umap_distances.haversine_grad(*points.astype(float))
        assert distance == pytest.approx(expected[0], abs=1e-3)
        np.testing.assert_allclose(gradient, expected[1], atol=5e-3)
        np.testing.assert_allclose(output_metrics.haversine.py_func(*points)[1], gradient, atol=1e-3)


@pytest.mark.parametrize("point", [(0.0, 0.0), (np.pi, 1.0), (1.0, 2.0)])
def test_haversine_of_coincident_and_opposite_points_is_finite(point):
    here = np.array(point, dtype=np.float32)
    opposite = np.array([np.pi - point[0], point[1] + np.pi], dtype=np.float32)
    for other in (here.copy(), opposite):
        distance, gradient = output_metrics.haversine(here, other)
        assert np.isfinite(gradient).all()
        assert distance == pytest.approx(0 if (other == here).all() else np.pi, abs=2e-3)


def test_distances_of_pairs_of_rows(rng):
    x, y = rng.normal(size=(2, 30, 3)).astype(np.float32)
    distances, python = np.empty(30), np.empty(30)
    distances_of(manhattan)(x, y, distances)
    np.testing.assert_allclose(distances, np.abs(x - y).sum(axis=1), rtol=1e-5)
    distances_of(manhattan).py_func(x, y, python)
    np.testing.assert_array_equal(distances, python)
