"""Batches of rows on the search for their nearest among clustered rows: what the exact and the probing search share."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .compile import inline
from .tiles import QUERIES, WIDTH, lowest_bit, tile

SPARE = 3
"""Candidates kept beyond those wanted: scores round otherwise than distances."""


class Batch(NamedTuple):
    """Rows that search together.

    Attributes
    ----------
    queries
        float32 ``(m, n_features)``.
    squares
        float64 ``(m,)``: squared lengths.
    own
        int32 ``(m,)``: the member each is itself and must not find, -1 for none.
    scores, found
        float32 and int32 ``(m, width)``: the best scores so far, rising, and whose they are; filled up with
        infinity and -1.
    """

    queries: NDArray[np.float32]
    squares: NDArray[np.float64]
    own: NDArray[np.int32]
    scores: NDArray[np.float32]
    found: NDArray[np.int32]


@inline
def new_batch(size, n_features, width):
    """Return an empty batch."""
    return Batch(
        np.empty((size, n_features), np.float32),
        np.empty(size),
        np.full(size, -1, np.int32),
        np.empty((size, width), np.float32),
        np.empty((size, width), np.int32),
    )


@inline
def load(batch, clusters, begin, end):
    """Fill a batch with the points of blocks ``begin`` to ``end``; return their number."""
    n = 0
    for b in range(begin, end):
        for p in range(WIDTH):
            if clusters.members[b, p] < 0:
                break
            for f in range(batch.queries.shape[1]):
                batch.queries[n, f] = clusters.blocks.points[b, f, p]
            batch.own[n] = clusters.members[b, p]
            n += 1
    reset(batch, n)
    return n


@inline
def reset(batch, n):
    """Measure the first ``n`` queries and forget what they found."""
    for i in range(n):
        total = 0.0
        for f in range(batch.queries.shape[1]):
            total += np.float64(batch.queries[i, f]) * np.float64(batch.queries[i, f])
        batch.squares[i] = total
    batch.scores[:n] = np.inf
    batch.found[:n] = -1


@inline
def compare(batch, chosen, start, stop, blocks, members, begin, end):
    """Let the queries ``chosen[start:stop]`` keep what is nearest among the points of blocks ``begin`` to ``end``."""
    last = batch.scores.shape[1] - 1
    rows, limits = np.empty(QUERIES, np.int64), np.empty(QUERIES, np.float32)
    scores, hits = np.empty((QUERIES, WIDTH), np.float32), np.empty(QUERIES, np.uint64)
    for i in range(start, stop, QUERIES):
        n_rows = min(QUERIES, stop - i)
        for j in range(QUERIES):
            rows[j] = chosen[i + min(j, n_rows - 1)]
            limits[j] = batch.scores[rows[j], last] if j < n_rows else -np.inf
        for b in range(begin, end):
            if not tile(batch.queries, rows, blocks.points, blocks.half_norms, b, limits, scores, hits):
                continue
            for j in range(n_rows):
                bits, row = hits[j], rows[j]
                while bits:
                    p = lowest_bit(bits)
                    bits &= bits - np.uint64(1)
                    if scores[j, p] < batch.scores[row, last] and members[b, p] != batch.own[row]:
                        insert(scores[j, p], members[b, p], batch.scores[row], batch.found[row])
                limits[j] = batch.scores[row, last]


@inline
def insert(score, member, scores, found):
    """Put a member among the best so far."""
    j = scores.shape[0] - 1
    while j > 0 and scores[j - 1] > score:
        scores[j] = scores[j - 1]
        found[j] = found[j - 1]
        j -= 1
    scores[j] = score
    found[j] = member


@inline
def squared_distance(one, other):
    """Return the squared distance by direct differences, summed in the order of `knn.scan`."""
    total = np.float32(0)
    for f in range(one.shape[0]):
        a = one[f] - other[f]
        total = total + a * a
    return total


@inline
def settle(row, rows, names, found, sums, indices, nearest):
    """Order the members that were found by direct differences, ties by name, and keep the nearest.

    Parameters
    ----------
    row
        float32 ``(n_features,)``: who searches.
    rows
        float32 ``(n, n_features)``: the members.
    names
        int32 ``(n,)``: what each member is called.
    found
        int32 ``(width,)``; sorted in place.
    sums
        Scratch, float32 ``(width,)``.
    indices, nearest
        Out: int32 and float32 ``(k,)``, members and squared distances.
    """
    n = 0
    while n < found.shape[0] and found[n] >= 0:
        member, total, j = found[n], squared_distance(rows[found[n]], row), n
        while j > 0 and (sums[j - 1] > total or (sums[j - 1] == total and names[found[j - 1]] > names[member])):
            sums[j] = sums[j - 1]
            found[j] = found[j - 1]
            j -= 1
        sums[j] = total
        found[j] = member
        n += 1
    for t in range(indices.shape[0]):
        present = t < n and sums[t] < np.inf
        indices[t] = found[t] if present else -1
        nearest[t] = sums[t] if present else np.inf
