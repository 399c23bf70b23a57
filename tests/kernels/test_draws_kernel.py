from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.api import alias_tables


def chances(shares: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Return the chance of each entry of a stretch to be drawn."""
    found = shares.astype(np.float64)
    np.add.at(found, others, 1 - shares.astype(np.float64))
    return found / len(shares)


@settings(deadline=None)
@given(st.lists(st.lists(st.sampled_from([0.0, 1e-6, 0.1, 0.5, 1.0, 7.0]), max_size=12), min_size=1, max_size=8))
def test_entries_are_drawn_by_weight(stretches):
    starts = np.cumsum([0, *map(len, stretches)])
    weights = np.array([w for stretch in stretches for w in stretch], dtype=np.float32)
    shares, others = alias_tables(starts, weights)
    assert (shares.dtype, others.dtype) == (np.float32, np.int32)
    for first, stop in zip(starts[:-1], starts[1:], strict=True):
        given_weights, total = weights[first:stop].astype(np.float64), weights[first:stop].sum(dtype=np.float64)
        if total > 0:
            found = chances(shares[first:stop], others[first:stop])
            np.testing.assert_allclose(found, given_weights / total, atol=1e-6)
            assert (found[given_weights == 0] == 0).all(), "what weighs nothing is never drawn"


def test_many_entries_of_one_stretch():
    weights = np.random.default_rng(0).pareto(1.5, 200_000).astype(np.float32)
    shares, others = alias_tables([0, len(weights)], weights)
    expected = weights / weights.sum(dtype=np.float64)
    np.testing.assert_allclose(chances(shares, others), expected, rtol=1e-3, atol=1e-9)


def test_read_only_and_empty_input():
    weights = np.ones(4, dtype=np.float32)
    weights.setflags(write=False)
    shares, _ = alias_tables(np.array([0, 4]), weights)
    assert (shares == 1).all()
    assert len(alias_tables([0, 0], np.zeros(0, np.float32))[0]) == 0


@pytest.mark.parametrize("weights", [[0, 0, 0], [0, 0, 3e38]])
def test_all_nothing_and_nearly_too_much(weights):
    shares, others = alias_tables([0, 3], np.array(weights, dtype=np.float32))
    assert np.isfinite(shares).all() and (others >= 0).all() and (others < 3).all()
