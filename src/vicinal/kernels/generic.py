"""Stochastic gradient descent with forces given as jitted functions, one vertex at a time.

The same steps as in `lanes`: each vertex moves only itself, reading the others from a layout that stays as it is
meanwhile, and uses the same edges.
Numba cannot keep a kernel on disk that calls functions it is given, so each process compiles it anew.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba
import numpy as np

from .compile import OPTIONS, announcement
from .lanes import FIXED_POINT, LANES, NEAREST, ONE, SOFTENING, STEP_LIMIT, TWO, ZERO, phased
from .power import power
from .random import below, draw, even_draw, uniform

KEPT = 16  # compiled kernels; users who make a new function for every map would fill the memory
NEAREST_DISTANCE = np.float32(1e-6)

logger = logging.getLogger("vicinal")


def compiled(function: Any) -> Any:
    """Compile at first call, for this process alone."""
    return numba.njit(function, **OPTIONS)


@functools.lru_cache(maxsize=KEPT)
def coefficient_epoch(attraction: Callable, repulsion: Callable) -> Callable[..., None]:
    """Return `epoch_of` forces along the difference of two places, with the factors two functions give."""
    _announce(attraction, repulsion)
    return epoch_of(along_difference(attraction), along_difference(repulsion))


@functools.lru_cache(maxsize=KEPT)
def metric_epoch(metric: Callable) -> Callable[..., None]:
    """Return `epoch_of` the forces of UMAP's curve in the distance a function gives, along its gradient."""
    _announce(metric)
    return epoch_of(along_gradient(metric, pull_of_curve), along_gradient(metric, push_of_curve))


@functools.lru_cache(maxsize=KEPT)
def distances_of(metric: Callable) -> Callable[[np.ndarray, np.ndarray, np.ndarray], None]:
    """Return what writes the distance of each row of ``x`` to the row of ``y`` beside it."""

    def write(x, y, distances):
        for i in range(len(x)):
            distances[i], _ = metric(x[i], y[i])

    return compiled(write)


def along_difference(factor_of: Any) -> Any:
    """Return what writes the force on ``own`` into its last argument: a factor of the difference."""

    def write_force(own, other, parameters, force):
        squared = ZERO
        for k in range(len(own)):
            force[k] = own[k] - other[k]
            squared += force[k] * force[k]
        factor = np.float32(factor_of(max(squared, NEAREST), parameters))
        for k in range(len(own)):
            force[k] *= factor

    return compiled(write_force)


def along_gradient(metric: Any, slope: Any) -> Any:
    """Return what writes the force on ``own`` into its last argument: a factor of the distance's gradient."""

    def write_force(own, other, parameters, force):
        given, gradient = metric(own, other)
        distance = np.float32(given)
        if distance > ZERO:
            factor = slope(max(distance, NEAREST_DISTANCE), parameters)
            for k in range(len(own)):
                force[k] = factor * np.float32(gradient[k])
        else:  # no direction to move in; the gradient may be anything
            for k in range(len(own)):
                force[k] = ZERO

    return compiled(write_force)


@compiled
def pull_of_curve(distance: np.float32, parameters: np.ndarray) -> np.float32:
    """Return the derivative of ``log q`` with ``q = 1 / (1 + a d^(2b))``."""
    a, b = parameters[0], parameters[1]
    curve = power(distance * distance, b)
    return -TWO * a * b * curve / (distance * (ONE + a * curve))


@compiled
def push_of_curve(distance: np.float32, parameters: np.ndarray) -> np.float32:
    """Return the derivative of ``log(1 - q)``, softened near zero, times the repulsion strength."""
    a, b, strength = parameters[0], parameters[1], parameters[2]
    squared = distance * distance
    return TWO * strength * b * distance / ((SOFTENING + squared) * (ONE + a * power(squared, b)))


@compiled
def move(own: np.ndarray, force: np.ndarray, rate: np.float32) -> None:
    """Take a step, each coordinate limited before the rate."""
    for k in range(len(own)):
        own[k] += rate * min(max(force[k], -STEP_LIMIT), STEP_LIMIT)


def epoch_of(pull: Any, push: Any) -> Any:
    """Return what moves the vertices ``start`` to ``stop`` by one epoch, from ``layout`` into the rows of ``moved``.

    Its arguments are those of `lanes_epoch`; ``parameters``, a float32 array, goes to both forces.
    """

    def move_vertices(
        starts,
        ends,
        shares,
        layout,
        moved,
        pulls,
        parameters,
        negatives,
        rate,
        seed,
        epoch,
        phase,
        start,
        stop,
    ):
        n, n_components = layout.shape
        own, other = np.empty(n_components, np.float32), np.empty(n_components, np.float32)
        force = np.empty(n_components, np.float32)
        whole = int(np.floor(negatives))
        fraction = np.float32(negatives - np.floor(negatives))
        offset_key, epoch_key = draw(seed, 0), draw(draw(seed, epoch + 1), phase)
        for i in range(start, stop):
            own[:] = layout[i]
            key, drawn = draw(epoch_key, i), 0
            covered = phased(even_draw(draw(offset_key, i // LANES), epoch), phase)
            for edge in range(starts[i], starts[i + 1]):
                before = covered >> FIXED_POINT
                covered += np.uint64(shares[edge])
                if covered >> FIXED_POINT == before:
                    continue
                other[:] = layout[ends[edge]]
                for _ in range(pulls):
                    pull(own, other, parameters, force)
                    move(own, force, rate)
                count = whole
                if fraction > ZERO:
                    count += uniform(draw(key, drawn)) < fraction
                    drawn += 1
                for _ in range(count):
                    sample = below(draw(key, drawn), n)
                    drawn += 1
                    if sample != i:
                        other[:] = layout[sample]
                        push(own, other, parameters, force)
                        move(own, force, rate)
            moved[i] = own

    return compiled(move_vertices)


@contextmanager
def unannounced() -> Iterator[None]:
    """Keep the note that kernels are compiled once for this machine to those that are."""
    said, announcement.said = announcement.said, True
    try:
        yield
    finally:
        announcement.said = said


def _announce(*functions: Any) -> None:
    names = " and ".join(function.__name__ for function in functions)
    logger.info("Compiling the optimiser's kernel for %s (some seconds), once in every process", names)
