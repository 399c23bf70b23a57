"""Which cells of a large map its model keeps."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import Layout
from vicinal.contract.seeds import child_seed, generator

SPREAD, SEED = "spread", 0
ASKED = 5_000
MEMBERS, MOST_SQUARES = 64, 4096
"""Cells that a square of the map has on average, were all taken, and the most there are."""
MARGIN, FARTHEST = 0.01, 2.0**31


def landmarks_of(layout: Layout, size: int) -> tuple[NDArray[np.intp], int]:
    """Return the cells that a model keeps, and how many at their beginning are a uniform sample.

    What cells of the map are like, for scores of strangers, is to be asked of those; the others are spread over it.
    """
    n_uniform = min(ASKED, size // 4)
    uniform = generator(child_seed(SEED, "uniform landmarks")).choice(len(layout), n_uniform, replace=False)
    uniform.sort()
    others = np.setdiff1d(np.arange(len(layout)), uniform)
    return np.concatenate([uniform, others[spread_sample(layout[others], size - n_uniform)]]), n_uniform


def spread_sample(layout: Layout, size: int) -> NDArray[np.intp]:
    """Return the indices of ``size`` cells that are spread over a map, rising; the same at every call.

    Each square of a grid over the map is drawn from by about the square root of how many cells it has: sparse parts
    keep more of their cells than in a uniform sample, and dense ones still have the most. Drawn without replacement,
    each in proportion to the weights of those left (Efraimidis and Spirakis 2006,
    doi:10.1016/j.ipl.2005.11.003).
    """
    weights = 1 / np.sqrt(_cells_beside(layout))
    uniform = generator(child_seed(SEED, "landmarks")).random(len(layout))
    keys = np.log1p(-uniform) / weights
    return np.sort(np.argsort(-keys, kind="stable")[:size])


def _cells_beside(layout: Layout) -> NDArray[np.int64]:
    """Return for each cell how many there are in its square of a grid over the map."""
    n_squares, d = min(max(len(layout) // MEMBERS, 1), MOST_SQUARES), layout.shape[1]
    low, high = np.quantile(layout, [MARGIN, 1 - MARGIN], axis=0)  # a few cells far out would stretch it
    side = (high - low).max() / math.ceil(n_squares ** (1 / d)) or 1.0
    squares = np.floor((layout - low) / side).clip(-FARTHEST, FARTHEST).astype(np.int64)
    _, square, counts = np.unique(squares, axis=0, return_inverse=True, return_counts=True)
    return np.asarray(counts[square.reshape(-1)], np.int64)
