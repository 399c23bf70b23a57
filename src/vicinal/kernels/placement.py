"""Places rows among others at the weighted mean of their neighbours' places, each row by itself."""

from __future__ import annotations

import numpy as np

from .compile import inline, kernel

BISECTIONS = 64
FLOOR = 1e-3
"""Smallest bandwidth, in mean neighbour distances (McInnes, Healy & Melville 2018, reference implementation)."""


@inline
def _weights(distances, rho, weights):  # type: ignore[no-untyped-def]
    """Fill ``exp(-max(0, d - rho) / sigma)``, with sigma such that they add up to log2 of neighbours and row.

    Distances are divided by their mean excess over ``rho`` first, so that the search is the same at every scale.
    """
    n, mean, excess = 0, 0.0, 0.0
    for j in range(distances.shape[0]):
        weights[j] = 0.0
        if np.isfinite(distances[j]):
            n += 1
            mean += distances[j]
            excess += distances[j] - rho
    if n == 0:
        return
    mean, excess = mean / n, excess / n
    if excess <= 0.0:
        for j in range(distances.shape[0]):
            weights[j] = 1.0 if np.isfinite(distances[j]) else 0.0
        return
    low, high, sigma = 0.0, np.inf, 1.0
    target = np.log2(n + 1.0)
    for _ in range(BISECTIONS):
        total = 0.0
        for j in range(distances.shape[0]):
            if np.isfinite(distances[j]):
                total += np.exp(-(distances[j] - rho) / (excess * sigma))
        if total > target:
            high = sigma
        else:
            low = sigma
        sigma = 2.0 * low if high == np.inf else 0.5 * (low + high)
    sigma = max(excess * sigma, FLOOR * mean)
    for j in range(distances.shape[0]):
        if np.isfinite(distances[j]):
            weights[j] = np.exp(-(distances[j] - rho) / sigma)


@kernel
def weighted_means(indices, distances, layout, start, stop, places):  # type: ignore[no-untyped-def]
    """Fill, for rows ``start`` to ``stop``, the mean place of their neighbours, weighted as in the fuzzy graph.

    A row at distance 0 from some neighbours gets the plain mean of those alone; a row without neighbours NaN.

    Parameters
    ----------
    indices, distances
        int32 and float32 ``(n, k)``, nearest first; -1 and infinity where there is none.
    layout
        float32 ``(m, n_components)``.
    places
        Out: float32 ``(n, n_components)``.
    """
    k, n_components = indices.shape[1], layout.shape[1]
    row, weights = np.empty(k), np.empty(k)
    for i in range(start, stop):
        for j in range(k):
            row[j] = distances[i, j] if indices[i, j] >= 0 else np.inf
        if k > 0 and row[0] == 0.0:
            for j in range(k):
                weights[j] = 1.0 if row[j] == 0.0 else 0.0
        else:
            _weights(row, row[0] if k > 0 else np.inf, weights)
        norm = 0.0
        for j in range(k):
            norm += weights[j]
        for c in range(n_components):
            total = 0.0
            for j in range(k):
                if weights[j] > 0.0:
                    total += weights[j] * np.float64(layout[indices[i, j], c])
            places[i, c] = total / norm if norm > 0.0 else np.nan
