"""UMAP's stochastic gradient descent (McInnes, Healy and Melville 2018), 64 vertices side by side.

Every vertex moves only itself: it reads the others from a layout that nobody writes meanwhile, so that threads cannot
race and the order of work does not matter. A block of vertices takes its steps together, in
loops of constant length that become vector instructions, and shares its negative samples: each vertex still meets
uniform samples, and one read serves them all.
"""

from __future__ import annotations

import numpy as np

from .compile import inline, kernel
from .power import power
from .random import below, draw, even_draw, uniform

LANES = 64
FIXED_POINT = np.uint64(16)  # bits behind the point in sums of weights
ONE_USE = 1 << 16
FRACTION = np.uint64(ONE_USE - 1)
LARGEST_WEIGHT = np.float32(65535.0)  # just below one, so that a use in each epoch fits
NEAREST = np.float32(1e-12)  # squared distance below which a pull grows no further
SOFTENING = np.float32(0.001)
STEP_LIMIT = np.float32(4.0)
ZERO, HALF, ONE, TWO = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(2.0)
U48 = np.uint64(48)


@inline
def fixed_point(weight: float, scale: float) -> int:
    """Return a weight relative to the largest, with 16 bits behind the point."""
    return np.uint32(weight * scale + HALF)


@kernel
def uses_per_epoch(
    indptr: np.ndarray, weights: np.ndarray, scale: np.float32, fixed: np.ndarray, uses: np.ndarray
) -> None:
    """Write how many edge uses each vertex expects in an epoch, in fixed point; none for vertices that stay."""
    for i in range(len(uses)):
        total = np.int64(0)
        if not fixed[i]:
            for edge in range(indptr[i], indptr[i + 1]):
                total += np.int64(fixed_point(weights[edge], scale))
        uses[i] = total


@kernel
def arrange(
    indptr: np.ndarray,
    indices: np.ndarray,
    weights: np.ndarray,
    scale: np.float32,
    order: np.ndarray,
    rank: np.ndarray,
    starts: np.ndarray,
    ends: np.ndarray,
    shares: np.ndarray,
    start: int,
    stop: int,
) -> None:
    """Write the edges of the vertices ``start`` to ``stop`` of an order, in which they are numbered anew.

    `lanes_epoch` then reads memory in one sweep, which takes it half the time.

    Parameters
    ----------
    order, rank
        int32 ``(n,)``: the vertices in their order, and the place of each in it.
    starts
        int64 ``(n + 1,)``: where the edges of each vertex go; one without room has no edges.
    ends, shares
        Out, int32 and uint16: the other vertex of each edge, and its weight in fixed point.
    """
    for place in range(start, stop):
        first = indptr[order[place]]
        for k in range(starts[place + 1] - starts[place]):
            ends[starts[place] + k] = rank[indices[first + k]]
            shares[starts[place] + k] = fixed_point(weights[first + k], scale)


@inline
def phased(bits: int, phase: int) -> int:
    """Return the upper 16 of 64 random bits, moved on by a phase."""
    return ((bits >> U48) + np.uint64(phase)) & FRACTION


@inline
def collect_uses(
    ends: np.ndarray, shares: np.ndarray, first: int, last: int, offset: int, targets: np.ndarray, lane: int
) -> int:
    """Write the ends of the edges a vertex uses in this epoch below each other in its lane, and return their number.

    Systematic sampling: the weights are laid end to end from an offset, and an edge is used when an integer falls
    into it. Every target is written, and stays where the sum moved on, which spares a branch.
    """
    covered = np.uint64(offset)
    for edge in range(first, last):
        targets[covered >> FIXED_POINT, lane] = ends[edge]
        covered += np.uint64(shares[edge])
    return np.int64(covered >> FIXED_POINT)


@inline
def squared_distances(position: np.ndarray, target: np.ndarray, squared: np.ndarray) -> None:
    """Write the squared distance of each lane's two points."""
    for lane in range(LANES):
        squared[lane] = ZERO
    for k in range(len(position)):
        for lane in range(LANES):
            difference = position[k, lane] - target[k, lane]
            squared[lane] += difference * difference


@kernel
def lanes_epoch(
    starts: np.ndarray,
    ends: np.ndarray,
    shares: np.ndarray,
    layout: np.ndarray,
    moved: np.ndarray,
    pulls: int,
    a: np.float32,
    b: np.float32,
    strength: np.float32,
    negatives: float,
    rate: np.float32,
    seed: int,
    epoch: int,
    phase: int,
    most_uses: int,
    start: int,
    stop: int,
) -> None:
    """Move the blocks ``start`` to ``stop`` of 64 vertices by one epoch, as they lie in ``layout``.

    Parameters
    ----------
    starts, ends, shares
        The edges as `arrange` lays them out, vertices of similar `uses_per_epoch` beside each other.
    moved
        Where the new places go, like ``layout`` float32 ``(n, n_components)``.
    pulls
        How often an edge that is used pulls. Twice where the graph stores it from both ends: each of its two
        entries stands for a move of both ends, and here either end makes only its own.
    a, b, strength
        The curve and the repulsion strength, float32.
    negatives
        Negative samples per use of an edge; a fraction is the probability of one more.
    phase
        Where in the epoch this pass comes, in fixed point. Passes at even phases that each have an equal share of
        the weights use together the edges that one pass with all of them uses.
    most_uses
        At least the largest number of uses of a vertex in one epoch.
    """
    n, n_components = layout.shape
    position = np.empty((n_components, LANES), np.float32)
    target = np.empty((n_components, LANES), np.float32)
    factor, active = np.empty(LANES, np.float32), np.empty(LANES, np.float32)
    vertex, uses = np.empty(LANES, np.int32), np.empty(LANES, np.int64)
    targets = np.empty((most_uses + 1, LANES), np.int32)
    whole = int(np.floor(negatives))
    fraction = np.float32(negatives - np.floor(negatives))
    pull, push = -TWO * a * b, TWO * strength * b
    offset_key, epoch_key = draw(seed, 0), draw(draw(seed, epoch + 1), phase)
    for block in range(start, stop):
        steps = 0
        # One offset for all of them, so that cells of about the same uses an epoch have the same number in each.
        offset = phased(even_draw(draw(offset_key, block), epoch), phase)
        for lane in range(LANES):
            i = min(block * LANES + lane, n - 1)
            vertex[lane], uses[lane] = i, 0
            for k in range(n_components):
                position[k, lane] = layout[i, k]
            if block * LANES + lane < n:
                uses[lane] = collect_uses(ends, shares, starts[i], starts[i + 1], offset, targets, lane)
            steps = max(steps, uses[lane])
        for lane in range(LANES):
            for step in range(uses[lane], steps):
                targets[step, lane] = vertex[lane]
        key, drawn = draw(epoch_key, block), 0
        for step in range(steps):
            for lane in range(LANES):
                active[lane] = ONE if step < uses[lane] else ZERO
                for k in range(n_components):
                    target[k, lane] = layout[targets[step, lane], k]
            for _ in range(pulls):
                squared_distances(position, target, factor)
                for lane in range(LANES):
                    squared = max(factor[lane], NEAREST)
                    curve = power(squared, b)
                    factor[lane] = active[lane] * pull * curve / (squared * (ONE + a * curve))
                for k in range(n_components):
                    for lane in range(LANES):
                        force = factor[lane] * (position[k, lane] - target[k, lane])
                        position[k, lane] += rate * min(max(force, -STEP_LIMIT), STEP_LIMIT)
            count = whole
            if fraction > ZERO:
                count += uniform(draw(key, drawn)) < fraction
                drawn += 1
            for _ in range(count):
                sample = np.int32(below(draw(key, drawn), n))
                drawn += 1
                for lane in range(LANES):
                    factor[lane] = ZERO
                for k in range(n_components):
                    other = layout[sample, k]
                    for lane in range(LANES):
                        difference = position[k, lane] - other
                        factor[lane] += difference * difference
                for lane in range(LANES):
                    squared = factor[lane]
                    curve = power(max(squared, NEAREST), b)
                    # A cell that drew itself has moved since: its old place must not push it on.
                    other_cell = ONE if vertex[lane] != sample else ZERO
                    factor[lane] = other_cell * active[lane] * push / ((SOFTENING + squared) * (ONE + a * curve))
                for k in range(n_components):
                    other = layout[sample, k]
                    for lane in range(LANES):
                        force = factor[lane] * (position[k, lane] - other)
                        position[k, lane] += rate * min(max(force, -STEP_LIMIT), STEP_LIMIT)
        for i in range(block * LANES, min((block + 1) * LANES, n)):
            for k in range(n_components):
                moved[i, k] = position[k, i - block * LANES]
