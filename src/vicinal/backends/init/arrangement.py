"""Where the components of a disconnected graph go: apart from each other, near what resembles them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

GOLDEN_ANGLE = np.pi * (3 - np.sqrt(5))
ROUNDS = 50
ELBOW_ROOM = 1.5
MOST_PUSHED_APART = 500


def spiral(radii: NDArray[np.float64], n_components: int) -> NDArray[np.float64]:
    """Place discs around the largest, along a sunflower's spiral of their areas (Vogel 1979); on a line, in a row."""
    order = np.argsort(-radii, kind="stable")
    sorted_radii = radii[order]
    centers = np.zeros((len(radii), n_components))
    if n_components == 1:
        centers[order, 0] = 2 * np.cumsum(sorted_radii) - sorted_radii
        return centers
    distance = np.sqrt(np.cumsum(sorted_radii**2) - sorted_radii**2) + sorted_radii
    distance[0] = 0.0
    angle = GOLDEN_ANGLE * np.arange(len(radii))
    centers[order, 0], centers[order, 1] = distance * np.cos(angle), distance * np.sin(angle)
    return centers


def pushed_apart(
    places: NDArray[np.float64], radii: NDArray[np.float64], draw: np.random.Generator
) -> NDArray[np.float64]:
    """Scale places to the room the discs need, then move overlapping ones apart, the smaller further.

    More than 500 are only scaled: all pairs would be many, and the optimisation parts them as well.
    """
    n, n_components = places.shape
    volume = (radii**n_components).sum()
    reach = np.sqrt((places**2).sum(axis=1)).max()
    places = places * (ELBOW_ROOM * volume ** (1 / n_components) / reach if reach > 0 else 0.0)
    if n > MOST_PUSHED_APART:
        return places
    places = places + draw.normal(scale=1e-3 * radii.min(), size=places.shape)
    area = radii**2
    share = area[None, :] / (area[:, None] + area[None, :])
    for _ in range(ROUNDS):
        difference = places[:, None, :] - places[None, :, :]
        distance = np.sqrt((difference**2).sum(axis=2))
        np.fill_diagonal(distance, np.inf)
        overlap = radii[:, None] + radii[None, :] - distance
        if (overlap <= 0).all():
            break
        push = share * np.maximum(overlap, 0) / distance
        places = places + (push[:, :, None] * difference).sum(axis=1)
    return places
