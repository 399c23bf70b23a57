"""Cells as charges on a regular grid, and the potential of a grid read at the cells, by cubic B-splines.

A spline reaches four nodes along a dimension, the first of them one below the cell's own interval. What is spread and
what is gathered are float32; a chunk of cells has a grid of its own, so that sums do not depend on threads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compile import inline, kernel

SIXTH, TWO_THIRDS, HALF, ONE, TWO = (np.float32(value) for value in (1 / 6, 2 / 3, 0.5, 1, 2))
PI = np.float32(np.pi)
# Least squares over one interval: the sine is within 0.00001, the cosine within 0.00011.
S1, S2, S3, S4 = (np.float32(value) for value in (6.28185616, 18.90220109, 20.82985677, 16.43971925))
C0, C1, C2, C3, C4 = (np.float32(value) for value in (0.99988971, 0.01218909, -20.0533881, -36.3979301, -46.2985039))


@inline
def spline(t: float) -> tuple[float, float, float, float]:
    """Return the weights of the four nodes around a place, at a share ``t`` of its interval."""
    rest = ONE - t
    t2, rest2 = t * t, rest * rest
    return (
        SIXTH * rest2 * rest,
        TWO_THIRDS - t2 * (ONE - HALF * t),
        TWO_THIRDS - rest2 * (ONE - HALF * rest),
        SIXTH * t2 * t,
    )


@inline
def slopes(t: float) -> tuple[float, float, float, float]:
    """Return the derivatives of `spline` with respect to ``t``."""
    rest = ONE - t
    inner, outer = t * (np.float32(1.5) * t - np.float32(2)), rest * (np.float32(2) - np.float32(1.5) * rest)
    return -HALF * rest * rest, inner, outer, HALF * t * t


@inline
def waves(t: float) -> tuple[float, float]:
    """Return the cosine and the sine of a share of a turn."""
    both = t * (ONE - t)
    cosine = C0 + both * (C1 + both * (C2 + both * (C3 + both * C4)))
    return cosine, (ONE - TWO * t) * both * (S1 + both * (S2 + both * (S3 + both * S4)))


@kernel
def spread_1d(
    places: NDArray[np.float32],
    low: NDArray[np.float32],
    per_unit: float,
    grid: NDArray[np.float32],
    start: int,
    stop: int,
) -> tuple[int, int]:
    """Add the charges of some cells to the only row of a grid; return the rows that got any, from and to."""
    line = grid[0]
    for i in range(start, stop):
        x = (places[i, 0] - low[0]) * per_unit
        node = np.int64(x)
        for k, a in enumerate(spline(x - np.float32(node))):
            line[node - 1 + k] += a
    return 0, 1


@kernel
def gather_1d(
    places: NDArray[np.float32],
    low: NDArray[np.float32],
    per_unit: float,
    potential: NDArray[np.float32],
    gradient: NDArray[np.float32],
    own: NDArray[np.float32],
    start: int,
    stop: int,
) -> float:
    """Write the gradient of a grid's potential at some cells, and return the sum there, of all charges but their own.

    Parameters
    ----------
    own
        What a cell's own charge adds to the potential where it is: its mean, and how far it swings along a dimension
        from node to node. Of that alone there would be a gradient even for a cell without others.
    """
    total, line, rest, swing = 0.0, potential[0], own[0], own[1]
    for i in range(start, stop):
        x = (places[i, 0] - low[0]) * per_unit
        node = np.int64(x)
        t, first = x - np.float32(node), node - 1
        a0, a1, a2, a3 = spline(t)
        s0, s1, s2, s3 = slopes(t)
        p0, p1, p2, p3 = line[first], line[first + 1], line[first + 2], line[first + 3]
        cosine, sine = waves(t)
        gradient[i, 0] = (s0 * p0 + s1 * p1 + s2 * p2 + s3 * p3 + PI * swing * sine) * per_unit
        total += a0 * p0 + a1 * p1 + a2 * p2 + a3 * p3 - rest - swing * cosine
    return total


@kernel
def spread_2d(
    places: NDArray[np.float32],
    low: NDArray[np.float32],
    per_unit: float,
    grid: NDArray[np.float32],
    start: int,
    stop: int,
) -> tuple[int, int]:
    """Add the charges of some cells to a grid; return the rows that got any, from and to."""
    first, last = grid.shape[0], 0
    for i in range(start, stop):
        x, y = (places[i, 0] - low[0]) * per_unit, (places[i, 1] - low[1]) * per_unit
        row, column = np.int64(x), np.int64(y)
        first, last = min(first, row - 1), max(last, row + 3)
        a0, a1, a2, a3 = spline(x - np.float32(row))
        b0, b1, b2, b3 = spline(y - np.float32(column))
        for k, a in ((0, a0), (1, a1), (2, a2), (3, a3)):
            line = grid[row - 1 + k]
            line[column - 1] += a * b0
            line[column] += a * b1
            line[column + 1] += a * b2
            line[column + 2] += a * b3
    return first, last


@kernel
def gather_2d(
    places: NDArray[np.float32],
    low: NDArray[np.float32],
    per_unit: float,
    potential: NDArray[np.float32],
    gradient: NDArray[np.float32],
    own: NDArray[np.float32],
    start: int,
    stop: int,
) -> float:
    """Do as `gather_1d` in two dimensions, along each of which the own potential swings."""
    total, rest, swing = 0.0, own[0], own[1]
    for i in range(start, stop):
        x, y = (places[i, 0] - low[0]) * per_unit, (places[i, 1] - low[1]) * per_unit
        row, column = np.int64(x), np.int64(y)
        tx, ty = x - np.float32(row), y - np.float32(column)
        a0, a1, a2, a3 = spline(tx)
        b0, b1, b2, b3 = spline(ty)
        s0, s1, s2, s3 = slopes(tx)
        r0, r1, r2, r3 = slopes(ty)
        value, along_x, along_y = np.float32(0), np.float32(0), np.float32(0)
        for k, a, s in ((0, a0, s0), (1, a1, s1), (2, a2, s2), (3, a3, s3)):
            line = potential[row - 1 + k]
            p0, p1, p2, p3 = line[column - 1], line[column], line[column + 1], line[column + 2]
            across = b0 * p0 + b1 * p1 + b2 * p2 + b3 * p3
            value += a * across
            along_x += s * across
            along_y += a * (r0 * p0 + r1 * p1 + r2 * p2 + r3 * p3)
        (cosine_x, sine_x), (cosine_y, sine_y) = waves(tx), waves(ty)
        gradient[i, 0] = (along_x + PI * swing * sine_x) * per_unit
        gradient[i, 1] = (along_y + PI * swing * sine_y) * per_unit
        total += value - rest - swing * (cosine_x + cosine_y)
    return total


@kernel
def merge(
    grids: NDArray[np.float32],
    rows: NDArray[np.int64],
    charges: NDArray[np.float32],
    start: int,
    stop: int,
) -> None:
    """Sum the grids of the chunks over some rows, chunk after chunk, and empty them.

    Parameters
    ----------
    grids
        ``(n_chunks, n_rows, n_nodes)``, the nodes of a row in one dimension.
    rows
        ``(n_chunks, 2)``: the rows of each grid that are not empty, from and to.
    """
    for row in range(start, stop):
        total = charges[row]
        total[:] = 0
        for chunk in range(len(grids)):
            if rows[chunk, 0] <= row < rows[chunk, 1]:
                part = grids[chunk, row]
                for node in range(len(part)):
                    total[node] += part[node]
                    part[node] = 0
