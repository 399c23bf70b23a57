from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_helpers import arranged, interpreted, random_graph, scale_of

from vicinal.kernels import lanes, power, random
from vicinal.kernels.lanes import LANES, ONE_USE, lanes_epoch, uses_per_epoch

CURVE = (1.5769434603, 0.8950608779, 1.0)


def run_epoch(
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
    share=1.0,
    order=None,
    ranges=None,
):
    n = len(layout)
    fixed = np.zeros(n, dtype=bool) if fixed is None else fixed
    moved, scale, uses = (
        np.full_like(layout, np.nan),
        np.float32(share * scale_of(graph[2])),
        np.zeros(n, dtype=np.int64),
    )
    uses_per_epoch(graph[0], graph[2], scale, fixed, uses)
    order = np.argsort(-uses, kind="stable").astype(np.int32) if order is None else order
    numbers = (*map(np.float32, curve), negatives, np.float32(rate), seed, epoch, phase, int(uses.max()) // ONE_USE + 2)
    edges, rank = arranged(graph, scale, fixed, order)
    for start, stop in ranges or [(0, -(-n // LANES))]:
        lanes_epoch(*edges, layout[order], moved, pulls, *numbers, start, stop)
    return moved[rank]


def naive_epoch(graph, layout, *, fixed, pulls, curve, negatives, rate, seed, epoch, phase, order):
    """The epoch written down from its description, in double precision, one vertex at a time."""
    indptr, indices, weights = graph
    a, b, strength = (float(np.float32(value)) for value in curve)
    parts = np.floor(weights * scale_of(weights) + np.float32(0.5)).astype(int)
    moved = layout.astype(np.float64)

    def draw(key, counter):
        return random.draw(np.uint64(key), np.uint64(counter))

    def step(own, other, factor):
        return rate * np.clip(factor * (own - other), -4, 4)

    for rank, i in enumerate(order):
        if fixed[i]:
            continue
        offset = int(random.even_draw(np.uint64(draw(draw(seed, 0), rank // LANES)), np.uint64(epoch))) >> 48
        offset = (offset + phase) % 2**16
        row = slice(indptr[i], indptr[i + 1])
        ends = offset + np.concatenate([[0], np.cumsum(parts[row])])
        used = indices[row][np.diff(ends // 2**16) > 0]
        key, counter = draw(draw(draw(seed, epoch + 1), phase), rank // LANES), iter(range(10**9))
        for j in used:
            other = layout[j].astype(np.float64)
            for _ in range(pulls):
                d2 = max(((moved[i] - other) ** 2).sum(), 1e-12)
                moved[i] += step(moved[i], other, -2 * a * b * d2 ** (b - 1) / (1 + a * d2**b))
            extra = negatives % 1 > 0 and random.uniform(np.uint64(draw(key, next(counter)))) < negatives % 1
            for _ in range(int(negatives) + extra):
                sample = order[random.below(np.uint64(draw(key, next(counter))), len(layout))]
                if sample == i:
                    continue
                other = layout[sample].astype(np.float64)
                d2 = ((moved[i] - other) ** 2).sum()
                moved[i] += step(moved[i], other, 2 * strength * b / ((0.001 + d2) * (1 + a * d2**b)))
    return moved


@settings(deadline=None, max_examples=40)
@given(
    n=st.sampled_from([2, 5, 25, 70, 130]),
    n_components=st.integers(1, 10),
    density=st.sampled_from([0.0, 0.1, 0.5]),
    negatives=st.sampled_from([0.0, 1.0, 2.5, 5.0]),
    pulls=st.sampled_from([1, 2]),
    strength=st.sampled_from([0.0, 1.0, 3.0]),
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 1000),
    phase=st.integers(0, 2**16 - 1),
)
def test_equals_python_and_a_naive_version(n, n_components, density, negatives, pulls, strength, seed, epoch, phase):
    rng = np.random.default_rng(seed % 1000)
    graph = random_graph(n, density, rng, directed=pulls == 1)
    # Far enough apart that single and double precision take the same course.
    layout = rng.normal(scale=5, size=(n, n_components)).astype(np.float32)
    settings = {
        "fixed": rng.random(n) < 0.2,
        "pulls": pulls,
        "curve": (*CURVE[:2], strength),
        "negatives": negatives,
        "rate": 0.1,
        "seed": seed,
        "epoch": epoch,
        "phase": phase,
        "order": rng.permutation(n).astype(np.int32),
    }
    moved = run_epoch(graph, layout, **settings)
    with interpreted(random, power, lanes):
        python = run_epoch(graph, layout, **settings)
    np.testing.assert_allclose(moved, python, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(moved, naive_epoch(graph, layout, **settings), rtol=1e-3, atol=1e-3)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 8), max_size=5), st.integers(1, 4))
def test_any_split_of_the_blocks_gives_the_same_bits(cuts, n_components):
    rng = np.random.default_rng(1)
    graph = random_graph(500, 0.02, rng)
    layout = rng.normal(size=(500, n_components)).astype(np.float32)
    edges = sorted({0, 8, *cuts})
    ranges = list(zip(edges[:-1], edges[1:], strict=True))[::-1]
    np.testing.assert_array_equal(run_epoch(graph, layout, ranges=ranges), run_epoch(graph, layout))


def test_fixed_and_isolated_vertices_stay(rng):
    indptr, indices, weights = random_graph(50, 0.2, rng)
    indptr = np.concatenate([indptr, np.full(5, indptr[-1])])  # five vertices without an edge
    layout = rng.normal(size=(55, 2)).astype(np.float32)
    fixed = np.arange(55) % 4 == 0
    moved = run_epoch((indptr, indices, weights), layout, fixed=fixed)
    stays = fixed | (np.diff(indptr) == 0)
    np.testing.assert_array_equal(moved[stays], layout[stays])
    assert (moved[~stays] != layout[~stays]).any(axis=1).mean() > 0.9


def uses_of_edges(graph, n_epochs, n_passes, seed=5):
    """Count how often each edge is used, by what it moves.

    Edges are redirected to probes. Ten of a row at a time lie on an axis of their own, the rest where the row is.
    """
    indptr, _, weights = graph
    n, degrees = len(indptr) - 1, np.diff(indptr)
    place = np.arange(indptr[-1]) - np.repeat(indptr[:-1], degrees)
    probed = (np.append(indptr, np.full(degrees.max(), indptr[-1])), (n + place).astype(np.int32), weights)
    counts = np.zeros(len(weights), dtype=int)
    for first in range(0, degrees.max(), 10):
        layout = np.zeros((n + degrees.max(), 10), dtype=np.float32)
        block = np.arange(first, min(first + 10, degrees.max()))
        layout[n + block, block - first] = 1
        shown = np.flatnonzero((place >= first) & (place < first + 10))
        rows = np.repeat(np.arange(n), degrees)[shown]
        for epoch, part in itertools.product(range(n_epochs), range(n_passes)):
            at = {"epoch": epoch, "phase": part * ONE_USE // n_passes, "share": 1 / n_passes}
            moved = run_epoch(probed, layout, pulls=1, negatives=0.0, rate=1e-3, seed=seed, **at)
            counts[shown] += moved[rows, place[shown] - first] > 1e-6
    return counts


@pytest.mark.parametrize("n_passes", [1, 2, 3])
def test_edges_are_used_as_often_as_their_weights_say(n_passes, rng):
    graph = random_graph(60, 0.25, rng)
    n_epochs = 200
    expected = n_epochs * graph[2] / graph[2].max()
    uses = uses_of_edges(graph, n_epochs, n_passes)
    # Uses at random would have a standard deviation of up to 7.
    assert np.abs(uses - expected).max() < 5
    assert abs((uses - expected).mean()) < 0.2
    assert (uses[graph[2] == graph[2].max()] == n_epochs).all()


def test_negative_samples_are_uniform_and_the_vertex_itself_does_not_push():
    n, n_epochs = 12, 400
    # One edge, of vertex 3 to where it lies itself: nothing pulls. Every other vertex pushes along its own axis.
    indptr = np.repeat([0, 1], [4, n - 3])
    graph = (indptr, np.array([3], dtype=np.int32), np.ones(1, dtype=np.float32))
    seen = np.zeros(n)
    for epoch in range(n_epochs):
        for first in range(0, n, 10):
            layout = np.zeros((n, 10), dtype=np.float32)
            block = np.arange(first, min(first + 10, n))
            layout[block, block - first] = 1
            layout[3] = 0
            moved = run_epoch(graph, layout, negatives=1.0, rate=1e-3, epoch=epoch)[3]
            seen[block] += (moved < -1e-6)[block - first]
    assert seen[3] == 0
    expected = n_epochs / n
    assert np.abs(np.delete(seen, 3) - expected).max() < 4.5 * np.sqrt(expected)


@pytest.mark.parametrize("negatives", [0.0, 0.3, 1.0, 2.75])
def test_fractional_rates_hold_on_average(negatives):
    """Two vertices far apart: each negative sample that is not itself pushes by the same tiny amount."""
    graph = (np.array([0, 1, 1]), np.array([0], dtype=np.int32), np.ones(1, dtype=np.float32))
    layout = np.array([[0.0], [2.0]], dtype=np.float32)
    a, b, _ = CURVE
    unit = 2 * b / ((0.001 + 4) * (1 + a * 4**b)) * 2 * 1e-4
    pushes = [-run_epoch(graph, layout, negatives=negatives, rate=1e-4, epoch=e)[0, 0] / unit for e in range(4000)]
    counts = np.round(pushes)
    np.testing.assert_allclose(pushes, counts, atol=0.01)
    assert counts.max() <= math.ceil(negatives)
    assert counts.mean() == pytest.approx(negatives / 2, abs=0.05)


@pytest.mark.parametrize(("a", "b"), [CURVE[:2], (0.583, 1.334), (1.0, 1.0)])
def test_forces_are_the_gradients_of_the_loss(a, b):
    distance = np.linspace(0.3, 8, 40)

    def log_q(d):
        return -np.log1p(a * d ** (2 * b))

    def log_not_q(d):
        return np.log(a * d ** (2 * b)) + log_q(d)

    def slope(f):
        return (f(distance + 1e-6) - f(distance - 1e-6)) / 2e-6

    rate = 1e-3
    edge = (np.array([0, 1, 1]), np.array([1], dtype=np.int32), np.ones(1, dtype=np.float32))
    curve = (a, b, 1.0)
    pull, push = [], []
    for d in distance:
        layout = np.array([[d], [0.0]], dtype=np.float32)
        pull.append(
            (run_epoch(edge, layout, curve=curve, pulls=1, negatives=0.0, rate=rate)[0, 0] - layout[0, 0]) / rate
        )
        # The edge is to itself, and the only other vertex is the one at the origin.
        itself = (edge[0], np.zeros(1, dtype=np.int32), edge[2])
        moves = [run_epoch(itself, layout, curve=curve, negatives=1.0, rate=rate, epoch=e)[0, 0] for e in range(12)]
        push.append((max(moves) - layout[0, 0]) / rate)
    np.testing.assert_allclose(pull, np.maximum(slope(log_q), -4), rtol=1e-2, atol=1e-3)
    softened = slope(log_not_q) * distance**2 / (0.001 + distance**2)
    np.testing.assert_allclose(push, np.minimum(softened, 4), rtol=1e-2, atol=1e-3)


@settings(deadline=None)
@given(st.floats(2.0**-40, 2.0**40, width=32), st.floats(0.25, 3.0, width=32))
def test_power(base, exponent):
    exact = float(base) ** float(exponent)
    assert power.power(np.float32(base), np.float32(exponent)) == pytest.approx(exact, rel=1e-5 + 2e-6 * exponent * 40)


def test_log2_and_exp2_are_good_to_a_few_parts_in_a_million():
    numbers = np.geomspace(1e-30, 1e30, 5001).astype(np.float32)
    np.testing.assert_allclose([power.log2(x) for x in numbers], np.log2(numbers.astype(float)), rtol=3e-6, atol=3e-6)
    exponents = np.linspace(-110, 110, 5001).astype(np.float32)
    np.testing.assert_allclose([power.exp2(x) for x in exponents], np.exp2(exponents.astype(float)), rtol=3e-6)


@pytest.mark.parametrize("n_components", [1, 2, 3, 10])
@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-20, 1e-6, 1.0, 1e6, 1e15])
@pytest.mark.parametrize("b", [0.3, 0.895, 2.0])
def test_always_finite_and_no_step_beyond_the_limit(scale, n_components, b, rng):
    graph = random_graph(40, 0.3, rng)
    layout = (scale * rng.normal(size=(40, n_components))).astype(np.float32)
    layout[:5] = layout[5]
    moved = run_epoch(graph, layout, curve=(1.5, b, 1.0), rate=0.5)
    assert np.isfinite(moved).all()
    n_steps = np.diff(graph[0]) * 7
    reach = 0.5 * 4 * n_steps[:, None]
    assert (np.abs(moved.astype(np.float64) - layout) <= reach + 1e-5 * np.abs(layout) * n_steps[:, None]).all()


def test_coincident_vertices_are_not_parted_nor_lost():
    graph = (np.array([0, 1, 2]), np.array([1, 0], dtype=np.int32), np.ones(2, dtype=np.float32))
    layout = np.full((2, 2), 3, dtype=np.float32)
    np.testing.assert_array_equal(run_epoch(graph, layout), layout)


def test_one_vertex_with_an_edge_to_itself_has_no_others_to_draw():
    graph = (np.array([0, 1]), np.array([0], dtype=np.int32), np.ones(1, dtype=np.float32))
    layout = np.ones((1, 2), dtype=np.float32)
    np.testing.assert_array_equal(run_epoch(graph, layout), layout)


def test_weights_of_zero_are_never_used(rng):
    indptr, indices, weights = random_graph(20, 0.3, rng)
    layout = rng.normal(size=(20, 2)).astype(np.float32)
    np.testing.assert_array_equal(run_epoch((indptr, indices, np.zeros_like(weights)), layout), layout)
