"""Stochastic gradient descent with negative sampling on UMAP's kernel 1 / (1 + a d^2b) (McInnes et al. 2018).

Every vertex moves only itself: it reads the others from the last epoch's layout and writes its own row of the next.
No two rows depend on each other within an epoch, so threads cannot race and the order of rows does not matter.
"""

from __future__ import annotations

import math

import numpy as np

from .compile import inline, kernel
from .random import below, draw, uniform

COINCIDENT = np.float32(1e-30)  # below this squared distance there is no direction to move in
SOFTENING = np.float32(0.001)
STEP_LIMIT = np.float32(4.0)
TWO = np.float32(2.0)
ONE = np.float32(1.0)


@inline
def attraction(squared: np.float32, a: np.float32, b: np.float32) -> np.float32:
    """Return the factor of the difference by which an edge pulls."""
    if squared < COINCIDENT:
        return np.float32(0.0)
    return -TWO * a * b / (squared * (ONE / squared**b + a))


@inline
def repulsion(squared: np.float32, a: np.float32, b: np.float32, strength: np.float32) -> np.float32:
    """Return the factor of the difference by which a negative sample pushes."""
    return TWO * strength * b / ((SOFTENING + squared) * (ONE + a * squared**b))


@inline
def squared_distance(own: np.ndarray, other: np.ndarray) -> np.float32:
    """Return the squared Euclidean distance."""
    total = np.float32(0.0)
    for k in range(own.shape[0]):
        difference = own[k] - other[k]
        total += difference * difference
    return total


@inline
def move(own: np.ndarray, other: np.ndarray, factor: np.float32, rate: np.float32) -> None:
    """Move ``own`` along the difference, each coordinate's step clipped before the rate."""
    for k in range(own.shape[0]):
        step = factor * (own[k] - other[k])
        own[k] += rate * min(max(step, -STEP_LIMIT), STEP_LIMIT)


@kernel
def sgd_epoch(
    indptr: np.ndarray,
    indices: np.ndarray,
    weights: np.ndarray,
    largest_weight: np.float32,
    fixed: np.ndarray,
    layout: np.ndarray,
    moved: np.ndarray,
    pulls: int,
    a: np.float32,
    b: np.float32,
    strength: np.float32,
    negatives: float,
    rate: np.float32,
    epoch_key: int,
    start: int,
    stop: int,
) -> None:
    """Move the vertices ``start`` to ``stop`` by one epoch, from ``layout`` into ``moved``.

    Edges are sampled systematically: their weights, relative to the largest of the graph, are laid end to end from
    a random offset, and each is used once for every integer it covers. So an edge is used as often as its weight
    says, and the number of uses in a row hardly varies.

    Parameters
    ----------
    pulls
        How often an edge that is used pulls: twice where the graph stores it from both ends, since there each
        end would otherwise see only half of the moves.
    negatives
        Negative samples per use of an edge; a fraction is the probability of one more.
    """
    n = indptr.shape[0] - 1
    whole = int(math.floor(negatives))
    fraction = np.float32(negatives - whole)
    for i in range(start, stop):
        moved[i] = layout[i]
        if fixed[i]:
            continue
        own = moved[i]
        key = draw(epoch_key, i)
        covered = np.float64(uniform(draw(key, 0)))
        drawn = 1
        for edge in range(indptr[i], indptr[i + 1]):
            before = math.floor(covered)
            covered += np.float64(weights[edge]) / np.float64(largest_weight)
            if math.floor(covered) == before:
                continue
            other = layout[indices[edge]]
            for _ in range(pulls):
                move(own, other, attraction(squared_distance(own, other), a, b), rate)
            count = whole
            if fraction > 0:
                count += uniform(draw(key, drawn)) < fraction
                drawn += 1
            for _ in range(count):
                sample = below(draw(key, drawn), n - 1)
                drawn += 1
                sample += sample >= i
                other = layout[sample]
                move(own, other, repulsion(squared_distance(own, other), a, b, strength), rate)
