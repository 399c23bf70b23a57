from __future__ import annotations

import math
from contextlib import contextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from vicinal.kernels import random, sgd
from vicinal.kernels.sgd import attraction, repulsion

CURVE = (1.5769434603, 0.8950608779, 1.0)


@contextmanager
def interpreted(*modules):
    """Run these modules' kernels, and what they call, as plain Python."""
    compiled = [(module, name, value) for module in modules for name, value in vars(module).items() if is_kernel(value)]
    for module, name, value in compiled:
        setattr(module, name, value.py_func)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        for module, name, value in compiled:
            setattr(module, name, value)


def is_kernel(value):
    return hasattr(value, "py_func")


def random_graph(n, density, rng, *, directed=False):
    matrix = sparse.random(n, n, density, random_state=rng, dtype=np.float32, format="csr")
    matrix = matrix if directed else matrix.maximum(matrix.T)
    matrix.setdiag(0)
    matrix = sparse.csr_matrix(matrix)
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data


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
    ranges=None,
):
    n = len(layout)
    fixed = np.zeros(n, dtype=bool) if fixed is None else fixed
    moved = np.full_like(layout, np.nan)
    largest = float(graph[2].max(initial=0)) or 1.0
    for start, stop in ranges or [(0, n)]:
        sgd.sgd_epoch(*graph, fixed, layout, moved, pulls, curve, negatives, rate, largest, seed, epoch, start, stop)
    return moved


def naive_epoch(graph, layout, *, fixed, pulls, curve, negatives, rate, seed, epoch):
    """The epoch written down from its description, in double precision."""
    indptr, indices, weights = graph
    a, b, strength = curve
    relative = weights.astype(np.float64) / float(weights.max(initial=1e-9))
    moved = layout.astype(np.float64)
    n = len(layout)

    def draw(key, counter):
        return random.draw(np.uint64(key), np.uint64(counter))

    def step(own, other, factor):
        return rate * np.clip(factor * (own - other), -4, 4)

    for i in np.flatnonzero(~fixed):
        key = draw(draw(seed, epoch + 1), i)
        counter = iter(range(10**9))
        offset = random.uniform(np.uint64(random.even_draw(np.uint64(draw(draw(seed, 0), i)), np.uint64(epoch))))
        row = slice(indptr[i], indptr[i + 1])
        ends = offset + np.concatenate([[0], np.cumsum(relative[row])])
        for j, used in zip(indices[row], np.diff(np.floor(ends)), strict=True):
            if not used:
                continue
            other = layout[j].astype(np.float64)
            for _ in range(pulls):
                d2 = ((moved[i] - other) ** 2).sum()
                factor = 0.0 if d2 < 1e-30 else -2 * a * b * d2 ** (b - 1) / (1 + a * d2**b)
                moved[i] += step(moved[i], other, factor)
            extra = negatives % 1 > 0 and random.uniform(np.uint64(draw(key, next(counter)))) < negatives % 1
            for _ in range(int(negatives) + extra):
                sample = random.below(np.uint64(draw(key, next(counter))), n - 1)
                other = layout[sample + (sample >= i)].astype(np.float64)
                d2 = ((moved[i] - other) ** 2).sum()
                moved[i] += step(moved[i], other, 2 * strength * b / ((0.001 + d2) * (1 + a * d2**b)))
    return moved


@settings(deadline=None, max_examples=40)
@given(
    n=st.integers(2, 25),
    n_components=st.integers(1, 10),
    density=st.sampled_from([0.0, 0.1, 0.5]),
    negatives=st.sampled_from([0.0, 1.0, 2.5, 5.0]),
    pulls=st.sampled_from([1, 2]),
    strength=st.sampled_from([0.0, 1.0, 3.0]),
    seed=st.integers(0, 2**63 - 1),
    epoch=st.integers(0, 1000),
)
def test_equals_python_and_a_naive_version(n, n_components, density, negatives, pulls, strength, seed, epoch):
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
    }
    moved = run_epoch(graph, layout, **settings)
    with interpreted(random, sgd):
        python = run_epoch(graph, layout, **settings)
    np.testing.assert_allclose(moved, python, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(moved, naive_epoch(graph, layout, **settings), rtol=1e-3, atol=1e-3)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 60), max_size=5), st.integers(1, 4))
def test_any_split_of_the_rows_gives_the_same_bits(cuts, n_components):
    rng = np.random.default_rng(1)
    graph = random_graph(60, 0.2, rng)
    layout = rng.normal(size=(60, n_components)).astype(np.float32)
    edges = sorted({0, 60, *cuts})
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


def uses_of_edges(graph, n_epochs, seed=5):
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
        for epoch in range(n_epochs):
            moved = run_epoch(probed, layout, pulls=1, negatives=0.0, rate=1e-3, seed=seed, epoch=epoch)
            counts[shown] += moved[rows, place[shown] - first] > 1e-6
    return counts


def test_edges_are_used_as_often_as_their_weights_say(rng):
    graph = random_graph(60, 0.25, rng)
    n_epochs = 200
    expected = n_epochs * graph[2] / graph[2].max()
    uses = uses_of_edges(graph, n_epochs)
    # Uses at random would have a standard deviation of up to 7.
    assert np.abs(uses - expected).max() < 5
    assert abs((uses - expected).mean()) < 0.2
    assert (uses[graph[2] == graph[2].max()] == n_epochs).all()


def test_negative_samples_are_all_others_and_never_the_vertex_itself():
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
    assert seen[3] == 0 and seen.sum() == n_epochs
    expected = n_epochs / (n - 1)
    assert np.abs(np.delete(seen, 3) - expected).max() < 4.5 * np.sqrt(expected)


@pytest.mark.parametrize("negatives", [0.0, 0.3, 1.0, 2.75])
def test_fractional_rates_hold_on_average(negatives):
    """Two vertices far apart: each negative sample pushes by the same tiny amount."""
    graph = (np.array([0, 1, 1]), np.array([0], dtype=np.int32), np.ones(1, dtype=np.float32))
    layout = np.array([[0.0], [2.0]], dtype=np.float32)
    unit = -repulsion(4.0, *CURVE) * -2.0 * 1e-4
    pushes = [-run_epoch(graph, layout, negatives=negatives, rate=1e-4, epoch=e)[0, 0] / unit for e in range(2000)]
    counts = np.round(pushes)
    np.testing.assert_allclose(pushes, counts, atol=0.01)
    assert set(counts) == {math.floor(negatives), math.ceil(negatives)}
    assert counts.mean() == pytest.approx(negatives, abs=0.05)


@pytest.mark.parametrize(("a", "b"), [CURVE[:2], (0.583, 1.334), (1.0, 1.0)])
def test_forces_are_the_gradients_of_the_loss(a, b):
    distance = np.linspace(0.3, 8, 40)

    def log_q(d):
        return -np.log1p(a * d ** (2 * b))

    def log_not_q(d):
        return np.log(a * d ** (2 * b)) + log_q(d)

    def slope(f):
        return (f(distance + 1e-6) - f(distance - 1e-6)) / 2e-6

    pull = [attraction(np.float32(d * d), np.float32(a), np.float32(b)) * d for d in distance]
    push = [repulsion(np.float32(d * d), np.float32(a), np.float32(b), np.float32(1)) * d for d in distance]
    np.testing.assert_allclose(pull, slope(log_q), rtol=1e-4)
    np.testing.assert_allclose(push, slope(log_not_q) * distance**2 / (0.001 + distance**2), rtol=1e-4)


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
