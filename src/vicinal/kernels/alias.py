"""Alias tables: draws by weight in one look, however many there are to draw from."""

from __future__ import annotations

import numpy as np

from .compile import kernel


@kernel
def fill_alias(starts, weights, shares, others):
    """Fill the tables of consecutive stretches of weights (Walker 1977, Vose 1991; doi:10.1145/355744.355749).

    To draw from a stretch by weight, take any of its entries, keep it with its share, and else take the other one.

    Parameters
    ----------
    starts
        int64 ``(n + 1,)``: where stretches begin and end.
    weights
        float32 ``(m,)``, not negative.
    shares
        Out: float32 ``(m,)``; 0 where the weight is 0, unless all of the stretch are.
    others
        Out: int32 ``(m,)``, counted from the beginning of the stretch.
    """
    most = 0
    for i in range(starts.shape[0] - 1):
        most = max(most, starts[i + 1] - starts[i])
    scaled, waiting = np.empty(most, np.float64), np.empty(most, np.int64)
    for i in range(starts.shape[0] - 1):
        first, n = starts[i], starts[i + 1] - starts[i]
        total = 0.0
        for j in range(n):
            total += weights[first + j]
        # Those below the mean wait at the front, those above it at the back.
        n_small, n_large = 0, 0
        for j in range(n):
            shares[first + j], others[first + j] = 1.0, j
            scaled[j] = weights[first + j] * n / total if total > 0.0 else 1.0
            if scaled[j] < 1.0:
                waiting[n_small] = j
                n_small += 1
            else:
                n_large += 1
                waiting[n - n_large] = j
        while n_small > 0 and n_large > 0:
            small, large = waiting[n_small - 1], waiting[n - n_large]
            shares[first + small], others[first + small] = scaled[small], large
            n_small -= 1
            scaled[large] -= 1.0 - scaled[small]
            if scaled[large] < 1.0:
                n_large -= 1
                waiting[n_small] = large
                n_small += 1
        # Rounding may leave some of either kind; those without weight must still not be drawn.
        for k in range(n_small):
            j = waiting[k]
            if weights[first + j] == 0.0 and total > 0.0:
                shares[first + j] = 0.0
                heaviest = 0
                for other in range(n):
                    if weights[first + other] > weights[first + heaviest]:
                        heaviest = other
                others[first + j] = heaviest
