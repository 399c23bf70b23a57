from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kernel_helpers import interpreted
from scipy import stats

from vicinal.kernels import random
from vicinal.kernels.random import GOLDEN

BITS = st.integers(0, 2**64 - 1)
N_DRAWS = 20_000


def mix(bits):
    return random.mix(np.uint64(bits))


def draw(key, counter):
    return random.draw(np.uint64(key), np.uint64(counter))


def even_draw(key, counter):
    return random.even_draw(np.uint64(key), np.uint64(counter))


def uniform(bits):
    return random.uniform(np.uint64(bits))


def below(bits, n):
    return random.below(np.uint64(bits), n)


def uniforms(keys, counters):
    return np.array([uniform(draw(int(key), int(counter))) for key, counter in np.broadcast(keys, counters)])


def assert_uniform(values, high, n_bins=50):
    """Chi-square at a level that a good generator passes with this fixed input, and a skewed one does not."""
    counts = np.bincount((np.asarray(values) * n_bins // high).astype(int), minlength=n_bins)
    assert len(counts) == n_bins
    assert stats.chisquare(counts).pvalue > 1e-4


def test_draws_are_those_of_splitmix64():
    known = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431, 16408922859458223821]
    assert [draw(1234567, counter) for counter in range(5)] == known


@settings(deadline=None)
@given(BITS, BITS)
def test_kernels_equal_python(key, counter):
    n = counter % 2**31 + 1

    def values():
        return mix(key), draw(key, counter), even_draw(key, counter), uniform(key), below(key, n)

    compiled = values()
    with interpreted(random):
        assert values() == compiled
    assert compiled[3:] == ((key >> 40) / 2**24, ((key >> 32) * n) >> 32)


@settings(deadline=None)
@given(BITS, st.integers(1, 2**31))
def test_results_lie_in_their_range(bits, n):
    assert 0 <= uniform(bits) < 1
    assert 0 <= below(bits, n) < n


def test_mixing_is_one_to_one_and_every_bit_matters():
    assert len({mix(bits) for bits in range(N_DRAWS)}) == N_DRAWS
    flips = np.array([[(mix(n) ^ mix(n ^ (1 << bit))).bit_count() for bit in range(64)] for n in range(1, 300)])
    assert abs(flips.mean() - 32) < 0.2
    assert np.abs(flips.mean(axis=0) - 32).max() < 1.5


@pytest.mark.parametrize("vary", ["key", "counter"])
def test_neighbouring_counters_and_keys_are_uniform_and_independent(vary):
    varied, kept = np.arange(N_DRAWS), 5
    values = uniforms(varied, kept) if vary == "key" else uniforms(kept, varied)
    assert_uniform(values, 1)
    for lag in (1, 2, 3):
        assert abs(np.corrcoef(values[:-lag], values[lag:])[0, 1]) < 4 / np.sqrt(N_DRAWS)
    pairs = np.floor(values[:-1] * 8) * 8 + np.floor(values[1:] * 8)
    assert_uniform(pairs + 0.5, 64, n_bins=64)


def test_nested_streams_are_independent():
    """Epoch, vertex and draw as the optimiser nests them."""
    streams = np.array(
        [[uniforms(draw(draw(7, epoch), vertex), np.arange(20)) for vertex in range(30)] for epoch in (0, 1)]
    )
    assert_uniform(streams.ravel(), 1)
    flat = streams.reshape(2, -1)
    assert abs(np.corrcoef(flat)[0, 1]) < 4 / np.sqrt(flat.shape[1])
    assert len(np.unique(streams)) > 0.99 * streams.size


@pytest.mark.parametrize("n", [1, 3, 1000, 2**31 - 1])
def test_integers_are_uniform(n):
    values = [below(draw(11, counter), n) for counter in range(N_DRAWS)]
    if n == 1:
        assert set(values) == {0}
    else:
        assert_uniform(values, n, n_bins=min(n, 50))


@settings(deadline=None)
@given(BITS, st.integers(0, 10_000), st.integers(1, 300))
def test_even_draws_fill_the_interval_evenly_from_any_point(key, first, length):
    values = np.sort([uniform(even_draw(key, first + step)) for step in range(length)])
    expected = (np.arange(length) + 0.5) / length
    # Random numbers would deviate by about length ** -0.5.
    assert np.abs(values - expected).max() < (2 + np.log(length)) / length


def test_even_draws_start_anywhere():
    assert_uniform([uniform(even_draw(key, 3)) for key in range(N_DRAWS)], 1)
    assert int(GOLDEN) / 2**64 == pytest.approx((5**0.5 - 1) / 2)
