"""Stochastic gradient descent with negative sampling on UMAP's kernel 1 / (1 + a d^2b) (McInnes et al. 2018).

Every vertex moves only itself: it reads the others from the last epoch's layout and writes its own row of the next.
No two rows depend on each other within an epoch, so threads cannot race and the order of rows does not matter.
"""

from __future__ import annotations

import math

import numpy as np

from .compile import inline, kernel
from .random import below, draw, even_draw, uniform

COINCIDENT = np.float32(1e-30)  # below this squared distance there is no direction to move in
SMALLEST = np.float32(1e-37)
SOFTENING = np.float32(0.001)
STEP_LIMIT = np.float32(4.0)
ZERO, ONE, TWO = np.float32(0.0), np.float32(1.0), np.float32(2.0)


@inline
def attraction(squared: float, a: float, b: float) -> float:
    """Return the factor of the difference by which an edge pulls."""
    if squared < COINCIDENT:
        return ZERO
    return -TWO * a * b / (squared * (ONE / max(squared**b, SMALLEST) + a))


@inline
def repulsion(squared: float, a: float, b: float, strength: float) -> float:
    """Return the factor of the difference by which a negative sample pushes."""
    return TWO * strength * b / ((SOFTENING + squared) * (ONE + a * squared**b))


@inline
def squared_distance(own: np.ndarray, other: np.ndarray) -> float:
    """Return the squared Euclidean distance."""
    total = ZERO
    for k in range(own.shape[0]):
        difference = own[k] - other[k]
        total += difference * difference
    return total


@inline
def move(own: np.ndarray, other: np.ndarray, factor: float, rate: float) -> None:
    """Move ``own`` along the difference, each coordinate's step clipped before the rate."""
    for k in range(own.shape[0]):
        step = factor * (own[k] - other[k])
        own[k] += rate * min(max(step, -STEP_LIMIT), STEP_LIMIT)


@kernel
def sgd_epoch(
    indptr: np.ndarray,
    indices: np.ndarray,
    weights: np.ndarray,
    fixed: np.ndarray,
    layout: np.ndarray,
    moved: np.ndarray,
    pulls: int,
    curve: tuple[float, float, float],
    negatives: float,
    rate: float,
    largest_weight: float,
    seed: int,
    epoch: int,
    start: int,
    stop: int,
) -> None:
    """Move the vertices ``start`` to ``stop`` by one epoch, from ``layout`` into ``moved``.

    Edges are sampled systematically: their weights, relative to the graph's largest, are laid end to end from an
    offset, and an edge is used when an integer falls into it. A vertex's offsets are spread evenly over its epochs,
    so that the uses of an edge, and of a row in each epoch, hardly differ from what the weights say.

    Parameters
    ----------
    pulls
        How often an edge that is used pulls. Twice where the graph stores it from both ends: each of its two
        entries stands for a move of both ends, and here either end makes only its own.
    curve
        ``a``, ``b`` and the repulsion strength.
    negatives
        Negative samples per use of an edge; a fraction is the probability of one more.
    """
    n = indptr.shape[0] - 1
    a, b, strength = np.float32(curve[0]), np.float32(curve[1]), np.float32(curve[2])
    rate32 = np.float32(rate)
    whole = int(math.floor(negatives)) if n > 1 else 0
    fraction = negatives - math.floor(negatives) if n > 1 else 0.0
    uses = 1.0 / largest_weight
    offset_key, epoch_key = draw(seed, 0), draw(seed, epoch + 1)
    for i in range(start, stop):
        moved[i] = layout[i]
        if fixed[i]:
            continue
        own = moved[i]
        key, drawn = draw(epoch_key, i), 0
        covered = float(uniform(even_draw(draw(offset_key, i), epoch)))
        for edge in range(indptr[i], indptr[i + 1]):
            before = math.floor(covered)
            covered += float(weights[edge]) * uses
            if math.floor(covered) == before:
                continue
            other = layout[indices[edge]]
            for _ in range(pulls):
                move(own, other, attraction(squared_distance(own, other), a, b), rate32)
            count = whole
            if fraction > 0.0:
                count += uniform(draw(key, drawn)) < fraction
                drawn += 1
            for _ in range(count):
                sample = below(draw(key, drawn), n - 1)
                drawn += 1
                other = layout[sample + (sample >= i)]
                move(own, other, repulsion(squared_distance(own, other), a, b, strength), rate32)
