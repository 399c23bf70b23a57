"""Exact nearest neighbours by direct differences, and the ranks of given neighbours, in one pass.

Distances are sums over features in one fixed order, so a row's result depends on that row and the reference alone:
not on the batch it comes in, the tile it falls into, or the number of threads. Equal rows are at distance exactly 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .compile import inline, kernel
from .parallel import over_rows

EUCLIDEAN, COSINE, MANHATTAN = METRICS = ("euclidean", "cosine", "manhattan")

WIDTH = 256
"""Reference rows in a block; inner loops run over them and vectorise."""
GROUP = 64
"""Distances that are compared with the worst neighbour so far before any is looked at alone."""
TILE = 16
"""Queries that share a block while it is in cache."""
CHUNK = 64
"""Queries handed to a thread at a time."""


@inline
def _squared_differences(row, block, sums):
    n_features = row.shape[0]
    by_four = n_features - n_features % 4
    for p in range(WIDTH):
        sums[p] = np.float32(0)
    for f in range(0, by_four, 4):
        for p in range(WIDTH):
            a = block[f, p] - row[f]
            b = block[f + 1, p] - row[f + 1]
            c = block[f + 2, p] - row[f + 2]
            d = block[f + 3, p] - row[f + 3]
            sums[p] = sums[p] + a * a + b * b + c * c + d * d
    for f in range(by_four, n_features):
        for p in range(WIDTH):
            a = block[f, p] - row[f]
            sums[p] = sums[p] + a * a


@inline
def _absolute_differences(row, block, sums):
    for p in range(WIDTH):
        sums[p] = np.float32(0)
    for f in range(row.shape[0]):
        for p in range(WIDTH):
            sums[p] = sums[p] + abs(block[f, p] - row[f])


@inline
def _merge(sums, first, indices, nearest):
    if nearest.shape[0] == 0:
        return
    # Candidates come in rising index and only a strictly smaller sum moves up: ties go to the smaller index.
    last = nearest.shape[0] - 1
    for group in range(0, WIDTH, GROUP):
        worst = nearest[last]
        hits = np.int32(0)
        for p in range(group, group + GROUP):
            hits = np.int32(hits + (sums[p] < worst))
        if hits == 0:
            continue
        for p in range(group, group + GROUP):
            value = sums[p]
            if value < nearest[last]:
                j = last
                while j > 0 and nearest[j - 1] > value:
                    nearest[j] = nearest[j - 1]
                    indices[j] = indices[j - 1]
                    j -= 1
                nearest[j] = value
                indices[j] = first + p


@inline
def _count_closer(sums, thresholds, closer):
    # Thresholds rise, so none below the first without a hit has one.
    for t in range(thresholds.shape[0] - 1, -1, -1):
        hits = np.int32(0)  # narrow, so that the count fills whole vectors
        for p in range(WIDTH):
            hits = np.int32(hits + (sums[p] < thresholds[t]))
        if hits == 0:
            return
        closer[t] += hits


@kernel
def scan(queries, own, thresholds, blocks, n_reference, manhattan, start, stop, indices, nearest, closer):
    """Fill, for queries ``start`` to ``stop``, the nearest reference rows and the counts below each threshold.

    Parameters
    ----------
    queries
        float32 ``(m, n_features)``.
    own
        int64 ``(m,)``: reference row that is the query itself and is left out, -1 for none.
    thresholds
        float32 ``(m, t)``, rising along a row, in the units of ``nearest``.
    blocks
        float32 ``(n_blocks, n_features, WIDTH)``.
    manhattan
        Sum absolute differences instead of squared ones.
    indices, nearest
        Out: int32 and float32 ``(m, k)``, given filled with -1 and infinity.
    closer
        Out: int64 ``(m, t)``, given as zeros.
    """
    sums = np.empty(WIDTH, np.float32)
    for tile in range(start, stop, TILE):
        for b in range(blocks.shape[0]):
            first = b * WIDTH
            for i in range(tile, min(tile + TILE, stop)):
                if manhattan:
                    _absolute_differences(queries[i], blocks[b], sums)
                else:
                    _squared_differences(queries[i], blocks[b], sums)
                for p in range(n_reference - first, WIDTH):
                    sums[p] = np.inf
                if first <= own[i] < first + WIDTH:
                    sums[own[i] - first] = np.inf
                _merge(sums, first, indices[i], nearest[i])
                _count_closer(sums, thresholds[i], closer[i])


@kernel
def pair_sums(queries, targets, blocks, manhattan, start, stop, sums):
    """Fill the sum between each query and each of its targets, by the same additions as `scan`."""
    for i in range(start, stop):
        for t in range(targets.shape[1]):
            block, p = blocks[targets[i, t] // WIDTH], targets[i, t] % WIDTH
            total = np.float32(0)
            for f in range(queries.shape[1]):
                a = block[f, p] - queries[i, f]
                total = total + (abs(a) if manhattan else a * a)
            sums[i, t] = total


@kernel
def unit_rows(rows):
    """Return rows of length 1, with a last column that is 1 for rows of zeros.

    Half the squared distance of such rows is the cosine distance; a row of zeros is at 1 from every
    other row and at 0 from another row of zeros.
    """
    n_rows, n_features = rows.shape
    unit = np.zeros((n_rows, n_features + 1), np.float32)
    for i in range(n_rows):
        total = 0.0
        for f in range(n_features):
            total += np.float64(rows[i, f]) * np.float64(rows[i, f])
        if total == 0.0:
            unit[i, n_features] = 1.0
        else:
            for f in range(n_features):
                unit[i, f] = rows[i, f] / np.sqrt(total)
    return unit


@dataclass(frozen=True)
class Reference:
    """Reference rows in blocks of features by points.

    Attributes
    ----------
    blocks
        float32 ``(n_blocks, n_features, WIDTH)``, the last one filled up with zeros.
    n_rows
        Number of reference rows.
    metric
        One of `METRICS`.
    """

    blocks: NDArray[np.float32]
    n_rows: int
    metric: str

    @classmethod
    def pack(cls, rows: NDArray[np.floating], metric: str) -> Reference:
        """Lay out rows ``(n_rows, n_features)`` for a metric."""
        points = coordinates(rows, metric)
        n_rows, n_features = points.shape
        whole, rest = divmod(n_rows, WIDTH)
        blocks = np.zeros((whole + (rest > 0), n_features, WIDTH), np.float32)
        blocks[:whole] = points[: whole * WIDTH].reshape(whole, WIDTH, n_features).transpose(0, 2, 1)
        blocks[whole:, :, :rest] = points[whole * WIDTH :].T
        return cls(blocks, n_rows, metric)


def nearest_rows(
    reference: Reference,
    queries: NDArray[np.floating],
    k: int,
    *,
    own: NDArray[np.integer] | None = None,
    n_jobs: int = 1,
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return indices and distances ``(m, k)`` of the reference rows nearest to each query, nearest first.

    Ties go to the smaller index. ``own`` names for each query the reference row that is itself and is left out.
    Where the reference has too few rows: -1 and infinity.
    """
    indices, nearest = nearest_sums(reference, coordinates(queries, reference.metric), k, own=own, n_jobs=n_jobs)
    return indices, distances(nearest, reference.metric)


def nearest_sums(
    reference: Reference, points: NDArray[np.float32], k: int, *, own: NDArray[np.integer] | None, n_jobs: int
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return what `nearest_rows` does of queries given by their coordinates, sums in place of distances."""
    indices, nearest, _ = _scan(reference, points, own, k, np.empty((len(points), 0), np.float32), n_jobs)
    return indices, nearest


def nearest_and_ranks(
    reference: Reference,
    queries: NDArray[np.floating],
    targets: NDArray[np.integer],
    k: int,
    *,
    own: NDArray[np.integer] | None = None,
    n_jobs: int = 1,
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the nearest reference rows of each query, and the ranks of its targets among all of them.

    Parameters
    ----------
    targets
        ``(m, t)`` reference rows.

    Returns
    -------
    indices
        int32 ``(m, k)``, nearest first.
    ranks
        int64 ``(m, t)``: number of reference rows strictly closer than the target, plus 1.
    """
    points = coordinates(queries, reference.metric)
    sums = np.empty(targets.shape, np.float32)
    rows = np.ascontiguousarray(targets, np.int32)
    manhattan = reference.metric == MANHATTAN
    over_rows(
        lambda start, stop: pair_sums(points, rows, reference.blocks, manhattan, start, stop, sums),
        len(points),
        n_jobs,
        chunk=CHUNK,
    )
    order = np.argsort(sums, axis=1)
    indices, _, closer = _scan(reference, points, own, k, np.take_along_axis(sums, order, axis=1), n_jobs)
    ranks = np.empty(targets.shape, np.int64)
    np.put_along_axis(ranks, order, closer + 1, axis=1)
    return indices, ranks


def _scan(reference, points, own, k, thresholds, n_jobs):
    indices = np.full((len(points), k), -1, np.int32)
    nearest = np.full((len(points), k), np.inf, np.float32)
    closer = np.zeros(thresholds.shape, np.int64)
    rows = np.full(len(points), -1, np.int64) if own is None else np.require(own, np.int64, ["C", "W"])
    if k > 0 or thresholds.size:
        over_rows(
            lambda start, stop: scan(
                points,
                rows,
                thresholds,
                reference.blocks,
                reference.n_rows,
                reference.metric == MANHATTAN,
                start,
                stop,
                indices,
                nearest,
                closer,
            ),
            len(points),
            n_jobs,
            chunk=CHUNK,
        )
    return indices, nearest, closer


def coordinates(rows: NDArray[np.floating], metric: str) -> NDArray[np.float32]:
    """Return rows whose direct differences give the metric: for cosine distances, rows of length 1."""
    # A read-only array would compile a second variant of each kernel.
    points = np.require(rows, np.float32, ["C", "W"])
    return unit_rows(points) if metric == COSINE else points


def distances(sums: NDArray[np.float32], metric: str) -> NDArray[np.float32]:
    """Return the distances of a metric from sums over differences of coordinates."""
    if metric == EUCLIDEAN:
        return np.sqrt(sums)
    return sums * np.float32(0.5) if metric == COSINE else sums
