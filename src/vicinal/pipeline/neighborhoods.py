"""Neighbourhoods of sampled cells in the representation and in the map: what scores compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import Layout
from vicinal.contract.seeds import generator

DISTANCES_AT_ONCE = 2**23
"""Distances that are held at a time where a metric has no kernel here."""


@dataclass(frozen=True)
class Metric:
    """A metric by its name, its arguments, and the function that it is, if any."""

    name: str = "euclidean"
    kwds: Mapping[str, Any] = field(default_factory=dict)
    function: Callable[..., float] | None = None


def sampled_neighborhoods(
    representation: NDArray[np.float32],
    layout: Layout,
    *,
    metric: Metric,
    n_sample: int,
    k: int,
    seed: int,
    n_jobs: int,
) -> tuple[NDArray[np.intp], NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Return a sample of cells and their exact neighbours among all cells; ties go to the smaller index.

    Parameters
    ----------
    representation, layout
        ``(n_obs, n_features)`` and ``(n_obs, n_components)``.
    metric
        Of the representation. The map is always compared by Euclidean distance; see `comparable`.
    n_sample
        Cells to draw without replacement; all when there are not more.
    k
        Neighbours wanted; at most all other cells.

    Returns
    -------
    sample
        ``(m,)`` cells, in rising order.
    representation_neighbors, layout_neighbors
        int32 ``(m, min(k, n_obs - 1))``, the cell itself left out.
    layout_ranks
        int64, as `layout_neighbors`: each one's rank in the representation, 1 = nearest.
    """
    from vicinal.kernels.knn import Reference, nearest_and_ranks, nearest_rows
    from vicinal.kernels.metrics import space_of

    n_obs = len(layout)
    k = max(min(k, n_obs - 1), 0)
    sample = _sample(n_obs, n_sample, seed)
    in_layout, _ = nearest_rows(Reference.pack(layout, "euclidean"), layout[sample], k, own=sample, n_jobs=n_jobs)
    space = space_of(metric.name, metric.kwds) if metric.function is None else None
    if space is None:
        return sample, *_by_all_pairs(representation, sample, in_layout, metric)
    coordinates = np.asarray(space.of_rows(representation), np.float32)
    reference = Reference.pack(coordinates, space.metric)
    in_representation, ranks = nearest_and_ranks(
        reference, coordinates[sample], in_layout, k, own=sample, n_jobs=n_jobs
    )
    return sample, in_representation, in_layout, ranks


def _by_all_pairs(
    rows: NDArray[np.float32], sample: NDArray[np.intp], in_layout: NDArray[np.int32], metric: Metric
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]:
    """Return what `sampled_neighborhoods` does, but for the sample, by distances to all rows, some cells at a time."""
    from vicinal.kernels.metrics import matrix_of

    measure = matrix_of(metric.name, metric.kwds, metric.function)
    near: NDArray[np.int32] = np.empty(in_layout.shape, np.int32)
    ranks = np.empty(in_layout.shape, np.int64)
    k, step = in_layout.shape[1], max(1, DISTANCES_AT_ONCE // len(rows))
    for start in range(0, len(sample), step):
        part = slice(start, start + step)
        found = np.nan_to_num(measure(rows[sample[part]], rows), nan=np.inf)
        found[np.arange(len(found)), sample[part]] = np.inf
        near[part] = np.argsort(found, axis=1, kind="stable")[:, :k]
        rising = np.sort(found, axis=1)
        of_targets = np.take_along_axis(found, in_layout[part].astype(np.intp), axis=1)
        ranks[part] = [np.searchsorted(a, b) + 1 for a, b in zip(rising, of_targets, strict=True)]
    return near, in_layout, ranks


def comparable(layout: Layout, output_metric: object) -> Layout:
    """Return a map in coordinates whose Euclidean distances rank as the map's own, where such are known.

    Points of a sphere become their places in space; maps made with a function stay as they are.
    """
    if output_metric != "haversine" or layout.shape[1] != 2:
        return layout
    polar, longitude = layout.astype(np.float64).T
    across = np.sin(polar)
    space = np.column_stack([across * np.cos(longitude), across * np.sin(longitude), np.cos(polar)])
    return space.astype(np.float32)


def _sample(n_obs: int, n_sample: int, seed: int) -> NDArray[np.intp]:
    if n_sample >= n_obs:
        return np.arange(n_obs)
    return np.sort(generator(seed).choice(n_obs, n_sample, replace=False))
