"""Cells that are unlike any of the reference: how far they are from it, and how often its own cells are so far."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.errors import ModelError
from vicinal.contract.seeds import child_seed, generator

if TYPE_CHECKING:
    from vicinal.kernels.knn import Reference

REFERENCE = "strangers_reference"
"""Array of a network's model: rows of some of the cells it was trained on."""

N_NEIGHBORS = 40
SHARE = 5
"""Of fewer than this many times ``N_NEIGHBORS`` reference cells, one in ``SHARE`` is a neighbour."""
N_NEAR = 15
"""Neighbours whose differences tell the scatter within a neighbourhood."""
SHRINKAGE = 0.1
"""Share of the scatter that is taken to be the same in all directions, so that none is without."""
FLOOR = 1e-3
"""Smallest distance that is divided by, as a share of the mean one."""
WIDEST = 512
"""Columns beyond which each is scaled by itself."""

AT_LEAST = 20
"""Reference cells; no p-value of fewer is below 0.05."""
AT_MOST = 5_000
MOST_WORK = 5e9
"""Products of a search of the reference among itself."""
KEPT, KEPT_BYTES = 2_000, 400_000
"""The most that a network's model keeps of its cells."""


@dataclass(frozen=True, eq=False)
class Familiarity:
    """What the reference cells say of how far cells are from each other.

    Attributes
    ----------
    metric
        Of the representation.
    layers, arrays
        What makes rows comparable, in the form of a network: centred, and scaled by the scatter within
        neighbourhoods.
    reference
        The reference cells, comparable.
    means, last, following
        float64 ``(n,)``: mean distance of each to its nearest, to the last of these, to the one after it.
    known_scores
        float32 ``(n,)``, rising: each reference cell's score, itself left out.
    """

    metric: str
    layers: Sequence[Mapping[str, Any]]
    arrays: Mapping[str, np.ndarray]
    reference: Reference
    n_neighbors: int
    means: NDArray[np.float64]
    last: NDArray[np.float64]
    following: NDArray[np.float64]
    known_scores: NDArray[np.float32]

    @property
    def n_reference(self) -> int:
        """Reference cells that scores are ranked among."""
        return len(self.known_scores)


def learn(rows: NDArray[np.float32], metric: str, *, n_jobs: int) -> Familiarity:
    """Return what reference cells say; of many a uniform sample, the same at every call.

    Distances are compared after scaling by the scatter of the differences between near neighbours: directions that
    neighbours differ in say little, others much. It is what linear discriminant analysis does within classes, here
    without any (Hastie and Tibshirani 1996, IEEE TPAMI 18:607).

    Parameters
    ----------
    rows
        float32 ``(n, n_features)``, finite, at least ``AT_LEAST``.
    metric
        Of rows compared by ``cosine`` or ``correlation``, only the direction counts.
    """
    rows = sample(rows, min(AT_MOST, math.isqrt(int(MOST_WORK / rows.shape[1]))))
    points = _directed(rows, metric)
    layers, arrays = _scaling(points, n_jobs)
    return _measured(metric, layers, arrays, _comparable(points, layers, arrays, n_jobs), n_jobs)


def sample(rows: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """Return the rows, or a uniform sample of them, the same at every call."""
    most = max(most, AT_LEAST)
    if len(rows) <= most:
        return rows
    return rows[np.sort(generator(child_seed(0, "strangers")).choice(len(rows), most, replace=False))]


def kept_of(rows: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Return the array that a network's model keeps; none where rows are so wide that too few would fit."""
    most = min(KEPT, KEPT_BYTES // rows[:1].nbytes)
    if min(most, len(rows)) < min(len(rows), 10 * N_NEIGHBORS):
        return {}
    return {REFERENCE: np.array(sample(rows, most), dtype=np.float32, order="C")}


def check_kept(arrays: Mapping[str, np.ndarray], n_features: int) -> None:
    """Raise `ModelError` unless what a network's model keeps of its cells are rows of its representation."""
    rows = arrays.get(REFERENCE)
    if rows is not None and (rows.dtype != np.float32 or rows.ndim != 2 or rows.shape[1] != n_features):
        msg = f"array {REFERENCE!r} has dtype {rows.dtype} and shape {rows.shape}"
        raise ModelError(f"{msg}; expected float32 rows of {n_features} columns")


@dataclass(frozen=True)
class Strangers:
    """What is known of new cells.

    Attributes
    ----------
    scores
        float32 ``(n,)``.
    p_values
        float64 ``(n,)``.
    level
        P-value up to which a cell is a stranger.
    n_reference
        Reference cells that scores are ranked among.
    """

    scores: NDArray[np.float32]
    p_values: NDArray[np.float64]
    level: float
    n_reference: int

    @property
    def flags(self) -> NDArray[np.bool_]:
        """Which cells are strangers."""
        return self.p_values <= self.level


def find(known: Familiarity, rows: NDArray[np.float32], level: float, *, n_jobs: int) -> Strangers:
    """Score rows, and compare the scores with those of the reference cells."""
    scores = score(known, rows, n_jobs=n_jobs)
    return Strangers(scores, p_values(known, scores), level, known.n_reference)


def score(known: Familiarity, rows: NDArray[np.float32], *, n_jobs: int) -> NDArray[np.float32]:
    """Return how far rows are from their nearest reference cells, in what those are from theirs.

    A ratio of mean distances, as a local outlier factor (Breunig et al. 2000, SIGMOD 29:93) without its reachability:
    about 1 for a cell like those of the reference.

    Returns
    -------
    float32 ``(n,)``, a function of the row alone; infinity where float32 holds no distance.
    """
    from vicinal.kernels.knn import nearest_rows

    points = _comparable(_directed(rows, known.metric), known.layers, known.arrays, n_jobs)
    indices, distances = nearest_rows(known.reference, points, known.n_neighbors, n_jobs=n_jobs)
    return _ratios(indices, distances, known.means, known.last, known.following, n_jobs, is_reference=False)


def p_values(known: Familiarity, scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the share of reference cells that are at least as far off, the cell itself counted among them.

    A conformal p-value (Vovk, Gammerman and Shafer 2005): of cells like those of the reference a share p has p or
    less, whatever the scores' distribution.
    """
    n_as_far = known.n_reference - np.searchsorted(known.known_scores, scores, side="left")
    return (1 + n_as_far) / (known.n_reference + 1)


def _measured(
    metric: str, layers: Any, arrays: Mapping[str, np.ndarray], points: NDArray[np.float32], n_jobs: int
) -> Familiarity:
    from vicinal.kernels.knn import EUCLIDEAN, Reference, nearest_rows

    reference, k = Reference.pack(points, EUCLIDEAN), min(N_NEIGHBORS, len(points) // SHARE)
    indices, distances = nearest_rows(reference, points, k + 1, own=np.arange(len(points)), n_jobs=n_jobs)
    far = distances.astype(np.float64)
    means, last, following = far[:, :k].mean(axis=1), far[:, k - 1].copy(), far[:, k].copy()
    near = np.ascontiguousarray(indices[:, :k]), np.ascontiguousarray(distances[:, :k])
    scores = np.sort(_ratios(*near, means, last, following, n_jobs, is_reference=True))
    return Familiarity(metric, layers, arrays, reference, k, means, last, following, scores)


def _ratios(
    indices: NDArray[np.int32],
    distances: NDArray[np.float32],
    means: NDArray[np.float64],
    last: NDArray[np.float64],
    following: NDArray[np.float64],
    n_jobs: int,
    *,
    is_reference: bool,
) -> NDArray[np.float32]:
    from vicinal.kernels.parallel import over_rows
    from vicinal.kernels.ratios import local_ratios

    floor = max(FLOOR * float(means.mean()), float(np.finfo(np.float32).tiny))
    ratios = np.empty(len(indices), dtype=np.float32)
    over_rows(
        lambda start, stop: local_ratios(
            indices, distances, means, last, following, is_reference, floor, start, stop, ratios
        ),
        len(indices),
        n_jobs,
    )
    return ratios


def _directed(rows: NDArray[np.float32], metric: str) -> NDArray[np.float32]:
    """Return rows of length 1 for metrics that compare directions, else the rows."""
    from vicinal.kernels.knn import COSINE, EUCLIDEAN, coordinates

    if metric == "correlation":
        rows = rows - rows.mean(axis=1, keepdims=True)
    return coordinates(rows, COSINE if metric in ("cosine", "correlation") else EUCLIDEAN)


def _comparable(points: NDArray[np.float32], layers: Any, arrays: Any, n_jobs: int) -> NDArray[np.float32]:
    from vicinal.kernels.network import apply_layers

    return apply_layers(layers, arrays, points, n_jobs)


def _scaling(points: NDArray[np.float32], n_jobs: int) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Return the layers that make points comparable, and their arrays."""
    from vicinal.kernels.knn import EUCLIDEAN, Reference, nearest_rows

    center = points.mean(axis=0, dtype=np.float64)
    spread = math.sqrt(float(((points - center) ** 2).mean()))
    spread = spread if spread > np.finfo(np.float32).tiny else 1.0
    layers = [{"op": "affine", "scale": "scale", "shift": "shift"}]
    arrays = {"scale": np.full(len(center), 1 / spread), "shift": -center / spread}
    near = _comparable(points, layers, arrays, n_jobs)
    k = min(N_NEAR, len(points) - 1)
    indices, _ = nearest_rows(Reference.pack(near, EUCLIDEAN), near, k, own=np.arange(len(near)), n_jobs=n_jobs)
    if len(center) > WIDEST:
        scale = 1 / np.sqrt(_shrunken(_scatter(near, indices, only_columns=True)))
        return layers, {"scale": arrays["scale"] * scale, "shift": arrays["shift"] * scale}
    layers.append({"op": "dense", "weight": "weight", "bias": "bias", "activation": "none"})
    weight = _inverse_root(_shrunken(_scatter(near, indices, only_columns=False)))
    return layers, {**arrays, "weight": weight, "bias": np.zeros(len(center))}


def _scatter(points: NDArray[np.float32], indices: NDArray[np.int32], *, only_columns: bool) -> NDArray[np.float64]:
    """Return half the mean outer product of the differences between neighbours, or its diagonal."""
    from threadpoolctl import threadpool_limits

    rows = points.astype(np.float64)
    with threadpool_limits(1, user_api="blas"):  # sums in one order
        parts = (rows[near] - rows for near in indices.T)
        total = sum((d * d).sum(axis=0) if only_columns else d.T @ d for d in parts)
    return np.asarray(total) / (2 * indices.size)


def _shrunken(scatter: NDArray[np.float64]) -> NDArray[np.float64]:
    is_matrix = scatter.ndim == 2
    typical = float((np.diag(scatter) if is_matrix else scatter).mean()) or 1.0
    return (1 - SHRINKAGE) * scatter + SHRINKAGE * typical * (np.eye(len(scatter)) if is_matrix else 1.0)


def _inverse_root(scatter: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse of the Cholesky factor: points times it have the scatter of the unit matrix."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        return np.linalg.inv(np.linalg.cholesky(scatter))
