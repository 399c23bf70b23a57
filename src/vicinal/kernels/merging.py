"""Sparse rows of neighbours: kept in order, and put together with those of their transpose.

Rows are int32 columns and float32 weights ``(n, k)``, sorted by column and packed to the left, and their number a row.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compile import inline, kernel
from .parallel import over_rows

UNION = 0
"""Fuzzy union, or with a ratio below 1 a mixture with the intersection: of weights that are memberships."""
SUM = 1
"""The sum, times the ratio."""

Rows = tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]
"""``columns``, ``weights``, ``counts``."""
CompressedRows = tuple[NDArray[np.signedinteger], NDArray[np.int32], NDArray[np.float32]]
"""``indptr``, ``indices``, ``weights``."""


def packed(columns: NDArray[np.int32], weights: NDArray[np.float32], counts: NDArray[np.int64]) -> CompressedRows:
    """Return the rows one after the other, without symmetrisation."""
    there = np.arange(columns.shape[1]) < counts[:, None]
    return _narrow(_starts(counts)), columns[there], weights[there]


def with_transpose(
    columns: NDArray[np.int32],
    weights: NDArray[np.float32],
    counts: NDArray[np.int64],
    rule: int,
    ratio: float,
    n_jobs: int = 1,
) -> CompressedRows:
    """Return the rows put together with their transpose by a rule; entries that come to 0 are left out."""
    n_rows = len(columns)
    other = transposed(columns, weights, counts)
    sizes = np.zeros(n_rows, np.int64)
    over_rows(lambda a, b: count_merged(columns, weights, counts, *other, rule, ratio, sizes, a, b), n_rows, n_jobs)
    starts = _starts(sizes)
    merged_columns, merged_weights = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.float32)

    def work(start: int, stop: int) -> None:
        fill_merged(columns, weights, counts, *other, rule, ratio, starts, merged_columns, merged_weights, start, stop)

    over_rows(work, n_rows, n_jobs)
    return _narrow(starts), merged_columns, merged_weights


def transposed(columns: NDArray[np.int32], weights: NDArray[np.float32], counts: NDArray[np.int64]) -> CompressedRows:
    """Return the transpose as compressed rows, sorted, by counting."""
    starts = np.zeros(len(columns) + 1, np.int64)
    count_columns(columns, counts, starts)
    starts = np.cumsum(starts)
    other_columns, other_weights = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.float32)
    scatter(columns, weights, counts, starts[:-1].copy(), other_columns, other_weights)
    return starts, other_columns, other_weights


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


def _narrow(starts: NDArray[np.int64]) -> NDArray[np.signedinteger]:
    return starts.astype(np.int32) if starts[-1] <= np.iinfo(np.int32).max else starts


@inline
def insert(columns: np.ndarray, values: np.ndarray, n_kept: int, column: np.int32, value: np.float32) -> int:
    """Put an entry into a sorted row and return the row's length; a column that is there already keeps its entry."""
    place = n_kept
    while place > 0 and columns[place - 1] > column:
        place -= 1
    if place > 0 and columns[place - 1] == column:
        return n_kept
    for p in range(n_kept, place, -1):
        columns[p], values[p] = columns[p - 1], values[p - 1]
    columns[place], values[place] = column, value
    return n_kept + 1


@kernel
def count_columns(columns: np.ndarray, counts: np.ndarray, starts: np.ndarray) -> None:
    """Add to ``starts[c + 1]`` the number of entries in column c."""
    for i in range(len(counts)):
        for p in range(counts[i]):
            starts[columns[i, p] + 1] += 1


@kernel
def scatter(
    columns: np.ndarray,
    weights: np.ndarray,
    counts: np.ndarray,
    cursors: np.ndarray,
    other_columns: np.ndarray,
    other_weights: np.ndarray,
) -> None:
    """Write each entry where the cursor of its column stands; rows come in order, so the result is sorted."""
    for i in range(len(counts)):
        for p in range(counts[i]):
            place = cursors[columns[i, p]]
            cursors[columns[i, p]] = place + 1
            other_columns[place], other_weights[place] = i, weights[i, p]


@inline
def combined(weight: np.float32, other: np.float32, rule: int, ratio: float) -> np.float32:
    """Return what two weights make together."""
    if rule == SUM:
        return np.float32(ratio * (np.float64(weight) + np.float64(other)))
    both = weight * other
    value = ratio * (weight + other - both) + (1.0 - ratio) * both
    # Rounding may carry the union past 1.
    return np.float32(value) if value < 1.0 else np.float32(1)


@inline
def merge_row(
    row_columns: np.ndarray,
    row_weights: np.ndarray,
    n_row: int,
    other_columns: np.ndarray,
    other_weights: np.ndarray,
    rule: int,
    ratio: float,
    out_columns: np.ndarray,
    out_weights: np.ndarray,
) -> int:
    """Write the merged row to the front of the outputs and return its length."""
    p, q, n_out = 0, 0, 0
    n_other = len(other_columns)
    while p < n_row or q < n_other:
        take = p < n_row and (q >= n_other or row_columns[p] <= other_columns[q])
        take_other = q < n_other and (p >= n_row or other_columns[q] <= row_columns[p])
        column = row_columns[p] if take else other_columns[q]
        weight, other = np.float32(0), np.float32(0)
        if take:
            weight = row_weights[p]
            p += 1
        if take_other:
            other = other_weights[q]
            q += 1
        value = combined(weight, other, rule, ratio)
        if value > 0:
            out_columns[n_out], out_weights[n_out] = column, value
            n_out += 1
    return n_out


@kernel
def count_merged(
    columns: np.ndarray,
    weights: np.ndarray,
    counts: np.ndarray,
    starts: np.ndarray,
    other_columns: np.ndarray,
    other_weights: np.ndarray,
    rule: int,
    ratio: float,
    sizes: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Write the lengths that rows ``start`` to ``stop`` have once merged."""
    longest = 0
    for i in range(start, stop):
        longest = max(longest, counts[i] + starts[i + 1] - starts[i])
    spare_columns, spare_weights = np.empty(longest, np.int32), np.empty(longest, np.float32)
    for i in range(start, stop):
        a, b = starts[i], starts[i + 1]
        sizes[i] = merge_row(
            columns[i],
            weights[i],
            counts[i],
            other_columns[a:b],
            other_weights[a:b],
            rule,
            ratio,
            spare_columns,
            spare_weights,
        )


@kernel
def fill_merged(
    columns: np.ndarray,
    weights: np.ndarray,
    counts: np.ndarray,
    starts: np.ndarray,
    other_columns: np.ndarray,
    other_weights: np.ndarray,
    rule: int,
    ratio: float,
    merged_starts: np.ndarray,
    merged: np.ndarray,
    merged_weights: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Write the merged rows ``start`` to ``stop`` in their places."""
    for i in range(start, stop):
        a, b = starts[i], starts[i + 1]
        x, y = merged_starts[i], merged_starts[i + 1]
        merge_row(
            columns[i],
            weights[i],
            counts[i],
            other_columns[a:b],
            other_weights[a:b],
            rule,
            ratio,
            merged[x:y],
            merged_weights[x:y],
        )
