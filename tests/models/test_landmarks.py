from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.models import landmarks
from vicinal.models.landmarks import spread_sample


def groups(rng, sizes):
    """Groups far from each other, and which each cell is of."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return (100 * labels[:, None] + rng.normal(size=(len(labels), 2))).astype(np.float32), labels


def test_parts_are_drawn_from_by_the_root_of_their_size(rng, monkeypatch):
    monkeypatch.setattr(landmarks, "MEMBERS", 3700)
    layout, labels = groups(rng, [10_000, 1000, 100])  # three parts, the groups; 1000 is the root of 10**6
    drawn = np.bincount(labels[spread_sample(layout, 120)], minlength=3)
    expected = 120 * np.sqrt([10_000, 1000, 100]) / np.sqrt([10_000, 1000, 100]).sum()
    assert (abs(drawn - expected) < 4 * np.sqrt(expected)).all()


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_the_same_cells_for_any_number_of_threads(rng, monkeypatch, n_threads):
    layout, _ = groups(rng, [3000, 500])
    expected = spread_sample(layout, 400)
    monkeypatch.setattr(landmarks, "available_threads", lambda: n_threads)
    np.testing.assert_array_equal(spread_sample(layout, 400), expected)


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 400),
    d=st.integers(1, 4),
    n_distinct=st.integers(1, 400),
    share=st.floats(0, 1),
)
def test_any_map_gives_as_many_cells_each_once_and_rising(seed, n, d, n_distinct, share):
    rng = np.random.default_rng(seed)
    layout = rng.normal(size=(n_distinct, d))[rng.integers(0, n_distinct, n)].astype(np.float32)
    size = 1 + int(share * (n - 1))
    chosen = spread_sample(layout, size)
    assert len(chosen) == size and (np.diff(chosen) > 0).all() and 0 <= chosen[0] and chosen[-1] < n
