"""Distances between two places of a map, with their gradient with respect to the first."""

from __future__ import annotations

import numpy as np

from .compile import inline

NEAREST = np.float32(1e-6)
HALF, ZERO, ONE, TWO = np.float32(0.5), np.float32(0.0), np.float32(1.0), np.float32(2.0)


@inline
def euclidean(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the Euclidean distance and its gradient."""
    gradient = x - y
    squared = ZERO
    for k in range(len(x)):
        squared += gradient[k] * gradient[k]
    distance = np.sqrt(squared)
    return distance, gradient / (distance + NEAREST)


@inline
def haversine(x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Return the angle between two points of a sphere and its gradient.

    A point is the angle from the pole and the longitude, in radians. Any two numbers are a point: beyond the pole
    the longitude turns by half a circle.
    """
    half_polar, half_longitude = HALF * (x[0] - y[0]), HALF * (x[1] - y[1])
    sine, cosine = np.sin(half_polar), np.cos(half_polar)
    across = np.sin(half_longitude)
    half = sine * sine + np.sin(x[0]) * np.sin(y[0]) * across * across
    half = min(max(half, ZERO), ONE)
    distance = TWO * np.arcsin(np.sqrt(half))
    steepness = np.sqrt(half * (ONE - half)) + NEAREST
    gradient = np.empty(2, x.dtype)
    gradient[0] = (sine * cosine + np.cos(x[0]) * np.sin(y[0]) * across * across) / steepness
    gradient[1] = np.sin(x[0]) * np.sin(y[0]) * across * np.cos(half_longitude) / steepness
    return distance, gradient
