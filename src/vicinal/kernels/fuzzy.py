"""Kernels of the fuzzy simplicial set: a bandwidth and memberships per row, then the set operation (`merging.py`).

Follows McInnes, Healy and Melville (2018), arXiv:1802.03426, section 3.1. A neighbour table is int32 columns and
float32 distances, both ``(n, k)``, nearest first, the row itself left out. A neighbour whose column is negative or
whose distance is not finite is not there: it enters no sum, no mean and no count.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .compile import inline, kernel
from .merging import UNION, CompressedRows, insert, with_transpose
from .parallel import over_rows

TOLERANCE = 1e-5
BISECTIONS = 64
FLOOR = 1e-3
NEWTON_STEPS = 12
NEAR = 1e-6  # of the target: one more step of Newton's is then exact
SLIGHT = 0.02  # change of the sum with the logarithm of the bandwidth, below which it is not followed
CLOSE = 0.01  # relative distance from the root within which the sum is taken for straight
MARGIN = 0.3 * TOLERANCE


def smooth_distances(
    indices: NDArray[np.int32],
    distances: NDArray[np.float32],
    local_connectivity: float = 1.0,
    n_jobs: int = 1,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return sigma and rho of each row, float32 ``(n,)``.

    Rho is the distance to the ``local_connectivity``-th neighbour apart from the row, linearly interpolated. Sigma
    makes the memberships of a row with m neighbours sum to log2(m + 1), and is at least a thousandth of the mean
    distance, in which the row itself counts as a zero.
    """
    indices, distances = _table(indices, distances)
    n_rows = len(indices)
    sigmas, rhos = np.zeros(n_rows, np.float32), np.zeros(n_rows, np.float32)
    sums, counts = np.zeros(n_rows, np.float64), np.zeros(n_rows, np.int64)

    def work(start: int, stop: int) -> None:
        smooth_rows(indices, distances, float(local_connectivity), sigmas, rhos, sums, counts, start, stop)

    over_rows(work, n_rows, n_jobs)
    # A row of coincident neighbours has no scale of its own and takes the table's.
    scaleless = (rhos == 0) & (counts > 0)
    if scaleless.any():
        floor = FLOOR * sums.sum() / (counts.sum() + n_rows)
        sigmas[scaleless] = np.maximum(sigmas[scaleless], np.float32(floor))
    return sigmas, rhos


def membership_rows(
    indices: NDArray[np.int32],
    distances: NDArray[np.float32],
    sigmas: NDArray[np.float32],
    rhos: NDArray[np.float32],
    n_jobs: int = 1,
) -> tuple[NDArray[np.int32], NDArray[np.float32], NDArray[np.int64]]:
    """Return columns and memberships ``(n, k)``, sorted by column and packed to the left, and their number per row.

    A column given twice keeps its first, nearer entry.
    """
    indices, distances = _table(indices, distances)
    columns, weights = np.zeros_like(indices), np.zeros_like(distances)
    counts = np.zeros(len(indices), np.int64)

    def work(start: int, stop: int) -> None:
        weigh_rows(indices, distances, sigmas, rhos, columns, weights, counts, start, stop)

    over_rows(work, len(indices), n_jobs)
    return columns, weights, counts


def symmetrized(
    columns: NDArray[np.int32],
    weights: NDArray[np.float32],
    counts: NDArray[np.int64],
    set_op_mix_ratio: float = 1.0,
    n_jobs: int = 1,
) -> CompressedRows:
    """Return the fuzzy union of the rows with their transpose, mixed with the intersection.

    With A the memberships and mix the ratio: mix (A + A' - A * A') + (1 - mix) A * A', products elementwise.
    """
    return with_transpose(columns, weights, counts, UNION, float(set_op_mix_ratio), n_jobs)


def _table(indices: np.ndarray, distances: np.ndarray) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    # Writable and contiguous, so that one compiled variant serves every caller.
    return np.require(indices, np.int32, ["C", "W"]), np.require(distances, np.float32, ["C", "W"])


@inline
def row_rho(near: np.ndarray, n_near: int, local_connectivity: float) -> np.float32:
    """Return the distance to the ``local_connectivity``-th neighbour that is not coincident."""
    index = int(math.floor(local_connectivity))
    interpolation = local_connectivity - index
    below, above, largest = np.float32(0), np.float32(0), np.float32(0)
    n_apart = 0
    for j in range(n_near):
        distance = near[j]
        if distance > 0:
            n_apart += 1
            largest = max(largest, distance)
            if n_apart == index:
                below = distance
            elif n_apart == index + 1:
                above = distance
    if n_apart < local_connectivity:
        return largest
    if interpolation <= TOLERANCE:
        return below
    return np.float32(below + interpolation * (above - below))


@inline
def sum_and_slope(beyond: np.ndarray, n_near: int, rate: float) -> tuple[float, float]:
    """Return the memberships' sum at a bandwidth of one over the rate, and how fast it falls with the rate."""
    total, slope = 0.0, 0.0
    for j in range(n_near):
        membership = math.exp(-(beyond[j] * rate))
        total += membership
        slope += beyond[j] * membership
    return total, slope


@inline
def sum_at(beyond: np.ndarray, n_near: int, sigma: float) -> float:
    """Return the memberships' sum at a bandwidth."""
    total = 0.0
    for j in range(n_near):
        total += math.exp(-(beyond[j] / sigma))
    return total


@inline
def root_and_slope(beyond: np.ndarray, n_near: int, target: float) -> tuple[float, float]:
    """Return the bandwidth that meets the target and how fast the sum grows there; zeros where that is not clear.

    Newton's method on the logarithm of the sum, which is convex in the rate: from 0 it never goes too far.
    """
    mean = 0.0
    for j in range(n_near):
        mean += beyond[j] / n_near
    rate = math.log(n_near / target) / mean if mean > 0 else 0.0
    for _ in range(NEWTON_STEPS):
        total, slope = sum_and_slope(beyond, n_near, rate)
        if not slope * rate > SLIGHT:
            break
        rate += total * math.log(total / target) / slope
        if abs(total - target) < NEAR:
            return 1.0 / rate, slope * rate * rate
    return 0.0, 0.0


@inline
def row_sigma(beyond: np.ndarray, n_near: int) -> np.float32:
    """Bisect for the bandwidth at which the memberships sum to log2(n_near + 1).

    Where bisection goes and stops is known from the root and the slope there: the sum is evaluated only where these
    do not say for certain whether it is within the tolerance.
    """
    target = math.log2(n_near + 1)
    root, slope = root_and_slope(beyond, n_near, target)
    low, high, middle = 0.0, math.inf, 1.0
    for _ in range(BISECTIONS):
        excess = slope * (middle - root)
        if root == 0.0 or (abs(middle - root) < CLOSE * root and abs(abs(excess) - TOLERANCE) < MARGIN):
            excess = sum_at(beyond, n_near, middle) - target
        if abs(excess) < TOLERANCE:
            break
        if excess > 0:
            high = middle
        else:
            low = middle
        middle = (low + high) / 2 if high < math.inf else middle * 2
    return np.float32(middle)


@kernel
def smooth_rows(
    indices: np.ndarray,
    distances: np.ndarray,
    local_connectivity: float,
    sigmas: np.ndarray,
    rhos: np.ndarray,
    sums: np.ndarray,
    counts: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Write sigma, rho, the sum and the number of distances of rows ``start`` to ``stop``."""
    near, beyond = np.empty(indices.shape[1], np.float32), np.empty(indices.shape[1], np.float64)
    for i in range(start, stop):
        n_near = 0
        total = 0.0
        for j in range(indices.shape[1]):
            if indices[i, j] >= 0 and distances[i, j] < np.inf:
                near[n_near] = distances[i, j]
                total += distances[i, j]
                n_near += 1
        if n_near == 0:
            continue
        rho = row_rho(near, n_near, local_connectivity)
        for j in range(n_near):
            beyond[j] = max(near[j] - rho, np.float32(0))
        sigma = row_sigma(beyond, n_near)
        if rho > 0:
            sigma = max(sigma, np.float32(FLOOR * total / (n_near + 1)))
        sigmas[i], rhos[i], sums[i], counts[i] = sigma, rho, total, n_near


@kernel
def weigh_rows(
    indices: np.ndarray,
    distances: np.ndarray,
    sigmas: np.ndarray,
    rhos: np.ndarray,
    columns: np.ndarray,
    weights: np.ndarray,
    counts: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Write the memberships of rows ``start`` to ``stop``, sorted by column."""
    for i in range(start, stop):
        row_columns, row_weights, n_kept = columns[i], weights[i], 0
        for j in range(indices.shape[1]):
            column, distance = indices[i, j], distances[i, j]
            if column < 0 or not distance < np.inf:
                continue
            beyond = np.float32(distance - rhos[i])
            weight = np.float32(1)
            if beyond > 0 and sigmas[i] > 0:
                weight = np.exp(-(beyond / sigmas[i]))
            if weight > 0:
                n_kept = insert(row_columns, row_weights, n_kept, column, weight)
        counts[i] = n_kept
