"""The parts of a step of t-SNE that are no field: attraction along edges, all pairs of few cells, the step itself.

With ``w_ij = (1 + d_ij^2 / dof)^-dof``, ``Z`` the sum of w over all ordered pairs and ``P`` the affinities, a quarter
of the gradient of the divergence is ``sum_j p_ij (y_i - y_j) / (1 + d_ij^2 / dof)`` less the same with ``w_ij / Z``
for ``p_ij`` (van der Maaten and Hinton 2008, JMLR 9:2579; for dof, Kobak et al. 2019, arXiv:1902.05804).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compile import inline, kernel
from .pairs import LANES as PAIR_LANES
from .pairs import add_pairs
from .power import log2, power
from .pulls import LANES, pull, square

MIN_GAIN = np.float32(0.01)
LOG_2 = np.log(2.0)
ZERO, ONE, TWO = np.float32(0), np.float32(1), np.float32(2)
TERMS_AT_ONCE = 256
LANES_OF_ROWS = 24
"""Coordinates worked on at a time: whole rows, of one, two or three dimensions."""
ROWS_A_SUM = 100
"""Of those, as many as are summed in single precision."""
INFINITY = np.float32(np.inf)
GAIN, LOSS_OF_GAIN = np.float32(0.2), np.float32(0.8)


@kernel
def attract(
    indptr: NDArray[np.int64],
    ends: NDArray[np.uint32],
    weights: NDArray[np.float32],
    places: NDArray[np.float32],
    per_dof: np.float32,
    pulls: NDArray[np.float32],
    start: int,
    stop: int,
) -> None:
    """Write what the edges of some cells add to the gradient."""
    sums = np.empty(2 * LANES, dtype=np.float32)
    for i in range(start, stop):
        if places.shape[1] == 2:
            pulls[i, 0], pulls[i, 1] = _pulled_2d(indptr[i], indptr[i + 1], ends, weights, places, i, per_dof, sums)
            continue
        pulls[i] = 0
        for e in range(indptr[i], indptr[i + 1]):
            j = ends[e]
            factor = weights[e] / (ONE + _squared_distance(places, i, j) * per_dof)
            for k in range(places.shape[1]):
                pulls[i, k] += factor * (places[i, k] - places[j, k])


@inline
def _pulled_2d(
    first: int,
    last: int,
    ends: NDArray[np.uint32],
    weights: NDArray[np.float32],
    places: NDArray[np.float32],
    i: int,
    per_dof: np.float32,
    sums: NDArray[np.float32],
) -> tuple[float, float]:
    x, y, along_x, along_y = places[i, 0], places[i, 1], ZERO, ZERO
    whole = first + (last - first) // LANES * LANES
    sums[:] = 0
    for e in range(first, whole, LANES):
        pull(ends, weights, places, e, x, y, per_dof, sums)
    for lane in range(LANES):
        along_x += sums[lane]
        along_y += sums[LANES + lane]
    for e in range(whole, last):
        dx, dy = x - places[ends[e], 0], y - places[ends[e], 1]
        factor = weights[e] / (ONE + (dx * dx + dy * dy) * per_dof)
        along_x += factor * dx
        along_y += factor * dy
    return along_x, along_y


@kernel
def attraction_loss(
    indptr: NDArray[np.int64],
    ends: NDArray[np.uint32],
    weights: NDArray[np.float32],
    places: NDArray[np.float32],
    per_dof: np.float32,
    start: int,
    stop: int,
) -> float:
    """Return the sum of ``p_ij log(1 + d_ij^2 / dof)`` over the edges of some cells."""
    total, terms, sums = 0.0, np.empty(TERMS_AT_ONCE, dtype=np.float32), np.empty(LANES, dtype=np.float32)
    for i in range(start, stop):
        for first in range(indptr[i], indptr[i + 1], TERMS_AT_ONCE):
            n = min(indptr[i + 1] - first, TERMS_AT_ONCE)
            _write_squares(ends, places, i, first, n, terms)
            for k in range(n):  # apart from the gathering, so that it becomes vector instructions
                terms[k] = weights[first + k] * log2(ONE + terms[k] * per_dof)
            total += _sum(terms, n, sums)
    return total * LOG_2


@inline
def _write_squares(
    ends: NDArray[np.uint32], places: NDArray[np.float32], i: int, first: int, n: int, squares: NDArray[np.float32]
) -> None:
    whole = n // LANES * LANES if places.shape[1] == 2 else 0
    for k in range(0, whole, LANES):
        square(ends, places, first + k, places[i, 0], places[i, 1], squares, k)
    for k in range(whole, n):
        squares[k] = _squared_distance(places, i, ends[first + k])


@inline
def _sum(terms: NDArray[np.float32], n: int, sums: NDArray[np.float32]) -> float:
    """Return the sum of the first terms, in eight chains, so that none waits for the other."""
    whole = n // LANES * LANES
    total = ZERO
    sums[:] = 0
    for first in range(0, whole, LANES):
        for lane in range(LANES):
            sums[lane] += terms[first + lane]
    for lane in range(LANES):
        total += sums[lane]
    for k in range(whole, n):
        total += terms[k]
    return total


@kernel
def entropy(weights: NDArray[np.float32], scale: float) -> float:
    """Return the sum of ``p log p`` over edges, p their weights times a scale."""
    total = 0.0
    for weight in weights:
        share = weight * scale
        if share > 0:
            total += share * np.log(share)
    return total


@kernel
def repel(
    places: NDArray[np.float32],
    others: NDArray[np.float32],
    gradient: NDArray[np.float32],
    start: int,
    stop: int,
) -> float:
    """Write the gradient of the sum of w over some places at some cells, and return the sum of w there; dof is 1.

    Parameters
    ----------
    others
        ``(3, m)``, rows of zeros for dimensions that the map does not have; the cell itself counts where it is there.
    """
    n_components, total = places.shape[1], 0.0
    whole = others.shape[1] // PAIR_LANES * PAIR_LANES
    sums = np.empty(4 * PAIR_LANES, dtype=np.float32)
    for i in range(start, stop):
        x = places[i, 0]
        y = places[i, 1] if n_components > 1 else ZERO
        z = places[i, 2] if n_components > 2 else ZERO
        sums[:] = 0
        if n_components < 3:  # without the third dimension it takes three quarters of the time
            add_pairs(others, whole, (x, y), sums)
        else:
            add_pairs(others, whole, (x, y, z), sums)
        value, along_x, along_y, along_z = ZERO, ZERO, ZERO, ZERO
        for lane in range(PAIR_LANES):
            value += sums[lane]
            along_x += sums[PAIR_LANES + lane]
            along_y += sums[2 * PAIR_LANES + lane]
            along_z += sums[3 * PAIR_LANES + lane]
        for j in range(whole, others.shape[1]):
            dx, dy, dz = x - others[0, j], y - others[1, j], z - others[2, j]
            weight = ONE / (ONE + dx * dx + dy * dy + dz * dz)
            factor = weight * weight
            value += weight
            along_x += factor * dx
            along_y += factor * dy
            along_z += factor * dz
        total += value
        _write_slope(gradient, i, along_x, along_y, along_z)
    return total


@kernel
def repel_tailed(
    places: NDArray[np.float32],
    others: NDArray[np.float32],
    dof: np.float32,
    gradient: NDArray[np.float32],
    start: int,
    stop: int,
) -> float:
    """Do as `repel` for any dof, in several times the time."""
    n_components, total, per_dof = places.shape[1], 0.0, ONE / dof
    for i in range(start, stop):
        x = places[i, 0]
        y = places[i, 1] if n_components > 1 else ZERO
        z = places[i, 2] if n_components > 2 else ZERO
        along_x, along_y, along_z = ZERO, ZERO, ZERO
        for j in range(others.shape[1]):
            dx, dy, dz = x - others[0, j], y - others[1, j], z - others[2, j]
            share = ONE / (ONE + (dx * dx + dy * dy + dz * dz) * per_dof)
            weight = power(share, dof)
            factor = weight * share
            total += weight
            along_x += factor * dx
            along_y += factor * dy
            along_z += factor * dz
        _write_slope(gradient, i, along_x, along_y, along_z)
    return total


@kernel
def descend(
    places: NDArray[np.float32],
    moves: NDArray[np.float32],
    gains: NDArray[np.float32],
    pulls: NDArray[np.float32],
    field: NDArray[np.float32],
    stays: NDArray[np.bool_],
    exaggeration: np.float32,
    field_factor: np.float32,
    rate: np.float32,
    momentum: np.float32,
    longest: np.float32,
    new_places: NDArray[np.float32],
    new_moves: NDArray[np.float32],
    new_gains: NDArray[np.float32],
    start: int,
    stop: int,
) -> None:
    """Take one step: gradient descent with momentum and a gain for each coordinate (Jacobs 1988), steps limited."""
    for i in range(start, stop):
        squared = ZERO
        for k in range(places.shape[1]):
            slope = exaggeration * pulls[i, k] + field_factor * field[i, k]
            agree = moves[i, k] * slope > ZERO  # the last move went uphill
            gain = gains[i, k] * LOSS_OF_GAIN + MIN_GAIN if agree else gains[i, k] + GAIN
            move = ZERO if stays[i] else momentum * moves[i, k] - rate * gain * slope
            new_gains[i, k], new_moves[i, k] = gain, move
            squared += move * move
        shrink = ONE
        if squared > longest * longest:
            shrink = longest / np.sqrt(squared)
        for k in range(places.shape[1]):
            new_moves[i, k] *= shrink
            new_places[i, k] = places[i, k] + new_moves[i, k]


@kernel
def survey(places: NDArray[np.float32], low: NDArray[np.float32], high: NDArray[np.float32]) -> bool:
    """Write the least and the largest coordinate of each dimension; return whether all are finite."""
    values, n_components = places.reshape(-1), places.shape[1]
    least, most = np.full(LANES_OF_ROWS, INFINITY), np.full(LANES_OF_ROWS, -INFINITY)
    spoiled = np.zeros(LANES_OF_ROWS, dtype=np.float32)
    whole = len(values) // LANES_OF_ROWS * LANES_OF_ROWS
    for first in range(0, whole, LANES_OF_ROWS):
        for lane in range(LANES_OF_ROWS):
            value = values[first + lane]
            least[lane], most[lane] = min(least[lane], value), max(most[lane], value)
            spoiled[lane] += value * ZERO  # no number, where there is one that is not finite
    for e in range(whole, len(values)):
        lane = e - whole
        least[lane], most[lane] = min(least[lane], values[e]), max(most[lane], values[e])
        spoiled[lane] += values[e] * ZERO
    for k in range(n_components):
        low[k], high[k] = least[k::n_components].min(), most[k::n_components].max()
    return not np.isnan(spoiled.sum())


@kernel
def keep_mean(places: NDArray[np.float32], before: NDArray[np.float32]) -> None:
    """Move all cells so that their mean is what it was."""
    values, old, n_components = places.reshape(-1), before.reshape(-1), places.shape[1]
    moved, part = np.zeros(LANES_OF_ROWS), np.empty(LANES_OF_ROWS, dtype=np.float32)
    whole = len(values) // LANES_OF_ROWS * LANES_OF_ROWS
    for start in range(0, whole, LANES_OF_ROWS * ROWS_A_SUM):
        part[:] = 0
        for first in range(start, min(start + LANES_OF_ROWS * ROWS_A_SUM, whole), LANES_OF_ROWS):
            for lane in range(LANES_OF_ROWS):
                part[lane] += values[first + lane] - old[first + lane]
        for lane in range(LANES_OF_ROWS):
            moved[lane] += part[lane]
    for e in range(whole, len(values)):
        moved[e - whole] += values[e] - old[e]
    shifts = np.empty(LANES_OF_ROWS, dtype=np.float32)
    for lane in range(LANES_OF_ROWS):
        shifts[lane] = moved[lane % n_components :: n_components].sum() / len(places)
    for first in range(0, whole, LANES_OF_ROWS):
        for lane in range(LANES_OF_ROWS):
            values[first + lane] -= shifts[lane]
    for e in range(whole, len(values)):
        values[e] -= shifts[e - whole]


@kernel
def arrange(
    indptr: NDArray[np.signedinteger],
    indices: NDArray[np.int32],
    weights: NDArray[np.float32],
    scale: np.float32,
    order: NDArray[np.int32],
    rank: NDArray[np.uint32],
    starts: NDArray[np.int64],
    ends: NDArray[np.uint32],
    shares: NDArray[np.float32],
    start: int,
    stop: int,
) -> None:
    """Write some rows of a graph whose cells are put in an order, weights scaled; a row's edges keep theirs."""
    for i in range(start, stop):
        first = indptr[order[i]]
        for e in range(starts[i + 1] - starts[i]):
            ends[starts[i] + e] = rank[indices[first + e]]
            shares[starts[i] + e] = weights[first + e] * scale


@inline
def _write_slope(gradient: NDArray[np.float32], i: int, along_x: float, along_y: float, along_z: float) -> None:
    gradient[i, 0] = -TWO * along_x
    if gradient.shape[1] > 1:
        gradient[i, 1] = -TWO * along_y
    if gradient.shape[1] > 2:
        gradient[i, 2] = -TWO * along_z


@inline
def _squared_distance(places: NDArray[np.float32], i: int, j: int) -> float:
    squared = ZERO
    for k in range(places.shape[1]):
        difference = places[i, k] - places[j, k]
        squared += difference * difference
    return squared
