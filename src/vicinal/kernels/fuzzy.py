"""Kernels of the fuzzy simplicial set: a bandwidth and memberships per row, then the set operation on sorted rows.

Follows McInnes, Healy and Melville (2018), arXiv:1802.03426, section 3.1. A neighbour table is int32 columns and
float32 distances, both ``(n, k)``, nearest first, the row itself left out. A neighbour whose column is negative or
whose distance is not finite is not there: it enters no sum, no mean and no count.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from .compile import inline, kernel
from .parallel import over_rows

TOLERANCE = 1e-5
BISECTIONS = 64
FLOOR = 1e-3
NEWTON_STEPS = 12
NEAR = 1e-6  # of the target: one more step of Newton's is then exact
SLIGHT = 0.02  # change of the sum with the logarithm of the bandwidth, below which it is not followed
CLOSE = 0.01  # relative distance from the root within which the sum is taken for straight
MARGIN = 0.3 * TOLERANCE

CompressedRows = tuple[NDArray[np.signedinteger], NDArray[np.int32], NDArray[np.float32]]
"""``indptr``, ``indices``, ``weights``."""


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


def packed(columns: NDArray[np.int32], weights: NDArray[np.float32], counts: NDArray[np.int64]) -> CompressedRows:
    """Return the rows one after the other, without symmetrisation."""
    there = np.arange(columns.shape[1]) < counts[:, None]
    return _narrow(_starts(counts)), columns[there], weights[there]


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
    n_rows, mix = len(columns), float(set_op_mix_ratio)
    other = transposed(columns, weights, counts)
    sizes = np.zeros(n_rows, np.int64)
    over_rows(lambda a, b: count_merged(columns, weights, counts, *other, mix, sizes, a, b), n_rows, n_jobs)
    starts = _starts(sizes)
    merged_columns, merged_weights = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.float32)

    def work(start: int, stop: int) -> None:
        fill_merged(columns, weights, counts, *other, mix, starts, merged_columns, merged_weights, start, stop)

    over_rows(work, n_rows, n_jobs)
    return _narrow(starts), merged_columns, merged_weights


def transposed(columns: NDArray[np.int32], weights: NDArray[np.float32], counts: NDArray[np.int64]) -> CompressedRows:
    """Return the transpose as compressed rows, sorted, by counting."""
    starts = np.zeros(len(columns) + 1, np.int64)
    count_columns(columns, counts, starts)
    starts = np.cumsum(starts)
    other_columns, other_weights = np.empty(starts[-1], np.int32), np.empty(starts[-1], np.float32)
    scatter(columns, weights, counts, starts[:-1].copy(), other_columns, other_weights)
    return starts, other_columns, other_weights


def _table(indices: np.ndarray, distances: np.ndarray) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    # Writable and contiguous, so that one compiled variant serves every caller.
    return np.require(indices, np.int32, ["C", "W"]), np.require(distances, np.float32, ["C", "W"])


def _starts(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])


def _narrow(starts: NDArray[np.int64]) -> NDArray[np.signedinteger]:
    return starts.astype(np.int32) if starts[-1] <= np.iinfo(np.int32).max else starts


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
        n_kept = 0
        for j in range(indices.shape[1]):
            column, distance = indices[i, j], distances[i, j]
            if column < 0 or not distance < np.inf:
                continue
            beyond = np.float32(distance - rhos[i])
            weight = np.float32(1)
            if beyond > 0 and sigmas[i] > 0:
                weight = np.exp(-(beyond / sigmas[i]))
            place = n_kept
            while place > 0 and columns[i, place - 1] > column:
                place -= 1
            repeated = place > 0 and columns[i, place - 1] == column
            if repeated or weight <= 0:
                continue
            for p in range(n_kept, place, -1):
                columns[i, p], weights[i, p] = columns[i, p - 1], weights[i, p - 1]
            columns[i, place], weights[i, place] = column, weight
            n_kept += 1
        counts[i] = n_kept


@kernel
def count_columns(columns: np.ndarray, counts: np.ndarray, starts: np.ndarray) -> None:
    """Add to ``starts[c + 1]`` the number of entries in column c."""
    for i in range(len(counts)):
        for p in range(counts[i]):
            starts[columns[i, p] + 1] += 1


@kernel
def scatter(
    columns: np.ndarray,
    weights: np.ndarray,
    counts: np.ndarray,
    cursors: np.ndarray,
    other_columns: np.ndarray,
    other_weights: np.ndarray,
) -> None:
    """Write each entry where the cursor of its column stands; rows come in order, so the result is sorted."""
    for i in range(len(counts)):
        for p in range(counts[i]):
            place = cursors[columns[i, p]]
            cursors[columns[i, p]] = place + 1
            other_columns[place], other_weights[place] = i, weights[i, p]


@inline
def combined(weight: np.float32, other: np.float32, mix: float) -> np.float32:
    """Return the mixed union and intersection of two memberships."""
    both = weight * other
    value = mix * (weight + other - both) + (1.0 - mix) * both
    # Rounding may carry the union past 1.
    return np.float32(value) if value < 1.0 else np.float32(1)


@inline
def merge_row(
    row_columns: np.ndarray,
    row_weights: np.ndarray,
    n_row: int,
    other_columns: np.ndarray,
    other_weights: np.ndarray,
    mix: float,
    out_columns: np.ndarray,
    out_weights: np.ndarray,
) -> int:
    """Write the merged row to the front of the outputs and return its length."""
    p, q, n_out = 0, 0, 0
    n_other = len(other_columns)
    while p < n_row or q < n_other:
        take = p < n_row and (q >= n_other or row_columns[p] <= other_columns[q])
        take_other = q < n_other and (p >= n_row or other_columns[q] <= row_columns[p])
        column = row_columns[p] if take else other_columns[q]
        weight, other = np.float32(0), np.float32(0)
        if take:
            weight = row_weights[p]
            p += 1
        if take_other:
            other = other_weights[q]
            q += 1
        value = combined(weight, other, mix)
        if value > 0:
            out_columns[n_out], out_weights[n_out] = column, value
            n_out += 1
    return n_out


@kernel
def count_merged(
    columns: np.ndarray,
    weights: np.ndarray,
    counts: np.ndarray,
    starts: np.ndarray,
    other_columns: np.ndarray,
    other_weights: np.ndarray,
    mix: float,
    sizes: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Write the lengths that rows ``start`` to ``stop`` have once merged."""
    longest = 0
    for i in range(start, stop):
        longest = max(longest, counts[i] + starts[i + 1] - starts[i])
    spare_columns, spare_weights = np.empty(longest, np.int32), np.empty(longest, np.float32)
    for i in range(start, stop):
        a, b = starts[i], starts[i + 1]
        sizes[i] = merge_row(
            columns[i], weights[i], counts[i], other_columns[a:b], other_weights[a:b], mix, spare_columns, spare_weights
        )


@kernel
def fill_merged(
    columns: np.ndarray,
    weights: np.ndarray,
    counts: np.ndarray,
    starts: np.ndarray,
    other_columns: np.ndarray,
    other_weights: np.ndarray,
    mix: float,
    merged_starts: np.ndarray,
    merged: np.ndarray,
    merged_weights: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Write the merged rows ``start`` to ``stop`` in their places."""
    for i in range(start, stop):
        a, b = starts[i], starts[i + 1]
        x, y = merged_starts[i], merged_starts[i + 1]
        merge_row(
            columns[i],
            weights[i],
            counts[i],
            other_columns[a:b],
            other_weights[a:b],
            mix,
            merged[x:y],
            merged_weights[x:y],
        )
