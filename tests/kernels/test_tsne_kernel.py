from __future__ import annotations

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_helpers import random_graph

from vicinal.kernels import pulls, tsne

DOFS = (0.5, 1.0, 3.0)


def naive(places, weights, dof):
    """Attraction, the gradient of each cell's sum of the kernel, and the sums, in double precision."""
    places = places.astype(np.float64)
    difference = places[:, None] - places[None]
    squared = (difference**2).sum(axis=2)
    kernel = (1 + squared / dof) ** -dof
    np.fill_diagonal(kernel, 0)
    pulls = ((weights / (1 + squared / dof))[:, :, None] * difference).sum(axis=1)
    field = (-2 * (kernel / (1 + squared / dof))[:, :, None] * difference).sum(axis=1)
    return pulls, field, kernel.sum(), (weights * np.log1p(squared / dof)).sum()


def dense(graph, n):
    weights = np.zeros((n, n))
    weights[np.repeat(np.arange(n), np.diff(graph[0])), graph[1]] = graph[2]
    return weights


@pytest.mark.parametrize("dof", DOFS)
@pytest.mark.parametrize("n_components", [1, 2, 3])
@pytest.mark.parametrize(("n", "density"), [(30, 0.2), (100, 0.9)], ids=["few_edges", "many_edges"])
def test_forces_and_loss_are_those_of_the_formula(dof, n_components, n, density, rng):
    indptr, indices, weights = random_graph(n, density, rng)
    places = rng.normal(scale=3, size=(n, n_components)).astype(np.float32)
    pulled, field, total, loss = naive(places, dense((indptr, indices, weights), n), dof)
    edges, per_dof = (indptr, indices.astype(np.uint32), weights), np.float32(1 / dof)
    found = np.full_like(places, np.nan)
    tsne.attract(*edges, places, per_dof, found, 0, n)
    np.testing.assert_allclose(found, pulled, rtol=1e-4, atol=1e-5)
    assert tsne.attraction_loss(*edges, places, per_dof, 0, n) == pytest.approx(loss, rel=1e-5)
    others = np.zeros((3, n), dtype=np.float32)
    others[:n_components] = places.T
    sums = [tsne.repel_tailed(places, others, np.float32(dof), found, start, start + 10) for start in range(0, n, 10)]
    np.testing.assert_allclose(found, field, rtol=1e-4, atol=1e-4)
    assert sum(sums) - n == pytest.approx(total, rel=1e-5)
    if dof == 1:
        assert tsne.repel(places, others, found, 0, n) - n == pytest.approx(total, rel=1e-5)
        np.testing.assert_allclose(found, field, rtol=1e-4, atol=1e-4)


def stepped(places, moves, gains, slope, rate=0.5, momentum=0.8, longest=5.0, stays=None):
    """One step, the slope being that of the edges alone."""
    new = tuple(np.full_like(places, np.nan) for _ in range(3))
    stays = np.zeros(len(places), dtype=bool) if stays is None else stays
    settings = (np.float32(value) for value in (1, 0, rate, momentum, longest))
    tsne.descend(places, moves, gains, slope, np.zeros_like(slope), stays, *settings, *new, 0, len(places))
    return new


def random_step(rng, n=20, n_components=2):
    places, moves, slope = (rng.normal(size=(n, n_components)).astype(np.float32) for _ in range(3))
    return places, moves, rng.uniform(0.1, 2, size=places.shape).astype(np.float32), slope


def test_a_step_is_momentum_and_gains(rng):
    places, moves, gains, slope = random_step(rng)
    uphill = np.sign(moves) == np.sign(slope)
    expected_gains = np.where(uphill, 0.8 * gains + 0.01, gains + 0.2)
    expected_moves = 0.8 * moves - 0.5 * expected_gains * slope
    new_places, new_moves, new_gains = stepped(places, moves, gains, slope)
    np.testing.assert_allclose(new_gains, expected_gains, rtol=1e-5)
    np.testing.assert_allclose(new_moves, expected_moves, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(new_places, places + expected_moves, rtol=1e-4, atol=1e-6)


def test_no_step_is_longer_than_the_limit_and_its_direction_stays(rng):
    places, moves, gains, slope = random_step(rng)
    _, free, _ = stepped(places, moves, gains, 100 * slope, longest=np.inf)
    _, limited, _ = stepped(places, moves, gains, 100 * slope, longest=0.25)
    np.testing.assert_allclose(np.linalg.norm(limited, axis=1), 0.25, rtol=1e-4)
    cosine = (free * limited).sum(axis=1) / np.linalg.norm(free, axis=1) / 0.25
    np.testing.assert_allclose(cosine, 1, rtol=1e-4)


def test_cells_that_stay_do_not_move(rng):
    places, moves, gains, slope = random_step(rng)
    stays = np.arange(len(places)) % 2 == 0
    new_places, new_moves, _ = stepped(places, moves, gains, slope, stays=stays)
    np.testing.assert_array_equal(new_places[stays], places[stays])
    assert not new_moves[stays].any() and (new_places[~stays] != places[~stays]).all()


@settings(deadline=None, max_examples=40)
@given(st.integers(2, 30), st.integers(0, 2**32 - 1))
def test_a_graph_in_another_order_is_the_same_graph(n, seed):
    rng = np.random.default_rng(seed)
    indptr, indices, weights = random_graph(n, 0.3, rng)
    order = rng.permutation(n).astype(np.int32)
    rank = np.argsort(order).astype(np.uint32)
    starts = np.append(0, np.cumsum(np.diff(indptr)[order]))
    ends, shares = np.empty(len(indices), dtype=np.uint32), np.empty(len(indices), dtype=np.float32)
    tsne.arrange(indptr, indices, weights, np.float32(2), order, rank, starts, ends, shares, 0, n)
    expected = 2 * dense((indptr, indices, weights), n)[order][:, order]
    np.testing.assert_allclose(dense((starts, ends, shares), n), expected, rtol=1e-6)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("n", "n_components"), [(1, 1), (2, 3), (50, 2), (50, 3)])
def test_a_place_that_is_not_finite_is_seen_wherever_it_is(value, n, n_components):
    low, high = np.empty(n_components, dtype=np.float32), np.empty(n_components, dtype=np.float32)
    for at in np.ndindex(n, n_components):
        places = np.zeros((n, n_components), dtype=np.float32)
        places[at] = value
        assert not tsne.survey(places, low, high)


def test_eight_edges_at_a_time_do_what_is_written(rng):
    places = rng.normal(size=(30, 2)).astype(np.float32)
    ends, weights = rng.integers(30, size=20).astype(np.uint32), rng.uniform(size=20).astype(np.float32)
    place = (np.float32(0.3), np.float32(-2))

    @numba.njit
    def compiled(found, sums):
        pulls.square(ends, places, 5, place[0], place[1], found, 3)
        pulls.pull(ends, weights, places, 5, place[0], place[1], np.float32(0.5), sums)

    found, sums = np.zeros((2, 14), dtype=np.float32), np.ones((2, 2 * pulls.LANES), dtype=np.float32)
    compiled(found[0], sums[0])
    pulls.square(ends, places, 5, *place, found[1], 3)
    pulls.pull(ends, weights, places, 5, *place, np.float32(0.5), sums[1])
    np.testing.assert_allclose(found[0], found[1], rtol=1e-5)
    np.testing.assert_allclose(sums[0], sums[1], rtol=1e-5)
    assert not found[0, :3].any() and not found[0, 11:].any() and found[0, 3:11].all()


def test_extent_and_mean(rng):
    places = rng.normal(loc=7, size=(50, 3)).astype(np.float32)
    low, high = np.empty(3, dtype=np.float32), np.empty(3, dtype=np.float32)
    assert tsne.survey(places, low, high)
    np.testing.assert_array_equal([low, high], [places.min(axis=0), places.max(axis=0)])
    moved = places + np.float32([1, -2, 0.5])
    tsne.keep_mean(moved, places)
    np.testing.assert_allclose(moved, places, atol=1e-5)
