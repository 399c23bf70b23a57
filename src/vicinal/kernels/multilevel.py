"""Kernels for coarsening a weighted graph and for block products with its Laplacian.

A graph is compressed rows without diagonal, stored from both ends: int64 ``starts``, int32 ``indices``, float32
``weights``. A block is a float64 ``(n, m)`` array, one column a vector. ``groups`` maps each vertex to its coarse one.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from .compile import kernel

STRONG = 0.25  # of a vertex's largest weight: weaker edges do not say that two vertices move together

CompressedRows = tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]
"""``starts``, ``indices``, ``weights``."""


def degrees(rows: CompressedRows) -> NDArray[np.float64]:
    """Return each vertex's sum of weights."""
    sums = np.empty(len(rows[0]) - 1)
    row_sums(rows[0], rows[2], sums)
    return sums


def paired(rows: CompressedRows) -> tuple[NDArray[np.int32], int]:
    """Return the group of each vertex, of two to four vertices, and the number of groups."""
    groups = np.empty(len(rows[0]) - 1, np.int32)
    return groups, pair_up(*rows, groups)


def contracted(rows: CompressedRows, groups: NDArray[np.int32], n_groups: int) -> CompressedRows:
    """Return the graph of the groups, its rows in no order."""
    firsts, order, _ = sorted_by_group(groups, np.arange(n_groups, dtype=np.int32))
    starts = np.empty(n_groups + 1, np.int64)
    indices, weights = np.empty_like(rows[1]), np.empty_like(rows[2])
    contract(*rows, groups, firsts, order, starts, indices, weights)
    return starts, indices[: starts[-1]].copy(), weights[: starts[-1]].copy()


def sorted_by_group(
    groups: NDArray[np.int32], ranks: NDArray[np.int32]
) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.int32]]:
    """Return where each rank begins, the vertices by the rank of their group, and the place of each vertex."""
    firsts, order = np.empty(len(ranks) + 1, np.int64), np.empty_like(groups)
    by_group(groups, ranks, firsts, order)
    places = np.empty_like(order)
    places[order] = np.arange(len(order), dtype=np.int32)
    return firsts, order, places


def renumbered(rows: CompressedRows, order: NDArray[np.int32], places: NDArray[np.int32]) -> CompressedRows:
    """Return the graph with vertex ``order[i]`` as its i-th, ``places`` being the inverse."""
    starts, indices, weights = (np.empty_like(part) for part in rows)
    renumber(*rows, order, places, starts, indices, weights)
    return starts, indices, weights


@kernel
def pair_up(starts: np.ndarray, indices: np.ndarray, weights: np.ndarray, groups: np.ndarray) -> int:
    """Group each vertex with its most strongly joined free neighbour, and return the number of groups.

    One that has none left forms a pair with another such vertex of the same strongest neighbour, or joins that
    neighbour's group. On a connected graph every group has two to four vertices.
    """
    n = len(groups)
    n_groups = 0
    groups[:] = -1
    for i in range(n):
        if groups[i] >= 0:
            continue
        strongest, best, partner = np.float32(0), np.float32(0), -1
        for edge in range(starts[i], starts[i + 1]):
            weight = weights[edge]
            strongest = max(strongest, weight)
            if weight > best and groups[indices[edge]] < 0:
                best, partner = weight, indices[edge]
        if partner >= 0 and best >= STRONG * strongest:
            groups[i] = groups[partner] = n_groups
            n_groups += 1
    waiting = np.full(n, -1, np.int32)
    for i in range(n):
        if groups[i] >= 0 or starts[i] == starts[i + 1]:
            continue
        hub = indices[starts[i] + np.argmax(weights[starts[i] : starts[i + 1]])]
        other = waiting[hub]
        if other < 0:
            waiting[hub] = i
        else:
            groups[i] = groups[other] = n_groups
            waiting[hub] = -1
            n_groups += 1
    for hub in range(n):
        if waiting[hub] >= 0:
            groups[waiting[hub]] = groups[hub]
    for i in range(n):
        if groups[i] < 0:
            groups[i] = n_groups
            n_groups += 1
    return n_groups


@kernel
def by_group(groups: np.ndarray, ranks: np.ndarray, firsts: np.ndarray, order: np.ndarray) -> None:
    """Write the vertices sorted by the rank of their group, and where each rank begins."""
    firsts[:] = 0
    for i in range(len(groups)):
        firsts[ranks[groups[i]] + 1] += 1
    for group in range(len(firsts) - 1):
        firsts[group + 1] += firsts[group]
    cursors = firsts[:-1].copy()
    for i in range(len(groups)):
        rank = ranks[groups[i]]
        order[cursors[rank]] = i
        cursors[rank] += 1


@kernel
def contract(
    starts: np.ndarray,
    indices: np.ndarray,
    weights: np.ndarray,
    groups: np.ndarray,
    firsts: np.ndarray,
    order: np.ndarray,
    coarse_starts: np.ndarray,
    coarse_indices: np.ndarray,
    coarse_weights: np.ndarray,
) -> None:
    """Write the graph of the groups: the weight between two is the sum over their vertices."""
    n_groups = len(firsts) - 1
    place = np.full(n_groups, -1, np.int64)
    total = np.zeros(n_groups, np.float64)
    end = 0
    coarse_starts[0] = 0
    for group in range(n_groups):
        start = end
        for member in range(firsts[group], firsts[group + 1]):
            i = order[member]
            for edge in range(starts[i], starts[i + 1]):
                other = groups[indices[edge]]
                if other == group:
                    continue
                if place[other] < start:
                    place[other] = end
                    total[other] = 0.0
                    coarse_indices[end] = other
                    end += 1
                total[other] += weights[edge]
        for edge in range(start, end):
            coarse_weights[edge] = total[coarse_indices[edge]]
        coarse_starts[group + 1] = end


@kernel
def renumber(
    starts: np.ndarray,
    indices: np.ndarray,
    weights: np.ndarray,
    order: np.ndarray,
    ranks: np.ndarray,
    new_starts: np.ndarray,
    new_indices: np.ndarray,
    new_weights: np.ndarray,
) -> None:
    """Write the graph with vertex ``order[i]`` as its i-th, ``ranks`` being the inverse."""
    end = 0
    new_starts[0] = 0
    for i in range(len(order)):
        for edge in range(starts[order[i]], starts[order[i] + 1]):
            new_indices[end] = ranks[indices[edge]]
            new_weights[end] = weights[edge]
            end += 1
        new_starts[i + 1] = end


@kernel
def row_sums(starts: np.ndarray, weights: np.ndarray, sums: np.ndarray) -> None:
    """Write each vertex's sum of weights."""
    for i in range(len(sums)):
        total = 0.0
        for edge in range(starts[i], starts[i + 1]):
            total += weights[edge]
        sums[i] = total


@kernel
def laplacian(
    starts: np.ndarray,
    indices: np.ndarray,
    weights: np.ndarray,
    diagonal: np.ndarray,
    block: np.ndarray,
    out: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Write rows ``first`` to ``last`` of the Laplacian times a block."""
    m = block.shape[1]
    for i in range(first, last):
        for c in range(m):
            out[i, c] = diagonal[i] * block[i, c]
        for edge in range(starts[i], starts[i + 1]):
            j, weight = indices[edge], np.float64(weights[edge])
            for c in range(m):
                out[i, c] -= weight * block[j, c]


@kernel
def jacobi(
    starts: np.ndarray,
    indices: np.ndarray,
    weights: np.ndarray,
    diagonal: np.ndarray,
    target: np.ndarray,
    damping: float,
    block: np.ndarray,
    out: np.ndarray,
    first: int,
    last: int,
) -> None:
    """Write rows of a block after one damped Jacobi step towards Laplacian times block = target."""
    m = block.shape[1]
    for i in range(first, last):
        for c in range(m):
            out[i, c] = target[i, c]
        for edge in range(starts[i], starts[i + 1]):
            j, weight = indices[edge], np.float64(weights[edge])
            for c in range(m):
                out[i, c] += weight * block[j, c]
        scale = damping / diagonal[i]
        for c in range(m):
            out[i, c] = (1.0 - damping) * block[i, c] + scale * out[i, c]


@kernel
def sum_groups(firsts: np.ndarray, fine: np.ndarray, coarse: np.ndarray, first: int, last: int) -> None:
    """Write the sums of a fine block over groups ``first`` to ``last``, whose vertices follow one another."""
    m = fine.shape[1]
    for group in range(first, last):
        for c in range(m):
            coarse[group, c] = 0.0
        for i in range(firsts[group], firsts[group + 1]):
            for c in range(m):
                coarse[group, c] += fine[i, c]


@kernel
def add_to_groups(firsts: np.ndarray, coarse: np.ndarray, fine: np.ndarray, first: int, last: int) -> None:
    """Add to the vertices of groups ``first`` to ``last`` their group's row."""
    m = fine.shape[1]
    for group in range(first, last):
        for i in range(firsts[group], firsts[group + 1]):
            for c in range(m):
                fine[i, c] += coarse[group, c]
