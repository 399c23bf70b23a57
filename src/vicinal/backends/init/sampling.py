"""Which cells are drawn into a sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.errors import InputError
from vicinal.contract.requests import InitRequest
from vicinal.contract.seeds import child_seed, generator

UNIFORM, DENSITY = SAMPLINGS = ("uniform", "density")
PILOT = 2000
PILOT_NEIGHBOR = 5
"""Density is told by the distance to this one of a few cells drawn uniformly."""
CLIPPED = (0.05, 0.95)
"""Quantiles of that distance beyond which it counts no further: outliers must not fill the sample."""


def draw_sample(request: InitRequest, size: int, *, by_density: bool) -> NDArray[np.intp]:
    """Return the indices of ``size`` cells, rising.

    Without replacement, each draw in proportion to the weights of the cells left (Efraimidis and Spirakis 2006,
    doi:10.1016/j.ipl.2005.11.003), in each group of ``sample_groups`` apart where there are such.
    """
    rows = request.representation
    assert rows is not None
    uniform = generator(child_seed(request.seed, "sample")).random(len(rows))
    keys = np.log1p(-uniform)
    if by_density and len(rows) > PILOT_NEIGHBOR:
        keys /= sparseness(request) ** request.n_components
    groups = request.arrays.get("sample_groups", np.zeros(len(rows), dtype=np.int64))
    order = np.lexsort((-keys, groups))
    sizes = np.bincount(groups)
    starts, drawn = np.cumsum(sizes) - sizes, shares(sizes, size)
    taken = [order[start : start + n] for start, n in zip(starts, drawn, strict=True)]
    return np.sort(np.concatenate(taken))


def sparseness(request: InitRequest) -> NDArray[np.float64]:
    """Return for each cell how far the fifth or sixth nearest of 2,000 cells is, extremes clipped, the largest 1."""
    rows, host = request.representation, request.host
    assert rows is not None
    assert host is not None
    draw = generator(child_seed(request.seed, "pilot"))
    pilot = np.sort(draw.choice(len(rows), min(PILOT, len(rows)), replace=False))
    k = min(PILOT_NEIGHBOR + 1, len(pilot))  # one more: a cell of the few is its own nearest
    distances = host.index(rows[pilot], k).query(rows, k).distances[:, -1].astype(np.float64)
    distances[~np.isfinite(distances)] = distances[np.isfinite(distances)].max(initial=1.0)
    apart = distances[distances > 0]
    if len(apart) == 0:
        return np.ones(len(rows))
    low, high = np.quantile(apart, CLIPPED)
    return np.clip(distances, low, high) / high


def shares(sizes: NDArray[np.integer], total: int) -> NDArray[np.int64]:
    """Divide a total among groups in proportion to their sizes, at least 1 and at most its size to each.

    Raises
    ------
    InputError
        If there are more groups than the total.
    """
    present = sizes > 0
    if present.sum() > total:
        msg = f"sample_by names {present.sum()} groups, and sample_size={total} has no cell for each of them"
        raise InputError(f"{msg}; give a sample_size of at least {present.sum()}")
    exact = sizes * (total / sizes.sum())
    given = np.where(present, np.maximum(np.floor(exact), 1), 0).astype(np.int64)
    # The group that is furthest from its exact share gives or takes first; of equals, the first.
    while given.sum() < total:
        given[np.argmax(np.where(given < sizes, exact - given, -np.inf))] += 1
    while given.sum() > total:
        given[np.argmax(np.where(given > 1, given - exact, -np.inf))] -= 1
    return given
