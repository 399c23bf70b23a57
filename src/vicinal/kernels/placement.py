"""Places rows among others at the weighted mean of their neighbours' places, each row by itself."""

from __future__ import annotations

import math

import numpy as np

from .compile import inline, kernel

BISECTIONS = 64
FLOOR = 1e-3
"""Smallest bandwidth, in mean neighbour distances, as in the fuzzy graph."""


@inline
def _bandwidth(excess, scale):
    """Return sigma such that ``exp(-excess / sigma)`` adds up to log2 of the neighbours and the row itself.

    The search is in units of ``scale``, so that it is the same for distances of any size.
    """
    low, high, sigma = 0.0, math.inf, 1.0
    target = math.log2(excess.shape[0] + 1.0)
    for _ in range(BISECTIONS):
        total = 0.0
        for j in range(excess.shape[0]):
            total += math.exp(-excess[j] / (scale * sigma))
        if total > target:
            high = sigma
        else:
            low = sigma
        sigma = 2.0 * low if math.isinf(high) else 0.5 * (low + high)
    return scale * sigma


@inline
def _fill_weights(distances, weights):
    rho, n = distances[0], distances.shape[0]
    if rho == 0.0:
        for j in range(n):
            weights[j] = 1.0 if distances[j] == 0.0 else 0.0
        return
    total = 0.0
    for j in range(n):
        total += distances[j]
        weights[j] = distances[j] - rho
    scale = total / n - rho
    floor = FLOOR * total / (n + 1)
    sigma = floor if scale <= 0.0 else max(floor, _bandwidth(weights, scale))
    for j in range(n):
        weights[j] = math.exp(-weights[j] / sigma)


@kernel
def weighted_means(indices, distances, layout, start, stop, places):
    """Fill, for rows ``start`` to ``stop``, the mean place of their neighbours, weighted as in the fuzzy graph.

    With rho the distance to the nearest, neighbours weigh ``exp(-(d - rho) / sigma)``. A row at distance 0 from some
    of them gets the plain mean of those alone; a row without neighbours gets NaN.

    Parameters
    ----------
    indices, distances
        int32 and float32 ``(n, k)``, nearest first; -1 and infinity, last, where there is none.
    layout
        float32 ``(m, n_components)``.
    places
        Out: float32 ``(n, n_components)``.
    """
    k = indices.shape[1]
    near, weights = np.empty(k, np.float64), np.empty(k, np.float64)
    for i in range(start, stop):
        n = 0
        while n < k and indices[i, n] >= 0:
            near[n] = distances[i, n]
            n += 1
        if n > 0:
            _fill_weights(near[:n], weights[:n])
        norm = 0.0
        for j in range(n):
            norm += weights[j]
        for c in range(layout.shape[1]):
            total = 0.0
            for j in range(n):
                total += weights[j] * layout[indices[i, j], c]
            places[i, c] = total / norm if norm > 0.0 else math.nan
