"""Neighbourhoods of sampled cells in the representation and in the map: what scores compare."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import Layout
from vicinal.contract.seeds import generator


def sampled_neighborhoods(
    representation: NDArray[np.float32],
    layout: Layout,
    *,
    metric: str,
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
        ``cosine`` compares directions in the representation; with any other it is compared by Euclidean distance.
        The map is always compared by Euclidean distance; see `comparable`.
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

    n_obs = len(layout)
    k = max(min(k, n_obs - 1), 0)
    sample = _sample(n_obs, n_sample, seed)
    in_layout, _ = nearest_rows(Reference.pack(layout, "euclidean"), layout[sample], k, own=sample, n_jobs=n_jobs)
    reference = Reference.pack(representation, "cosine" if metric == "cosine" else "euclidean")
    in_representation, ranks = nearest_and_ranks(
        reference, representation[sample], in_layout, k, own=sample, n_jobs=n_jobs
    )
    return sample, in_representation, in_layout, ranks


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
