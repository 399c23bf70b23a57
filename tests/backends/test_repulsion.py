"""Repulsion on a grid against all pairs."""

from __future__ import annotations

import numpy as np
import pytest

from vicinal.backends.optimizer.repulsion import Box, Grid, Pairs, parts, repulsion_of
from vicinal.kernels.parallel import in_turn, workers


def clouds(n, n_components, extent, rng):
    """Cells in groups, as maps have them."""
    centers = rng.uniform(-0.5, 0.5, size=(8, n_components))
    places = centers[rng.integers(8, size=n)] + rng.normal(scale=0.05, size=(n, n_components))
    return (extent * places).astype(np.float32)


def evaluated(repulsion, places, run=in_turn, epoch=0):
    gradient = np.full_like(places, np.nan)
    return repulsion.evaluate(places, gradient, epoch, run), gradient


def errors(places, dof=1.0):
    """The error of the gradient, root mean square over that of the gradient itself, and of the sum."""
    n, n_components = places.shape
    total, gradient = evaluated(Grid(n, n_components, dof), places)
    exact_total, exact = evaluated(Pairs(n, dof), places)
    return np.linalg.norm(gradient - exact) / np.linalg.norm(exact), abs(total / exact_total - 1)


@pytest.mark.parametrize("dof", [0.6, 1.0, 2.0])
@pytest.mark.parametrize("n_components", [1, 2])
def test_on_a_grid_as_over_all_pairs(n_components, dof, rng):
    for extent, allowed in ((1e-4, 1e-3), (1, 1e-3), (9, 1e-3), (60, 0.02)):
        of_gradient, of_sum = errors(clouds(1500, n_components, extent, rng), dof)
        assert of_gradient < allowed * max(dof, 1) ** 2, f"extent {extent}"
        assert of_sum < 5e-3, f"extent {extent}"


def test_an_outlier_far_away_does_no_harm(rng):
    places = clouds(1500, 2, 20, rng)
    places[7] = 900
    of_gradient, of_sum = errors(places)
    assert of_gradient < 0.02 and of_sum < 1e-3


@pytest.mark.parametrize("extent", [0.0, 1e-6, 1e3, 1e6])
def test_any_extent_gives_finite_forces(extent, rng):
    for n_components in (1, 2, 3):
        kind = Pairs(1200, 1.0) if n_components == 3 else Grid(1200, n_components, 1.0)
        total, gradient = evaluated(kind, clouds(1200, n_components, extent, rng))
        assert np.isfinite(total) and np.isfinite(gradient).all()


def test_forces_push_outwards_and_sum_to_nothing(rng):
    places = clouds(2000, 2, 30, rng)
    _, gradient = evaluated(Grid(2000, 2, 1.0), places)
    assert (gradient * (places - places.mean(axis=0))).sum() < 0, "the kernel's sum falls on the way out"
    assert np.abs(gradient.sum(axis=0)).max() < 1e-3 * np.abs(gradient).sum()


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_the_same_bits_for_any_number_of_threads_and_when_used_again(n_components, rng):
    repulsion = Pairs(5000, 1.0, most=3000) if n_components == 3 else Grid(5000, n_components, 1.0)
    places = clouds(5000, n_components, 300 if n_components == 2 else 40, rng)
    expected = evaluated(repulsion, places)
    evaluated(repulsion, places / 2)
    for n_jobs in (2, 3, 8):
        with workers(n_jobs) as run:
            total, gradient = evaluated(repulsion, places, run)
        assert total == expected[0]
        np.testing.assert_array_equal(gradient, expected[1])


def test_a_box_holds_all_cells_with_room_for_their_splines(rng):
    for extent in np.geomspace(1e-6, 1e5, 30):
        places = clouds(100, 2, extent, rng)
        box = Box.around(places)
        nodes = (places - box.low) / box.width
        assert nodes.min() >= 1 and (nodes.max(axis=0) + 2 < np.array(box.shape) - 1).all()


@pytest.mark.parametrize(("n", "n_components", "kind"), [(100, 2, Pairs), (100_000, 2, Grid), (100_000, 3, Pairs)])
def test_few_cells_are_compared_pair_by_pair_and_all_in_space(n, n_components, kind):
    assert isinstance(repulsion_of(n, n_components, 1.0), kind)


def test_a_sample_of_the_others_repels_as_all_do_in_the_mean(rng):
    places = clouds(2000, 3, 20, rng)
    exact_total, exact = evaluated(Pairs(2000, 1.0), places)
    sampled = Pairs(2000, 1.0, most=300)
    found = [evaluated(sampled, places, epoch=epoch) for epoch in range(200)]
    assert np.mean([total for total, _ in found]) == pytest.approx(exact_total, rel=0.01)
    mean = np.mean([gradient for _, gradient in found], axis=0)
    assert np.linalg.norm(mean - exact) < 0.1 * np.linalg.norm(exact)
    np.testing.assert_array_equal(evaluated(sampled, places, epoch=3)[1], found[3][1])


@pytest.mark.parametrize("n", [0, 1, 5, 8, 1000])
def test_parts_cover_all_once(n):
    edges = parts(n)
    assert edges[0] == 0 and edges[-1] == n and (np.diff(edges) > 0).all() and len(edges) <= 9
