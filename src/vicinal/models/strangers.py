"""Cells that are unlike any of the reference: how far they are from it, and how often its own cells are so far."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
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
N_FOLDS = 5
"""Parts of the reference, each scored in a scaling that the others make."""
FLOOR = 1e-3
"""Smallest distance that is divided by, as a share of the mean one."""
WIDEST = 512
"""Columns beyond which each is scaled by itself."""

AT_LEAST = 20
"""Reference cells; no p-value of fewer is below 0.05."""
AT_MOST = 5_000
MOST_WORK = 5e9
"""Products of a search of the reference among itself."""
KEPT, KEPT_BYTES = 1_500, 300_000
"""The most that a network's model keeps of its cells."""
REMEMBERED = 2
"""References that a process does not learn from again, when a model is read from its file or AnnData at each call."""


@dataclass(frozen=True, eq=False)
class Scaling:
    """What makes rows comparable, in the form of a network: centred, and scaled by the scatter among neighbours."""

    layers: Sequence[Mapping[str, Any]]
    arrays: Mapping[str, np.ndarray]

    def __call__(self, points: NDArray[np.float32], n_jobs: int) -> NDArray[np.float32]:
        """Return comparable points."""
        from vicinal.kernels.network import apply_layers

        return apply_layers(self.layers, self.arrays, points, n_jobs)


@dataclass(frozen=True, eq=False)
class Neighborhoods:
    """Reference cells, and how far each is from its own nearest.

    Attributes
    ----------
    means, last, following
        float64 ``(n,)``: mean distance to the ``n_neighbors`` nearest, to the last of these, to the one after it.
    """

    reference: Reference
    n_neighbors: int
    means: NDArray[np.float64]
    last: NDArray[np.float64]
    following: NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Familiarity:
    """What the reference cells say of how far cells are from each other.

    Attributes
    ----------
    metric
        Of the representation.
    known_scores
        float32 ``(n,)``, rising: each reference cell's score, by what the others say.
    """

    metric: str
    scaling: Scaling
    neighborhoods: Neighborhoods
    known_scores: NDArray[np.float32]

    @property
    def n_reference(self) -> int:
        """Reference cells that scores are ranked among."""
        return len(self.known_scores)


def learn(rows: NDArray[np.float32], metric: str, *, n_jobs: int, ranked: bool = True) -> Familiarity:
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
    ranked
        Whether their own scores are wanted too, for p-values.
    """
    rows = _asked(rows)
    points = _directed(rows, metric)
    evenly = _evenly(points)
    near = evenly(points, n_jobs)
    _, indices, _ = _measured(near, min(N_NEAR, len(near) - 2), n_jobs)
    scaling = _scaled(evenly, near, indices, np.zeros(len(near), dtype=bool))
    neighborhoods, _, _ = _measured(scaling(points, n_jobs), _n_neighbors(len(points)), n_jobs)
    own = _known_scores(points, evenly, near, indices, n_jobs) if ranked else np.empty(0, dtype=np.float32)
    return Familiarity(metric, scaling, neighborhoods, own)


def recall(rows: NDArray[np.float32], metric: str, *, n_jobs: int) -> Familiarity:
    """Return what `learn` does, which is remembered for some references by the digest of their values."""
    rows = _asked(rows)
    digest = hashlib.sha256(rows.tobytes()).digest()
    return _remembered(_Asked(digest, rows.shape, metric, rows, n_jobs))


@dataclass(frozen=True)
class _Asked:
    digest: bytes
    shape: tuple[int, ...]
    metric: str
    rows: NDArray[np.float32] = field(compare=False)
    n_jobs: int = field(compare=False)


@lru_cache(maxsize=REMEMBERED)
def _remembered(asked: _Asked) -> Familiarity:
    return learn(asked.rows, asked.metric, n_jobs=asked.n_jobs)


def _asked(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    return sample(rows, min(AT_MOST, math.isqrt(int(MOST_WORK / rows.shape[1]))))


def _known_scores(
    points: NDArray[np.float32], evenly: Scaling, near: NDArray[np.float32], nearest: NDArray[np.int32], n_jobs: int
) -> NDArray[np.float32]:
    """Return the scores of reference cells, each in a scaling that it has had no part in.

    Where columns are many and cells few, a scaling fits the differences it was made from better than others, and new
    cells would all look strange.
    """
    folds = generator(child_seed(0, "strangers_folds")).permutation(len(points)) % N_FOLDS
    scores = np.empty(len(points), dtype=np.float32)
    for fold in range(N_FOLDS):
        scaled = _scaled(evenly, near, nearest, folds == fold)(points, n_jobs)
        around, indices, distances = _measured(scaled, _n_neighbors(len(points)), n_jobs)
        scores[folds == fold] = _ratios(indices, distances, around, n_jobs, is_reference=True)[folds == fold]
    return np.sort(scores)


def _n_neighbors(n_reference: int) -> int:
    return min(N_NEIGHBORS, n_reference // SHARE)


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

    points = known.scaling(_directed(rows, known.metric), n_jobs)
    around = known.neighborhoods
    indices, distances = nearest_rows(around.reference, points, around.n_neighbors, n_jobs=n_jobs)
    return _ratios(indices, distances, around, n_jobs, is_reference=False)


def p_values(known: Familiarity, scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the share of reference cells that are at least as far off, the cell itself counted among them.

    A conformal p-value (Vovk, Gammerman and Shafer 2005): of cells like those of the reference a share p has p or
    less, whatever the scores' distribution.
    """
    n_as_far = known.n_reference - np.searchsorted(known.known_scores, scores, side="left")
    return (1 + n_as_far) / (known.n_reference + 1)


def _measured(
    points: NDArray[np.float32], k: int, n_jobs: int
) -> tuple[Neighborhoods, NDArray[np.int32], NDArray[np.float32]]:
    """Return the neighbourhoods of reference cells, with the indices of their neighbours and the distances."""
    from vicinal.kernels.knn import EUCLIDEAN, Reference, nearest_rows

    reference = Reference.pack(points, EUCLIDEAN)
    indices, distances = nearest_rows(reference, points, k + 1, own=np.arange(len(points)), n_jobs=n_jobs)
    far = distances.astype(np.float64)
    around = Neighborhoods(reference, k, far[:, :k].mean(axis=1), far[:, k - 1].copy(), far[:, k].copy())
    return around, np.ascontiguousarray(indices[:, :k]), np.ascontiguousarray(distances[:, :k])


def _ratios(
    indices: NDArray[np.int32],
    distances: NDArray[np.float32],
    around: Neighborhoods,
    n_jobs: int,
    *,
    is_reference: bool,
) -> NDArray[np.float32]:
    from vicinal.kernels.parallel import over_rows
    from vicinal.kernels.ratios import local_ratios

    floor = max(FLOOR * float(around.means.mean()), float(np.finfo(np.float32).tiny))
    own = around.means, around.last, around.following
    ratios = np.empty(len(indices), dtype=np.float32)
    over_rows(
        lambda start, stop: local_ratios(indices, distances, *own, is_reference, floor, start, stop, ratios),
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


def _evenly(points: NDArray[np.float32]) -> Scaling:
    """Return what centres points and makes their columns' mean variance 1, so that float32 holds all distances."""
    center = points.mean(axis=0, dtype=np.float64)
    spread = math.sqrt(float(((points - center) ** 2).mean()))
    spread = spread if spread > np.finfo(np.float32).tiny else 1.0
    arrays = {"scale": np.full(len(center), 1 / spread), "shift": -center / spread}
    return Scaling([{"op": "affine", "scale": "scale", "shift": "shift"}], arrays)


def _scaled(
    evenly: Scaling, near: NDArray[np.float32], indices: NDArray[np.int32], left_out: NDArray[np.bool_]
) -> Scaling:
    """Return a scaling after which neighbours differ as much in all directions, of wide rows in all columns."""
    only_columns = near.shape[1] > WIDEST
    scatter = _shrunken(_scatter(near, indices, left_out, only_columns=only_columns))
    if only_columns:
        return Scaling(evenly.layers, {name: array / np.sqrt(scatter) for name, array in evenly.arrays.items()})
    dense = {"op": "dense", "weight": "weight", "bias": "bias", "activation": "none"}
    arrays = {**evenly.arrays, "weight": _inverse_root(scatter), "bias": np.zeros(len(scatter))}
    return Scaling([*evenly.layers, dense], arrays)


def _scatter(
    points: NDArray[np.float32], indices: NDArray[np.int32], left_out: NDArray[np.bool_], *, only_columns: bool
) -> NDArray[np.float64]:
    """Return half the mean outer product of the differences between neighbours, or its diagonal."""
    from threadpoolctl import threadpool_limits

    rows, n_pairs = points.astype(np.float64), 0
    total: Any = 0.0
    with threadpool_limits(1, user_api="blas"):  # sums in one order
        for neighbors in indices.T:
            counts = ~(left_out | left_out[neighbors])
            differences = rows[neighbors[counts]] - rows[counts]
            total = total + ((differences**2).sum(axis=0) if only_columns else differences.T @ differences)
            n_pairs += len(differences)
    return np.asarray(total) / (2 * max(n_pairs, 1))


def _shrunken(scatter: NDArray[np.float64]) -> NDArray[np.float64]:
    is_matrix = scatter.ndim == 2
    typical = float((np.diag(scatter) if is_matrix else scatter).mean()) or 1.0
    return (1 - SHRINKAGE) * scatter + SHRINKAGE * typical * (np.eye(len(scatter)) if is_matrix else 1.0)


def _inverse_root(scatter: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the inverse of the Cholesky factor: points times it have the scatter of the unit matrix."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        return np.linalg.inv(np.linalg.cholesky(scatter))
