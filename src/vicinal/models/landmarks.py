"""Which cells of a large map its model keeps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import Layout
from vicinal.contract.seeds import child_seed, generator
from vicinal.kernels.parallel import available_threads

SPREAD, SEED = "spread", 0
MEMBERS, MOST_PLACES = 64, 4096
"""Cells a small part of the map has on average, and the most such parts."""


def spread_sample(layout: Layout, size: int) -> NDArray[np.intp]:
    """Return the indices of ``size`` cells that are spread over a map, rising; the same at every call.

    The map is cut by k-means into small parts, and each is drawn from by about the square root of how many cells it
    has: sparse parts keep more of their cells than in a uniform sample, and dense ones still have the most. Drawn
    without replacement, each in proportion to the weights of those left (Efraimidis and Spirakis 2006,
    doi:10.1016/j.ipl.2005.11.003).
    """
    weights = 1 / np.sqrt(_cells_beside(layout))
    uniform = generator(child_seed(SEED, "landmarks")).random(len(layout))
    keys = np.log1p(-uniform) / weights
    return np.sort(np.argsort(-keys, kind="stable")[:size])


def _cells_beside(layout: Layout) -> NDArray[np.int64]:
    """Return for each cell how many there are in its part of the map."""
    from vicinal.kernels.clusters import centred, cluster

    n_parts = min(max(len(layout) // MEMBERS, 1), MOST_PLACES)
    seed = child_seed(SEED, "parts of the map")
    parts = cluster(centred(np.require(layout, np.float32, ["C", "W"]))[0], n_parts, seed, available_threads())
    sizes = np.add.reduceat((parts.members >= 0).sum(axis=1), parts.first[:-1])
    beside = np.empty(len(layout), np.int64)
    beside[parts.order] = np.repeat(sizes, sizes)
    return beside
