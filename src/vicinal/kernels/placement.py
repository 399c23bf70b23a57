"""Places rows among others that stay: at the middle of their neighbours' places, then some steps of UMAP's descent.

Each row goes by itself, and adds up in a fixed order: where it lands depends on that row and on those that stay.
"""

from __future__ import annotations

import math

import numpy as np

from .compile import inline, kernel
from .lanes import NEAREST, ONE, SOFTENING, STEP_LIMIT, TWO, ZERO
from .power import power
from .random import below, draw

BISECTIONS = 64
FLOOR = 1e-3
"""Smallest bandwidth, in mean neighbour distances, as in the fuzzy graph."""
ROUNDS = 20
"""Rounds of Weiszfeld's iteration."""
CLOSE = 1e-3
"""Softens distances from the median, in mean distances from the mean: places that coincide with it have no weight."""


@inline
def _bandwidth(excess, scale):
    """Return sigma such that ``exp(-excess / sigma)`` adds up to log2 of the neighbours and the row itself.

    The search is in units of ``scale``, so that it is the same for distances of any size.
    """
    low, high, sigma = 0.0, math.inf, 1.0
    target = math.log2(excess.shape[0] + 1.0)
    for _ in range(BISECTIONS):
        total = 0.0
        for j in range(excess.shape[0]):
            total += math.exp(-excess[j] / (scale * sigma))
        if total > target:
            high = sigma
        else:
            low = sigma
        sigma = 2.0 * low if math.isinf(high) else 0.5 * (low + high)
    return scale * sigma


@inline
def _fill_weights(distances, weights):
    rho, n = distances[0], distances.shape[0]
    if rho == 0.0:
        for j in range(n):
            weights[j] = 1.0 if distances[j] == 0.0 else 0.0
        return
    total = 0.0
    for j in range(n):
        total += distances[j]
        weights[j] = distances[j] - rho
    scale = total / n - rho
    floor = FLOOR * total / (n + 1)
    sigma = floor if scale <= 0.0 else max(floor, _bandwidth(weights, scale))
    for j in range(n):
        weights[j] = math.exp(-weights[j] / sigma)


@inline
def _weigh(indices, distances, near, weights):
    """Fill the weights of a row's neighbours and return their number."""
    n = 0
    while n < indices.shape[0] and indices[n] >= 0:
        near[n] = distances[n]
        n += 1
    if n > 0:
        _fill_weights(near[:n], weights[:n])
    return n


@inline
def _weighted_mean(indices, weights, layout, n, mean):
    norm = 0.0
    for j in range(n):
        norm += weights[j]
    for c in range(layout.shape[1]):
        total = 0.0
        for j in range(n):
            total += weights[j] * layout[indices[j], c]
        mean[c] = total / norm if norm > 0.0 else math.nan


@inline
def _distance(place, other, softened):
    total = softened * softened
    for c in range(place.shape[0]):
        total += (place[c] - other[c]) * (place[c] - other[c])
    return math.sqrt(total)


@kernel
def weighted_means(indices, distances, layout, start, stop, places):
    """Fill, for rows ``start`` to ``stop``, the mean place of their neighbours, weighted as in the fuzzy graph.

    With rho the distance to the nearest, neighbours weigh ``exp(-(d - rho) / sigma)``. A row at distance 0 from some
    of them gets the plain mean of those alone; a row without neighbours gets NaN.

    Parameters
    ----------
    indices, distances
        int32 and float32 ``(n, k)``, nearest first; -1 and infinity, last, where there is none.
    layout
        float32 ``(m, n_components)``.
    places
        Out: float32 ``(n, n_components)``.
    """
    k = indices.shape[1]
    near, weights, mean = np.empty(k), np.empty(k), np.empty(layout.shape[1])
    for i in range(start, stop):
        n = _weigh(indices[i], distances[i], near, weights)
        _weighted_mean(indices[i], weights, layout, n, mean)
        places[i] = mean


@kernel
def weighted_medians(indices, distances, layout, start, stop, places):
    """Fill, for rows ``start`` to ``stop``, the geometric median of their neighbours' places, weighted likewise.

    That is where the weighted distances to them add up to the least, by Weiszfeld's iteration from the mean: neighbours
    in another part of the map do not pull a row into the empty space between. A row at distance 0 from some neighbours
    gets the plain mean of those alone. Parameters are those of `weighted_means`.
    """
    k, n_components = indices.shape[1], layout.shape[1]
    near, weights, pulls = np.empty(k), np.empty(k), np.empty(k)
    place = np.empty(n_components)
    for i in range(start, stop):
        n = _weigh(indices[i], distances[i], near, weights)
        _weighted_mean(indices[i], weights, layout, n, place)
        if n > 0 and near[0] > 0.0:
            apart, norm = 0.0, 0.0
            for j in range(n):
                apart += weights[j] * _distance(place, layout[indices[i, j]], 0.0)
                norm += weights[j]
            soft = CLOSE * apart / norm
            for _ in range(ROUNDS if soft > 0.0 else 0):
                for j in range(n):
                    pulls[j] = weights[j] / _distance(place, layout[indices[i, j]], soft)
                _weighted_mean(indices[i], pulls, layout, n, place)
        places[i] = place


@kernel
def draw_others(layout, n_steps, n_others, seed):
    """Return places to keep away from, float32 ``(n_steps, n_components, n_others)``, of cells drawn for each step."""
    n, n_components = layout.shape
    others = np.empty((n_steps, n_components, n_others), np.float32)
    for step in range(n_steps):
        for s in range(n_others):
            cell = below(draw(draw(seed, step), s), n)
            for c in range(n_components):
                others[step, c, s] = layout[cell, c]
    return others


@inline
def _squared_distances(place, points, squared):
    for s in range(points.shape[1]):
        squared[s] = ZERO
    for c in range(points.shape[0]):
        for s in range(points.shape[1]):
            difference = place[c] - points[c, s]
            squared[s] += difference * difference


@inline
def _force(place, points, factors, c):
    total = ZERO
    for s in range(points.shape[1]):
        total += min(max(factors[s] * (place[c] - points[c, s]), -STEP_LIMIT), STEP_LIMIT)
    return total


@kernel
def descend(indices, distances, layout, others, a, b, strength, rate, start, stop, places):
    """Move the places of rows ``start`` to ``stop`` downhill on UMAP's loss, everything else staying where it is.

    In a step each neighbour pulls by its weight in the fuzzy graph, and cells drawn for that step, the same for every
    row, push: together as much as ``strength`` of them at each use of an edge. The rate falls linearly to nothing. A
    row at distance 0 from a neighbour, or without any, stays.

    Parameters
    ----------
    indices, distances, layout
        As for `weighted_means`.
    others
        float32 ``(n_steps, n_components, n_others)``, see `draw_others`.
    a, b, strength, rate
        float32: the objective's curve, the strength of repulsion times negative samples a use, and the first rate.
    places
        In and out: float32 ``(n, n_components)``.
    """
    k, n_components = indices.shape[1], layout.shape[1]
    n_steps, _, n_others = others.shape
    near, weights = np.empty(k), np.empty(k)
    points, shares = np.empty((n_components, k), np.float32), np.empty(k, np.float32)
    pulls, pushes = np.empty(k, np.float32), np.empty(n_others, np.float32)
    place, moved = np.empty(n_components, np.float32), np.empty(n_components, np.float32)
    for i in range(start, stop):
        n = _weigh(indices[i], distances[i], near, weights)
        if n == 0 or near[0] == 0.0:
            continue
        place[:] = places[i]
        total, points[:], shares[:] = 0.0, ZERO, ZERO
        for j in range(n):
            total += weights[j]
            shares[j] = weights[j]
            for c in range(n_components):
                points[c, j] = layout[indices[i, j], c]
        push = np.float32(TWO * strength * b * total / n_others)
        for step in range(n_steps):
            _squared_distances(place, points, pulls)
            for j in range(k):
                squared = max(pulls[j], NEAREST)
                curve = power(squared, b)
                pulls[j] = -TWO * a * b * shares[j] * curve / (squared * (ONE + a * curve))
            _squared_distances(place, others[step], pushes)
            for s in range(n_others):
                curve = power(max(pushes[s], NEAREST), b)
                pushes[s] = push / ((SOFTENING + pushes[s]) * (ONE + a * curve))
            now = rate * (ONE - np.float32(step) / np.float32(n_steps))
            for c in range(n_components):
                moved[c] = place[c] + now * (_force(place, points, pulls, c) + _force(place, others[step], pushes, c))
            place[:] = moved
        if np.isfinite(place).all():
            places[i] = place
