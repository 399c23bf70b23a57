"""Kernels of Gaussian affinities: a precision per row from its perplexity, and the row's probabilities.

Follows van der Maaten and Hinton (2008), JMLR 9, section 2, on nearest neighbours alone. A neighbour table is int32
columns and float32 distances, both ``(n, k)``, the row itself left out. A neighbour whose column is negative or whose
distance is not finite is not there. Of a column given twice the first entry counts.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .compile import inline, kernel
from .merging import SUM, CompressedRows, Rows, insert, packed, with_transpose
from .parallel import over_rows

NEIGHBORS_A_PERPLEXITY = 3
"""Neighbours for each unit of perplexity: a Gaussian's weights beyond are small."""
TOLERANCE = 1e-9  # of the entropy
STEPS = 300
FARTHEST_STEP = 3.0  # of the logarithm of the precision
FIRST = 4.0  # over the mean energy: the precision that is tried first, about what a third of the neighbours has
VANISHING = 800.0  # its exponential is 0
NEGLIGIBLE = 1e-30  # times one over the number of cells it is still a float32


def perplexity_rows(
    indices: NDArray[np.int32],
    distances: NDArray[np.float32],
    perplexities: NDArray[np.float64],
    mixture: bool = True,
    n_jobs: int = 1,
) -> Rows:
    """Return columns and probabilities ``(n, k)``, sorted by column and packed to the left, and their number per row.

    The probabilities of a row sum to 1, and their entropy is the logarithm of the perplexity, which is below k. Of
    several, the densities are averaged if ``mixture``, else the probabilities. A row with fewer neighbours than all
    perplexities take, 3 times as many or k, has a perplexity smaller by that ratio. Where more neighbours are equally
    near than the perplexity, these alone have a part, all the same.
    """
    return _rows(indices, distances, np.asarray(perplexities, dtype=np.float64), 0.0, mixture, n_jobs)


def gaussian_rows(indices: NDArray[np.int32], distances: NDArray[np.float32], sigma: float, n_jobs: int = 1) -> Rows:
    """Return rows as `perplexity_rows` does, of one standard deviation, in units of the distances."""
    return _rows(indices, distances, np.empty(0), 1.0 / float(sigma) ** 2, False, n_jobs)


def joint(
    columns: NDArray[np.int32],
    weights: NDArray[np.float32],
    counts: NDArray[np.int64],
    n_jobs: int = 1,
) -> CompressedRows:
    """Return the mean of rows of probabilities and their transpose, which sums to 1."""
    return with_transpose(columns, weights, counts, SUM, 0.5 / _n_filled(counts), n_jobs)


def conditional(columns: NDArray[np.int32], weights: NDArray[np.float32], counts: NDArray[np.int64]) -> CompressedRows:
    """Return rows of probabilities as they are, but for the sum of all, which is 1."""
    indptr, indices, values = packed(columns, weights, counts)
    values /= _n_filled(counts)
    return indptr, indices, values


def _n_filled(counts: NDArray[np.int64]) -> int:
    return max(int(np.count_nonzero(counts)), 1)


def _rows(
    indices: np.ndarray,
    distances: np.ndarray,
    perplexities: NDArray[np.float64],
    precision: float,
    mixture: bool,
    n_jobs: int,
) -> Rows:
    # Writable and contiguous, so that one compiled variant serves every caller.
    indices, distances = np.require(indices, np.int32, ["C", "W"]), np.require(distances, np.float32, ["C", "W"])
    columns, weights = np.zeros_like(indices), np.zeros_like(distances)
    counts = np.zeros(len(indices), np.int64)

    def work(start: int, stop: int) -> None:
        weigh_rows(indices, distances, perplexities, precision, mixture, columns, weights, counts, start, stop)

    over_rows(work, len(indices), n_jobs)
    return columns, weights, counts


@inline
def evaluate(energies: np.ndarray, powers: np.ndarray, n_near: int, precision: float) -> tuple[float, float, float]:
    """Write the row's densities relative to the nearest; return their sum, and the energy's mean and variance."""
    total, first, second = 0.0, 0.0, 0.0
    for j in range(n_near):
        power = math.exp(-precision * energies[j])
        powers[j] = power
        total += power
        first += power * energies[j]
        second += power * energies[j] * energies[j]
    mean = first / total
    return total, mean, second / total - mean * mean


@inline
def find_precision(
    energies: np.ndarray, powers: np.ndarray, n_near: int, entropy: float, mean: float, n_nearest: int, beyond: float
) -> tuple[float, float]:
    """Return the precision with an entropy, and the densities' sum there; the densities are left in ``powers``.

    Newton's method on the logarithm of the precision, within the bounds met so far. ``mean`` is that of the energies,
    of which ``n_nearest`` are 0 and the smallest other is ``beyond``.
    """
    if math.log(n_nearest) >= entropy:
        precision = VANISHING / beyond
        return precision, evaluate(energies, powers, n_near, precision)[0]
    at, low, high = math.log(FIRST / mean), -math.inf, math.inf
    precision, total = 0.0, 0.0
    for _ in range(STEPS):
        precision = math.exp(at)
        total, expected, variance = evaluate(energies, powers, n_near, precision)
        excess = precision * expected + math.log(total) - entropy
        if abs(excess) < TOLERANCE:
            break
        if excess > 0:
            low = at
        else:
            high = at
        slope = precision * precision * variance
        step = excess / slope if slope > 0 else math.copysign(math.inf, excess)
        at += max(-FARTHEST_STEP, min(FARTHEST_STEP, step))
        if not low < at < high:
            at = (low + high) / 2
    return precision, total


@inline
def row_entropy(perplexity: float, n_near: int, k: int) -> float:
    """Return the entropy that a row should have, given how many neighbours are there."""
    enough = min(float(k), NEIGHBORS_A_PERPLEXITY * perplexity)
    return math.log(perplexity * min(1.0, n_near / enough))


@kernel
def weigh_rows(
    indices: np.ndarray,
    distances: np.ndarray,
    perplexities: np.ndarray,
    precision: float,
    mixture: bool,
    columns: np.ndarray,
    weights: np.ndarray,
    counts: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Write the probabilities of rows ``start`` to ``stop``; without perplexities, those of one precision."""
    k = indices.shape[1]
    energies, powers, sums = np.empty(k), np.empty(k), np.empty(k)
    for i in range(start, stop):
        row_columns, row_weights, n_near = columns[i], weights[i], 0
        for j in range(k):
            if indices[i, j] >= 0 and distances[i, j] < np.inf:
                n_near = insert(row_columns, row_weights, n_near, indices[i, j], distances[i, j])
        if n_near == 0:
            continue
        nearest, mean, n_nearest, beyond = math.inf, 0.0, 0, math.inf
        for j in range(n_near):
            energies[j] = 0.5 * np.float64(row_weights[j]) ** 2  # the distance is there for now
            nearest = min(nearest, energies[j])
        for j in range(n_near):
            energies[j] -= nearest
            mean += energies[j] / n_near
            if energies[j] > 0:
                beyond = min(beyond, energies[j])
            else:
                n_nearest += 1
            sums[j] = 0.0
        top = -math.inf
        for h in range(len(perplexities)):
            if mean == 0:
                break
            entropy = row_entropy(perplexities[h], n_near, k)
            found, total = find_precision(energies, powers, n_near, entropy, mean, n_nearest, beyond)
            # A density's height is the root of its precision; heights are kept relative to the largest.
            height = 0.5 * math.log(found) - found * nearest if mixture else -math.log(total)
            kept, share = math.exp(min(top - height, 0.0)), math.exp(min(height - top, 0.0))
            top = max(top, height)
            for j in range(n_near):
                sums[j] = sums[j] * kept + powers[j] * share
        if mean == 0 or len(perplexities) == 0:
            evaluate(energies, sums, n_near, precision)
        whole = 0.0
        for j in range(n_near):
            whole += sums[j]
        n_kept = 0
        for j in range(n_near):
            share = sums[j] / whole
            if share > NEGLIGIBLE:
                row_columns[n_kept], row_weights[n_kept] = row_columns[j], share
                n_kept += 1
        row_columns[n_kept:], row_weights[n_kept:] = 0, 0
        counts[i] = n_kept
