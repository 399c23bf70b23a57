"""New rows into a map: a pure function of each row, whatever comes with it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ..contract.data import Layout, Neighbors
from ..contract.errors import InputError, ModelError, listing
from ..contract.requests import KnnRequest
from ..contract.spec import BackendSpec
from ..kernels.parallel import available_threads, over_rows
from ..plugin.manager import get_manager
from .manifest import PLACEMENT_RULE
from .store import Model

KNN = "exact"


def place(model: Model, rows: NDArray[np.float32], *, n_jobs: int | None = None) -> Layout:
    """Return the places of rows in a model's map.

    Each row goes to the mean place of the nearest reference cells, weighted by the kernel of the fuzzy graph
    (McInnes, Healy & Melville 2018, equations 1 and 2). A row that is a reference cell goes to that cell's own place.

    Parameters
    ----------
    rows
        float32 ``(n, n_features)``, finite, in the model's representation.

    Returns
    -------
    float32 ``(n, n_components)``; the same bits for any order, batch and number of threads.

    Raises
    ------
    ModelError
        If the model asks for a placement or a metric that is not known here.
    InputError
        If rows are so far from the reference that their distances are infinite.
    """
    n_jobs = n_jobs or available_threads()
    neighbors = nearest_landmarks(model, rows, n_jobs)
    lost = np.flatnonzero(neighbors.indices[:, 0] < 0)
    if len(lost):
        msg = f"{len(lost)} cells are too far from the reference for float32 distances; the first is row {lost[0]}"
        raise InputError(msg)
    places = _weighted_means(neighbors, model.arrays["layout"], n_jobs)
    return _with_all_twins(places, neighbors, model.arrays)


def nearest_landmarks(model: Model, rows: NDArray[np.float32], n_jobs: int) -> Neighbors:
    """Return the reference cells nearest to each row, found exactly."""
    placement, reference = model.manifest.placement, model.arrays["reference"]
    if placement.get("rule") != PLACEMENT_RULE:
        msg = f"the model is placed by {placement.get('rule')!r}; this version knows {PLACEMENT_RULE!r}. Upgrade vicinal"
        raise ModelError(msg)
    entry = get_manager().resolve("knn", KNN)
    metric = _known_metric(model, entry.spec)
    k = min(placement["n_neighbors"], len(reference))
    request = KnnRequest(representation=reference, k=k, n_obs=len(reference), metric=metric, n_jobs=n_jobs)
    backend = get_manager().load(entry)(entry.spec.params())
    return backend.build(request).query(rows, k)


def _known_metric(model: Model, spec: BackendSpec) -> str:
    assert model.manifest.representation is not None
    metric, known = model.manifest.representation["metric"], spec.capabilities.metrics
    if known is not None and metric not in known:
        raise ModelError(f"the map was made with metric {metric!r}; new cells can be placed with {listing(known)}")
    return metric


def _weighted_means(neighbors: Neighbors, layout: Layout, n_jobs: int) -> Layout:
    from ..kernels.placement import weighted_means

    places = np.empty((neighbors.n_obs, layout.shape[1]), dtype=np.float32)
    own = np.require(layout, requirements=["C", "W"])  # a read-only array would compile a second variant
    over_rows(
        lambda start, stop: weighted_means(neighbors.indices, neighbors.distances, own, start, stop, places),
        neighbors.n_obs,
        n_jobs,
    )
    return places


def _with_all_twins(places: Layout, neighbors: Neighbors, arrays: Mapping[str, np.ndarray]) -> Layout:
    """Give rows that coincide with more reference cells than were looked up the mean of all of these."""
    crowded = neighbors.distances[:, -1] == 0
    if crowded.any():
        twins = _twin_means(arrays["reference"], arrays["layout"])
        places[crowded] = twins[neighbors.indices[crowded, 0]]
    return places


def _twin_means(reference: NDArray[np.float32], layout: Layout) -> Layout:
    """Return for each reference cell the mean place of all cells with the same row."""
    first: dict[bytes, int] = {}
    rows = reference + np.float32(0)  # so that -0.0 and 0.0 are the same bytes
    groups = np.array([first.setdefault(row.tobytes(), i) for i, row in enumerate(rows)])
    sums = np.zeros(layout.shape)
    np.add.at(sums, groups, layout)
    counts = np.bincount(groups, minlength=len(rows))
    return (sums[groups] / counts[groups][:, None]).astype(np.float32)
