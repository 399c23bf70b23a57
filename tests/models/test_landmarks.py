from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.models.landmarks import landmarks_of, spread_sample


def squares(rng, sizes):
    """Squares of one side and of different numbers of cells, and which each cell is in."""
    labels = np.repeat(np.arange(len(sizes)), sizes)
    return (rng.random((len(labels), 2)) + [1, 0] * labels[:, None]).astype(np.float32), labels


def test_parts_of_one_size_are_drawn_from_by_the_root_of_their_number(rng):
    layout, labels = squares(rng, [10_000, 1000, 100])
    drawn = np.bincount(labels[spread_sample(layout, 120)], minlength=3)
    expected = 120 * np.sqrt([10_000, 1000, 100]) / np.sqrt([10_000, 1000, 100]).sum()
    assert (abs(drawn - expected) < 4 * np.sqrt(expected)).all()


def test_cells_far_out_do_not_stretch_the_grid(rng):
    layout, labels = squares(rng, [9000, 1000])
    far = np.array([[1e30, 0], [0, -1e30]], np.float32)
    drawn = spread_sample(np.concatenate([layout, far]), 1500)
    assert (labels[drawn[drawn < len(labels)]] == 1).mean() > 0.16


def test_first_are_a_uniform_sample_and_no_cell_is_kept_twice(rng):
    layout, labels = squares(rng, [9000, 1000])
    chosen, n_uniform = landmarks_of(layout, 2000)
    sparse = labels[chosen] == 1
    assert (n_uniform, len(set(chosen))) == (500, 2000)
    assert 0.06 < sparse[:n_uniform].mean() < 0.14, "one in ten, as in the map"
    assert sparse[n_uniform:].mean() > 0.16, "of sparse parts more"


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
