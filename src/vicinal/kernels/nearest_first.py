"""Stored distances, as compressed sparse rows, put into a table with the nearest first."""

from __future__ import annotations

import numpy as np
from numpy.typing import DTypeLike, NDArray

from .compile import inline, kernel
from .parallel import over_rows

ROWS_AT_ONCE, KEYS_AT_ONCE = 4096, 2**17
RUN = 12
"""Entries that are put in order one by one; longer runs are merged."""


def count_neighbors(indptr: np.ndarray, indices: np.ndarray, data: np.ndarray, *, n_jobs: int = 1) -> NDArray[np.int64]:
    """Return how many entries each row has off the diagonal that are finite."""
    arrays = _as_compiled(indptr, indices, data)
    counts = np.zeros(len(indptr) - 1, np.int64)
    over_rows(lambda start, stop: count(*arrays, start, stop, counts), len(counts), n_jobs, chunk=ROWS_AT_ONCE)
    return counts


def nearest_first(
    indptr: np.ndarray,
    indices: np.ndarray,
    data: np.ndarray,
    counts: NDArray[np.int64],
    *,
    missing: int = -1,
    n_jobs: int = 1,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return the finite entries off the diagonal as a table, each row by distance, then by index.

    Parameters
    ----------
    indptr, indices, data
        Compressed sparse rows, ``(n + 1,)``, ``(n_stored,)`` and ``(n_stored,)``; indices are within bounds.
    counts
        What `count_neighbors` returns, ``(n,)``.
    missing
        Index where a row has fewer entries than another; the distance is infinite there.
    n_jobs
        Threads.

    Returns
    -------
    Indices and distances, ``(n, largest count)``. Rows are sorted by the distances as they are stored, and rounded to
    float32 afterwards.
    """
    arrays = _as_compiled(indptr, indices, data)
    with np.errstate(over="ignore"):
        near = _read_only(arrays[2], np.float32).view(np.uint32)
    shape = (len(counts), int(counts.max(initial=0)))
    neighbors, distances = np.empty(shape, np.int32), np.empty(shape, np.float32)

    def work(start: int, stop: int) -> None:
        keys = np.empty((stop - start, shape[1]), np.uint64)
        if not pack(*arrays, near, start, keys):
            keys.sort(axis=1)
        unpack(*arrays, keys, start, missing, neighbors, distances)

    over_rows(work, len(counts), n_jobs, chunk=max(1, min(ROWS_AT_ONCE, KEYS_AT_ONCE // max(1, shape[1]))))
    return neighbors, distances


def _as_compiled(
    indptr: np.ndarray, indices: np.ndarray, data: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    kept = np.float32 if data.dtype in (np.float32, np.float16) else np.float64
    return _read_only(indptr, np.int64), _read_only(indices, np.int32), _read_only(data, kept)


def _read_only(array: np.ndarray, dtype: DTypeLike) -> np.ndarray:
    view = np.ascontiguousarray(array, dtype).view()
    view.flags.writeable = False  # one type of argument, whether or not it may be written to
    return view


@kernel
def count(indptr, indices, data, start, stop, counts):
    """Count the entries of some rows that make neighbours."""
    for i in range(start, stop):
        found = 0
        for entry in range(indptr[i], indptr[i + 1]):
            found += (indices[entry] != i) & np.isfinite(data[entry])
        counts[i] = found


@kernel
def pack(indptr, indices, data, near, start, keys):
    """Write a number for each neighbour of some rows: its distance as float32 in front, its place in the row behind.

    Returns whether the rows are in order as they are. ``near`` has the bits of the distances as float32.
    """
    nothing, is_sorted = np.uint64(2**64 - 1), True
    for row in range(keys.shape[0]):
        i, found, before = start + row, 0, np.uint64(0)
        for entry in range(indptr[i], indptr[i + 1]):
            if indices[entry] != i and np.isfinite(data[entry]):
                bits = near[entry]
                if bits == np.uint32(2**31):
                    bits = np.uint32(0)  # zero has no sign here
                # Bits of what is below zero fall as it rises.
                ordered = ~bits if bits >= np.uint32(2**31) else bits | np.uint32(2**31)
                key = (np.uint64(ordered) << np.uint64(32)) | np.uint64(entry - indptr[i])
                keys[row, found] = key
                is_sorted = is_sorted and key >= before
                before = key
                found += 1
        for place in range(found, keys.shape[1]):
            keys[row, place] = nothing
    return is_sorted


@kernel
def unpack(indptr, indices, data, keys, start, missing, neighbors, distances):
    """Write the neighbours that the numbers stand for; those as near as another in float32 are put in order before."""
    width = keys.shape[1]
    values, columns = np.empty((2, width), data.dtype), np.empty((2, width), np.int32)
    nothing = np.uint64(2**64 - 1)
    for row in range(keys.shape[0]):
        i, n = start + row, 0
        is_sorted = True
        while n < width and keys[row, n] != nothing:
            entry = indptr[i] + np.int64(keys[row, n] & np.uint64(2**32 - 1))
            value, column = data[entry], indices[entry]
            values[0, n], columns[0, n] = value, column
            if n and (values[0, n - 1] > value or (values[0, n - 1] == value and columns[0, n - 1] > column)):
                is_sorted = False
            n += 1
        kept = 0 if is_sorted else _order(values, columns, n)
        for place in range(n):
            neighbors[i, place], distances[i, place] = columns[kept, place], values[kept, place]
        neighbors[i, n:], distances[i, n:] = missing, np.inf


@inline
def _order(values, columns, n):
    """Sort the first n entries of row 0 by value, then by column; return the row of the two that they are in."""
    for first in range(0, n, RUN):
        for j in range(first + 1, min(first + RUN, n)):
            value, column = values[0, j], columns[0, j]
            place = j
            while place > first and (
                values[0, place - 1] > value or (values[0, place - 1] == value and columns[0, place - 1] > column)
            ):
                values[0, place], columns[0, place] = values[0, place - 1], columns[0, place - 1]
                place -= 1
            values[0, place], columns[0, place] = value, column
    source, length = 0, RUN
    while length < n:
        for first in range(0, n, 2 * length):
            _merge(values, columns, source, first, min(first + length, n), min(first + 2 * length, n))
        source, length = 1 - source, 2 * length
    return source


@inline
def _merge(values, columns, source, first, middle, stop):
    """Merge two runs of one row into the other row."""
    left, right = first, middle
    for j in range(first, stop):
        takes_left = right >= stop or (
            left < middle
            and (
                values[source, left] < values[source, right]
                or (values[source, left] == values[source, right] and columns[source, left] <= columns[source, right])
            )
        )
        if takes_left:
            values[1 - source, j], columns[1 - source, j] = values[source, left], columns[source, left]
            left += 1
        else:
            values[1 - source, j], columns[1 - source, j] = values[source, right], columns[source, right]
            right += 1
