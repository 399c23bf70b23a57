"""How far rows are from their neighbours, in what those are from theirs, each row by itself."""

from __future__ import annotations

import math

from .compile import kernel


@kernel
def local_ratios(indices, distances, means, last, following, is_reference, floor, start, stop, ratios):
    """Fill, for rows ``start`` to ``stop``, the mean distance to the neighbours over the mean of theirs.

    Parameters
    ----------
    indices, distances
        int32 and float32 ``(n, k)``, nearest first; -1 and infinity, last, where there is none.
    means, last, following
        float64 ``(m,)`` of the reference rows: mean distance to their own ``k`` nearest, distance to the last of
        these, and to the one after it.
    is_reference
        The rows are reference rows themselves: each is left out of its neighbours' neighbours, as a new row is.
    floor
        Smallest distance that is divided by, above 0.
    ratios
        Out: float32 ``(n,)``; infinity where a row has not ``k`` neighbours at finite distances.
    """
    k = indices.shape[1]
    for i in range(start, stop):
        own, theirs = 0.0, 0.0
        for j in range(k):
            neighbor, distance = indices[i, j], distances[i, j]
            own += distance
            if neighbor < 0:
                continue
            theirs += means[neighbor]
            if is_reference and distance <= last[neighbor]:
                theirs += (following[neighbor] - distance) / k
        is_placed = indices[i, k - 1] >= 0 and own < math.inf
        ratios[i] = own / max(theirs, k * floor) if is_placed else math.inf
