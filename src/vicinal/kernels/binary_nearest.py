"""Nearest rows by metrics of what is there and what is not: columns in common are counted, and only the nearest kept.

They are counted in one of two ways, which give the same numbers: along lists of the rows that have each column, or in
words of 64 columns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .binary import METRICS
from .compile import inline, kernel
from .parallel import over_rows

WIDTH = 64
"""Reference rows in a block of words; the inner loop runs over them and vectorises."""
CHUNK = 64
"""Rows handed to a thread at a time."""
TILE = 16
"""Rows that share a block while it is in cache."""
A_STEP, A_WORD, A_PAIR = 0.9e-9, 0.15e-9, 2.5e-9
"""Seconds on one thread for a step along a list, for 64 columns of two rows, and for what a pair takes besides."""
VALUES_AT_ONCE = 2**22
COUNTS_AS_THERE = "every value that is not zero counts as there, whatever it is"

Found = tuple[NDArray[np.int32], NDArray[np.float64]]


@dataclass(frozen=True)
class There:
    """Which columns each row has.

    Attributes
    ----------
    values
        Boolean ``(n, n_columns)``.
    n_columns
        Columns that each row has, float64 ``(n,)``.
    n_rows
        Rows that have each column, float64 ``(n_columns,)``.
    """

    values: NDArray[np.bool_]
    n_columns: NDArray[np.float64]
    n_rows: NDArray[np.float64]

    @classmethod
    def of(cls, rows: np.ndarray) -> There:
        """Take what is not zero as there."""
        values = rows != 0
        return cls(values, *(np.count_nonzero(values, axis=axis).astype(np.float64) for axis in (1, 0)))


def seconds_by_lists(n_pairs: float, asking: NDArray[np.float64], reference: NDArray[np.float64]) -> float:
    """Return about how long one thread takes by lists, from the rows that have each column."""
    return A_PAIR * n_pairs + A_STEP * float(asking @ reference)


def seconds_by_words(n_pairs: float, n_columns: int) -> float:
    """Return about how long one thread takes by words."""
    return n_pairs * (A_PAIR + A_WORD * -(-n_columns // 64))


def rows_with_columns(rows: np.ndarray) -> NDArray[np.float64]:
    """Return how many rows have each column, float64 ``(n_columns,)``."""
    return sum((np.count_nonzero(part, axis=0) for part in _parts(rows)), np.zeros(rows.shape[1]))


def is_binary(rows: np.ndarray) -> bool:
    """Return whether all values are 0 or 1."""
    return all(bool(((part == 0) | (part == 1)).all()) for part in _parts(rows))


def _parts(rows: np.ndarray) -> Iterator[np.ndarray]:
    at_once = max(1, VALUES_AT_ONCE // max(1, rows.shape[1]))
    return (rows[start : start + at_once] for start in range(0, len(rows), at_once))


def nearest_binary(
    metric: str, asking: There, reference: There, k: int, *, leave_out_self: bool = False, n_jobs: int = 1
) -> Found:
    """Return the ``k`` nearest reference rows of each row, by distance, then by index.

    Returns
    -------
    Indices and distances, ``(n, k)``; -1 and infinity where there are fewer.
    """
    n, (n_reference, n_columns) = len(asking.values), reference.values.shape
    indices, nearest = np.full((n, k), -1, np.int32), np.full((n, k), np.inf)
    counted = n_columns, METRICS.index(metric), leave_out_self, asking.n_columns, reference.n_columns
    pairs = n * n_reference
    by_words = seconds_by_words(pairs, n_columns) < seconds_by_lists(pairs, asking.n_rows, reference.n_rows)
    scan = _words(asking, reference) if by_words else _lists(asking, reference)
    if k:
        over_rows(lambda start, stop: scan(*counted, start, stop, indices, nearest), n, n_jobs, chunk=CHUNK)
    return indices, nearest


def _lists(asking: There, reference: There) -> Callable[..., None]:
    row, column = np.nonzero(asking.values)
    starts, list_starts = _starts(asking.n_columns), _starts(reference.n_rows)
    if reference is asking:
        lists = row[np.argsort(column, kind="stable")]
    else:
        lists = np.nonzero(reference.values.T)[1]
    columns, lists = column.astype(np.int32), lists.astype(np.int32)
    return lambda *rest: scan_lists(starts, columns, list_starts, lists, *rest)


def _starts(counts: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.append(0, np.cumsum(counts)).astype(np.int64)


def _words(asking: There, reference: There) -> Callable[..., None]:
    words, others = (_packed(there.values) for there in (asking, reference))
    padded = np.zeros((-(-len(others) // WIDTH) * WIDTH, others.shape[1]), np.uint64)
    padded[: len(others)] = others
    blocks = np.ascontiguousarray(padded.reshape(-1, WIDTH, others.shape[1]).transpose(0, 2, 1))
    return lambda *rest: scan_words(words, blocks, *rest)


def _packed(values: NDArray[np.bool_]) -> NDArray[np.uint64]:
    octets = np.packbits(values, axis=1)
    whole = np.zeros((len(values), -(-octets.shape[1] // 8) * 8), np.uint8)
    whole[:, : octets.shape[1]] = octets
    return whole.view(np.uint64)


@inline
def _distance(metric, both, mine, other, n):
    """As in `binary.FORMULAS`, whose places number the metrics."""
    first, second = mine - both, other - both
    unequal = first + second
    if metric <= 1:  # jaccard, dice
        whole = both + unequal if metric == 0 else 2 * both + unequal
        return unequal / whole if whole != 0 else 0.0
    if metric == 2:  # russellrao
        return (n - both) / n
    if metric <= 4:  # rogerstanimoto, sokalmichener
        return 2 * unequal / (n + unequal)
    if metric == 5:  # sokalsneath
        whole = 0.5 * both + unequal
        return unequal / whole if whole != 0 else 0.0
    if metric == 6:  # yule
        half = first * second
        return 2 * half / (both * (n - both - unequal) + half) if half != 0 else 0.0
    if metric == 7:  # kulsinski
        return (unequal - both + n) / (unequal + n) if unequal != 0 else 0.0
    return unequal / n  # matching


@inline
def _keep(distance, j, indices, nearest):
    # Rows come in rising index and only what is strictly nearer moves up: ties go to the smaller index.
    place = nearest.shape[0] - 1
    while place > 0 and nearest[place - 1] > distance:
        nearest[place], indices[place] = nearest[place - 1], indices[place - 1]
        place -= 1
    nearest[place], indices[place] = distance, j


@inline
def _bits(word):
    """Count them; compilers know this form and take the processor's own instruction."""
    pairs = word - ((word >> np.uint64(1)) & np.uint64(0x5555555555555555))
    fours = (pairs & np.uint64(0x3333333333333333)) + ((pairs >> np.uint64(2)) & np.uint64(0x3333333333333333))
    eights = (fours + (fours >> np.uint64(4))) & np.uint64(0x0F0F0F0F0F0F0F0F)
    return (eights * np.uint64(0x0101010101010101)) >> np.uint64(56)


@kernel
def scan_lists(
    starts, columns, list_starts, lists, n_columns, metric, leave_out_self, mine, others, start, stop, indices, nearest
):
    """Fill the nearest rows of some, columns in common counted along the lists of rows that have each."""
    both = np.zeros(others.shape[0], np.int32)
    last = nearest.shape[1] - 1
    for i in range(start, stop):
        both[:] = 0
        for entry in range(starts[i], starts[i + 1]):
            column = columns[entry]
            for place in range(list_starts[column], list_starts[column + 1]):
                both[lists[place]] += 1
        for j in range(others.shape[0]):
            distance = _distance(metric, np.float64(both[j]), mine[i], others[j], n_columns)
            if distance < nearest[i, last] and not (leave_out_self and i == j):
                _keep(distance, j, indices[i], nearest[i])


@kernel
def scan_words(words, blocks, n_columns, metric, leave_out_self, mine, others, start, stop, indices, nearest):
    """Fill the nearest rows of some, columns in common counted in words of 64."""
    both = np.empty(WIDTH, np.uint64)
    last = nearest.shape[1] - 1
    for tile in range(start, stop, TILE):
        for b in range(blocks.shape[0]):
            first = b * WIDTH
            for i in range(tile, min(tile + TILE, stop)):
                both[:] = 0
                for w in range(words.shape[1]):
                    word = words[i, w]
                    if word != 0:
                        for p in range(WIDTH):
                            both[p] += _bits(blocks[b, w, p] & word)
                for p in range(min(WIDTH, others.shape[0] - first)):
                    j = first + p
                    distance = _distance(metric, np.float64(both[p]), mine[i], others[j], n_columns)
                    if distance < nearest[i, last] and not (leave_out_self and i == j):
                        _keep(distance, j, indices[i], nearest[i])
