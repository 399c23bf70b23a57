from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.kernels import tiles
from vicinal.kernels.clusters import in_blocks
from vicinal.kernels.compile import kernel
from vicinal.kernels.tiles import QUERIES, WIDTH


@kernel
def compiled(queries, rows, points, half_norms, b, thresholds, scores, hits):
    return tiles.tile(queries, rows, points, half_norms, b, thresholds, scores, hits)


@kernel
def compiled_lowest_bit(bits):
    return tiles.lowest_bit(bits)


def run(function, queries, rows, blocks, b, thresholds):
    scores, hits = np.full((QUERIES, WIDTH), 7, np.float32), np.full(QUERIES, 7, np.uint64)
    some = function(queries, rows, blocks.points, blocks.half_norms, b, thresholds, scores, hits)
    return some, scores, hits


def as_mask(hits):
    return (hits[:, None] >> np.arange(WIDTH, dtype=np.uint64) & np.uint64(1)).astype(bool)


@given(st.integers(0, 70), st.integers(1, 150), st.integers(0, 2**32 - 1))
@settings(max_examples=40, deadline=None)
def test_scores_are_half_squared_distances_less_the_querys_part(n_features, n_points, seed):
    rng = np.random.default_rng(seed)
    points = rng.normal(size=(n_points, n_features)).astype(np.float32)
    queries = rng.normal(size=(9, n_features)).astype(np.float32)
    rows = rng.integers(0, 9, QUERIES)
    blocks = in_blocks(points)
    b = int(rng.integers(len(blocks.points)))
    some, scores, hits = run(compiled, queries, rows, blocks, b, np.full(QUERIES, np.inf, np.float32))
    there = min(n_points - b * WIDTH, WIDTH)
    across = ((queries[rows][:, None] - points[b * WIDTH :][:there]) ** 2).sum(axis=2)
    expected = (across - (queries[rows] ** 2).sum(axis=1)[:, None]) / 2
    assert some
    np.testing.assert_allclose(scores[:, :there], expected, atol=1e-4)
    assert np.isinf(scores[:, there:]).all()
    np.testing.assert_array_equal(as_mask(hits), np.isfinite(scores))


@given(st.integers(0, 2**32 - 1), st.lists(st.floats(-30, 30, width=32), min_size=QUERIES, max_size=QUERIES))
@settings(max_examples=40, deadline=None)
def test_hits_are_the_scores_below_the_thresholds_compiled_or_not(seed, limits):
    rng = np.random.default_rng(seed)
    queries, thresholds = rng.integers(-3, 4, (QUERIES, 12)).astype(np.float32), np.array(limits, np.float32)
    blocks = in_blocks(rng.integers(-3, 4, (WIDTH, 12)).astype(np.float32))  # whole numbers: nothing rounds
    rows = np.arange(QUERIES)
    some, scores, hits = run(compiled, queries, rows, blocks, 0, thresholds)
    plain = run(tiles.tile, queries, rows, blocks, 0, thresholds)
    assert some == plain[0]
    np.testing.assert_array_equal(scores, plain[1])
    np.testing.assert_array_equal(hits, plain[2])
    if some:
        np.testing.assert_array_equal(as_mask(hits), scores < thresholds[:, None])


def test_nothing_below_writes_nothing():
    blocks = in_blocks(np.ones((WIDTH, 3), np.float32))
    some, scores, hits = run(compiled, np.ones((6, 3), np.float32), np.arange(6), blocks, 0, np.full(6, -9, np.float32))
    assert not some and (scores == 7).all() and (hits == 7).all()


def test_nan_is_below_nothing():
    queries = np.ones((6, 3), np.float32)
    queries[2] = np.nan
    blocks = in_blocks(np.ones((WIDTH, 3), np.float32))
    _, _, hits = run(compiled, queries, np.arange(6), blocks, 0, np.full(6, np.inf, np.float32))
    np.testing.assert_array_equal(as_mask(hits), (np.arange(6) != 2)[:, None].repeat(WIDTH, 1))


def test_a_row_has_the_same_bits_in_any_company(rng):
    points, queries = rng.normal(size=(WIDTH, 33)).astype(np.float32), rng.normal(size=(40, 33)).astype(np.float32)
    every = np.full(QUERIES, np.inf, np.float32)
    _, together, _ = run(compiled, queries, np.arange(QUERIES), in_blocks(points), 0, every)
    for j in range(QUERIES):
        _, alone, _ = run(compiled, queries, np.full(QUERIES, j), in_blocks(points), 0, every)
        np.testing.assert_array_equal(alone, np.tile(together[j], (QUERIES, 1)))


@pytest.mark.parametrize("bits", [1, 2, 6, 2**63, 2**63 + 2**40, 2**64 - 1])
def test_lowest_bit(bits):
    expected = next(p for p in range(64) if bits >> p & 1)
    assert tiles.lowest_bit(np.uint64(bits)) == compiled_lowest_bit(np.uint64(bits)) == expected
