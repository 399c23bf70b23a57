from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_helpers import MISSING, interpreted, make_table
from scipy import sparse
from scipy.optimize import brentq

from vicinal.kernels import affinities, merging

tables = st.builds(
    make_table,
    seed=st.integers(0, 2**20),
    n=st.integers(0, 40),
    k=st.integers(0, 30),
    missing=st.sampled_from([0.0, 0.3, 0.9]),
    zeros=st.sampled_from([0.0, 0.2, 1.0]),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
shares = st.sampled_from([0.1, 1 / 3, 0.6, 0.95])


def whole_table(seed: int, n: int = 40, k: int = 24, scale: float = 1.0):
    return make_table(seed, n, k, scale=scale)


def energies_of(row: np.ndarray) -> np.ndarray:
    return row[np.isfinite(row)].astype(float) ** 2 / 2


def entropy_of(weights: np.ndarray) -> float:
    weights = weights[weights > 0].astype(float)
    return float(-(weights * np.log(weights)).sum())


def at_precision(energies: np.ndarray, precision: float) -> np.ndarray:
    weights = np.exp(-precision * (energies - energies.min()))
    return weights / weights.sum()


def naive_precision(row: np.ndarray, perplexity: float) -> float:
    energies = energies_of(row)
    unit = (energies - energies.min()).mean()

    def excess(log_precision):
        return entropy_of(at_precision(energies, np.exp(log_precision) / unit)) - np.log(perplexity)

    return float(np.exp(brentq(excess, -40, 40, xtol=1e-13)) / unit)


def by_distance(table, rows) -> np.ndarray:
    """Return the weights in the order of the table's columns, 0 where there is none."""
    indices, (columns, weights, counts) = table[0], rows
    found = np.zeros(indices.shape)
    for i, n_kept in enumerate(counts):
        of = dict(zip(columns[i, :n_kept].tolist(), weights[i, :n_kept].tolist(), strict=True))
        found[i] = [of.get(column, 0.0) for column in indices[i].tolist()]
    return found


@settings(deadline=None, max_examples=150)
@given(tables, shares)
def test_rows_are_probabilities_whose_entropy_is_that_of_the_perplexity(table, share):
    indices, distances = table
    k = indices.shape[1]
    perplexity = max(1.0, share * k)
    columns, weights, counts = affinities.perplexity_rows(indices, distances, np.array([perplexity]))
    for i, n_kept in enumerate(counts):
        energies = energies_of(distances[i])
        assert (n_kept > 0) == (len(energies) > 0)
        if not n_kept:
            continue
        kept = weights[i, :n_kept]
        assert (np.diff(columns[i, :n_kept]) > 0).all() and set(columns[i, :n_kept]) <= set(indices[i])
        assert kept.sum(dtype=float) == pytest.approx(1, abs=1e-6)
        wanted = np.log(perplexity * min(1, len(energies) / min(k, 3 * perplexity)))
        nearest = np.log((energies == energies.min()).sum())
        if np.ptp(energies) == 0 or nearest > wanted:
            assert np.ptp(kept) == 0
        elif perplexity < k:
            assert entropy_of(kept) == pytest.approx(wanted, abs=1e-5)


@pytest.mark.parametrize("perplexity", [1.5, 5.0, 8.0, 20.0, 23.5])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_weights_equal_a_gaussian_whose_precision_was_found_by_bisection(perplexity, scale):
    table = whole_table(1, scale=scale)
    found = by_distance(table, affinities.perplexity_rows(*table, np.array([perplexity])))
    for row, weights in zip(table[1], found, strict=True):
        expected = at_precision(energies_of(row), naive_precision(row, perplexity))
        np.testing.assert_allclose(weights, expected, rtol=1e-5, atol=1e-29)


def test_several_perplexities_average_densities_or_probabilities():
    table, perplexities = whole_table(2), (3.0, 9.0, 20.0)
    mixture = by_distance(table, affinities.perplexity_rows(*table, np.array(perplexities), True))
    multiscale = by_distance(table, affinities.perplexity_rows(*table, np.array(perplexities), False))
    for row, mixed, scaled in zip(table[1], mixture, multiscale, strict=True):
        energies = energies_of(row)
        precisions = np.array([naive_precision(row, p) for p in perplexities])[:, None]
        densities = np.sqrt(precisions) * np.exp(-precisions * energies)
        np.testing.assert_allclose(mixed, densities.sum(axis=0) / densities.sum(), rtol=1e-5)
        each = densities / densities.sum(axis=1, keepdims=True)
        np.testing.assert_allclose(scaled, each.mean(axis=0), rtol=1e-5)


def test_the_order_of_perplexities_does_not_matter():
    table = whole_table(3)
    one, other = (affinities.perplexity_rows(*table, np.array(p))[1] for p in ([3.0, 20.0], [20.0, 3.0]))
    np.testing.assert_allclose(one, other, rtol=1e-6)


@settings(deadline=None, max_examples=50)
@given(tables, shares, st.integers(-40, 40))
def test_the_unit_of_distances_does_not_matter(table, share, power):
    perplexities = np.array([max(1.0, share * table[0].shape[1])])
    here = affinities.perplexity_rows(*table, perplexities)
    there = affinities.perplexity_rows(table[0], table[1] * np.float32(2.0) ** power, perplexities)
    assert np.array_equal(here[2], there[2])
    np.testing.assert_allclose(here[1], there[1], rtol=1e-5, atol=1e-12)


@settings(deadline=None, max_examples=50)
@given(tables, st.integers(0, 1000))
def test_a_row_depends_on_nothing_but_its_neighbours(table, seed):
    rng = np.random.default_rng(seed)
    indices, distances = table
    order = rng.permutation(len(indices))
    perplexities = np.array([max(1.0, indices.shape[1] / 3)])
    columns, weights, counts = affinities.perplexity_rows(indices, distances, perplexities)
    shuffled = affinities.perplexity_rows(indices[order], distances[order], perplexities)
    for ours, expected in zip(shuffled, (columns, weights, counts), strict=True):
        assert np.array_equal(ours, expected[order])
    across = rng.permutation(indices.shape[1])
    mixed_up = affinities.perplexity_rows(indices[:, across], distances[:, across], perplexities)
    for ours, expected in zip(mixed_up, (columns, weights, counts), strict=True):
        assert np.array_equal(ours, expected)


def test_duplicates_beyond_the_perplexity_are_all_there_is():
    indices, distances = whole_table(4)
    distances[0, :10], distances[1, :2] = 0, 0
    found = by_distance((indices, distances), affinities.perplexity_rows(indices, distances, np.array([8.0])))
    np.testing.assert_allclose(found[0], np.r_[np.full(10, 0.1), np.zeros(14)], rtol=1e-6)
    assert entropy_of(found[1]) == pytest.approx(np.log(8))
    assert found[1][0] == found[1][1] > found[1][2] > 0


def test_equal_distances_weigh_the_same():
    indices, distances = whole_table(5)
    distances[:] = 7
    for perplexities in ([8.0], [2.0, 8.0]):
        _, weights, counts = affinities.perplexity_rows(indices, distances, np.array(perplexities))
        assert (counts == 24).all()
        np.testing.assert_allclose(weights, 1 / 24, rtol=1e-6)


def test_far_apart_scales_within_a_row():
    indices, distances = whole_table(6)
    distances[:, :12] *= 1e-12
    distances[:, -1] = 1e18
    _, weights, _ = affinities.perplexity_rows(indices, distances, np.array([8.0]))
    for row in weights:
        assert entropy_of(row) == pytest.approx(np.log(8), abs=1e-5)


def test_a_column_given_twice_counts_once():
    indices = np.array([[1, 1, 2, 3], [0, 2, 3, 3], [0, 1, 3, 0], [0, 1, 2, 2]], np.int32)
    distances = np.array([[1, 2, 3, 4]] * 4, np.float32)
    columns, weights, counts = affinities.perplexity_rows(indices, distances, np.array([2.0]))
    assert counts.tolist() == [3, 3, 3, 3]
    assert columns[0, :3].tolist() == [1, 2, 3]
    np.testing.assert_allclose(weights[:, :3].sum(axis=1), 1, rtol=1e-6)


def dense(parts, n: int) -> np.ndarray:
    indptr, indices, weights = parts
    return sparse.csr_matrix((weights, indices, indptr), shape=(n, n)).toarray()


@settings(deadline=None, max_examples=100)
@given(tables)
def test_joint_weights_are_the_mean_of_both_ends_and_sum_to_one(table):
    n = len(table[0])
    rows = affinities.perplexity_rows(*table, np.array([max(1.0, table[0].shape[1] / 3)]))
    own = dense(merging.packed(*rows), n)
    n_filled = max(int(own.any(axis=1).sum()), 1)
    found = dense(affinities.joint(*rows), n)
    np.testing.assert_allclose(found, (own + own.T) / (2 * n_filled), rtol=1e-6)
    assert np.array_equal(found, found.T)
    np.testing.assert_allclose(dense(affinities.conditional(*rows), n), own / n_filled, rtol=1e-6)
    if own.any():
        assert found.sum(dtype=float) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("sigma", [1e-3, 2.0, 1e6])
def test_one_width_for_all(sigma):
    table = make_table(7, 40, 12, missing=0.3)
    found = by_distance(table, affinities.gaussian_rows(*table, sigma))
    for row, weights in zip(table[1], found, strict=True):
        energies = energies_of(row)
        expected = at_precision(energies, sigma**-2) if len(energies) else []
        np.testing.assert_allclose(weights[: len(energies)], expected, rtol=1e-5, atol=1e-29)


def test_any_number_of_threads_gives_the_same_bits():
    rng = np.random.default_rng(3)
    n, k = 3000, 18
    indices = (np.arange(n)[:, None] + rng.permuted(np.tile(np.arange(1, 200), (n, 1)), axis=1)[:, :k]) % n
    distances = np.sort(rng.gamma(2.0, size=(n, k)), axis=1).astype(np.float32)
    perplexities = np.array([3.0, 6.0])
    alone = affinities.joint(*affinities.perplexity_rows(indices, distances, perplexities))
    for n_jobs in (2, 3):
        rows = affinities.perplexity_rows(indices, distances, perplexities, True, n_jobs)
        for ours, expected in zip(affinities.joint(*rows, n_jobs), alone, strict=True):
            assert ours.tobytes() == expected.tobytes()


def test_inputs_may_be_read_only_and_are_left_alone():
    indices, distances = make_table(8, 30, 9, missing=0.2)
    kept = indices.copy(), distances.copy()
    indices.flags.writeable = distances.flags.writeable = False
    affinities.perplexity_rows(indices, distances, np.array([3.0]))
    np.testing.assert_array_equal(indices, kept[0])
    np.testing.assert_array_equal(distances, kept[1])
    assert (indices == MISSING).any()


@pytest.mark.parametrize("perplexities", [[4.0], [1.0, 4.0], []])
@pytest.mark.parametrize("mixture", [True, False])
def test_kernel_equals_its_python(perplexities, mixture):
    indices, distances = make_table(9, 20, 12, missing=0.2, zeros=0.2)

    def run():
        out = np.zeros_like(indices), np.zeros_like(distances), np.zeros(len(indices), np.int64)
        affinities.weigh_rows(indices, distances, np.array(perplexities), 0.5, mixture, *out, 0, len(indices))
        return out

    compiled = run()
    with interpreted(affinities, merging):
        plain = run()
    for ours, expected in zip(compiled, plain, strict=True):
        np.testing.assert_allclose(ours, expected, rtol=1e-6)
