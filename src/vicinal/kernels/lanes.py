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
FIXED_POINT = np.uint32(16)  # bits behind the point in sums of weights
LARGEST_WEIGHT = np.float32(65535.0)  # just below one, so that a use in each epoch fits
NEAREST = np.float32(1e-12)  # squared distance below which a pull grows no further
SOFTENING = np.float32(0.001)
STEP_LIMIT = np.float32(4.0)
ZERO, HALF, ONE, TWO = np.float32(0.0), np.float32(0.5), np.float32(1.0), np.float32(2.0)
U48 = np.uint64(48)
FRACTION = np.uint32(0xFFFF)


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


@inline
def collect_uses(
    indices: np.ndarray,
    weights: np.ndarray,
    scale: np.float32,
    first: int,
    last: int,
    offset: int,
    targets: np.ndarray,
    lane: int,
) -> int:
    """Write the ends of the edges a vertex uses in this epoch below each other in its lane, and return their number.

    Systematic sampling: the weights are laid end to end from an offset, and an edge is used when an integer falls
    into it. Every target is written, and stays where the count moved on, which spares a branch.
    """
    count = 0
    covered = np.uint32(offset)
    for edge in range(first, last):
        targets[count, lane] = indices[edge]
        covered = np.uint32(covered + fixed_point(weights[edge], scale))
        count += np.int64(covered >> FIXED_POINT)
        covered = np.uint32(covered & FRACTION)
    return count


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
    indptr: np.ndarray,
    indices: np.ndarray,
    weights: np.ndarray,
    scale: np.float32,
    order: np.ndarray,
    fixed: np.ndarray,
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
    most_uses: int,
    start: int,
    stop: int,
) -> None:
    """Move the blocks ``start`` to ``stop`` of vertices by one epoch, as they lie in ``layout``.

    Parameters
    ----------
    scale
        What brings the largest weight to `LARGEST_WEIGHT`.
    order
        All vertices, those of similar `uses_per_epoch` beside each other; 64 in a row are a block.
    fixed
        Vertices that stay.
    moved
        Where the new places go, in the order of ``order``.
    pulls
        How often an edge that is used pulls. Twice where the graph stores it from both ends: each of its two
        entries stands for a move of both ends, and here either end makes only its own.
    a, b, strength
        The curve and the repulsion strength, float32.
    negatives
        Negative samples per use of an edge; a fraction is the probability of one more.
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
    offset_key, epoch_key = draw(seed, 0), draw(seed, epoch + 1)
    for block in range(start, stop):
        steps = 0
        for lane in range(LANES):
            place = block * LANES + lane
            i = order[min(place, n - 1)]
            vertex[lane], uses[lane] = i, 0
            for k in range(n_components):
                position[k, lane] = layout[i, k]
            if place < n and not fixed[i]:
                offset = even_draw(draw(offset_key, i), epoch) >> U48
                uses[lane] = collect_uses(indices, weights, scale, indptr[i], indptr[i + 1], offset, targets, lane)
            steps = max(steps, uses[lane])
        key, drawn = draw(epoch_key, block), 0
        for step in range(steps):
            for lane in range(LANES):
                used = step < uses[lane]
                j = targets[step, lane] if used else vertex[lane]
                active[lane] = ONE if used else ZERO
                for k in range(n_components):
                    target[k, lane] = layout[j, k]
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
        for place in range(block * LANES, min((block + 1) * LANES, n)):
            for k in range(n_components):
                moved[place, k] = position[k, place - block * LANES]


@kernel
def publish(order: np.ndarray, moved: np.ndarray, layout: np.ndarray, start: int, stop: int) -> None:
    """Write what `lanes_epoch` left for the blocks ``start`` to ``stop`` to the rows of their vertices."""
    for place in range(start * LANES, min(stop * LANES, len(order))):
        for k in range(layout.shape[1]):
            layout[order[place], k] = moved[place, k]
