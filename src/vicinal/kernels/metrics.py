"""Distances by any metric: through coordinates where there are some, else pair by pair."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from . import binary

Rows = NDArray[np.floating]

MINKOWSKI = ("minkowski", "wminkowski", "weighted_minkowski")
SEUCLIDEAN = ("seuclidean", "standardised_euclidean")
MAHALANOBIS = ("mahalanobis",)

SYNONYMS = {"l2": "euclidean", "l1": "manhattan", "cityblock": "manhattan", "taxicab": "manhattan"} | dict.fromkeys(
    ("linf", "linfty", "linfinity"), "chebyshev"
)
"""Other names of metrics."""
COORDINATES = ("euclidean", "cosine", "manhattan", "correlation", "hellinger", *SEUCLIDEAN, *MAHALANOBIS)
"""Metrics that are one of the first three between other coordinates, whatever their arguments."""


@dataclass(frozen=True)
class Space:
    """Coordinates in which a metric is another one.

    Attributes
    ----------
    metric
        ``euclidean``, ``cosine`` or ``manhattan``.
    of_rows
        Returns the coordinates of rows.
    factor
        What distances between coordinates are multiplied by.
    is_undefined
        Tells which coordinates are those of rows that scipy knows no distance of; None where there are none.
    """

    metric: str
    of_rows: Callable[[Rows], Rows]
    factor: float = 1.0
    is_undefined: Callable[[Rows], NDArray[np.bool_]] | None = None

    def distances(self, found: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the distances by the metric from those between coordinates."""
        return found if self.factor == 1.0 else found * np.float32(self.factor)


def space_of(metric: str, kwds: Mapping[str, Any] | None = None) -> Space | None:
    """Return the coordinates in which a metric is one that has a kernel here; None where there are none."""
    kwds, metric = kwds or {}, SYNONYMS.get(metric, metric)
    if metric in ("euclidean", "cosine", "manhattan"):
        return Space(metric, _same)
    if metric in SEUCLIDEAN and "V" in kwds:
        return Space("euclidean", functools.partial(_scaled, 1 / np.sqrt(np.asarray(kwds["V"], np.float64))))
    if metric in MAHALANOBIS and kwds:
        return Space("euclidean", functools.partial(_turned, _root(kwds)))
    if metric in MINKOWSKI:
        return _minkowski(float(kwds.get("p", 2.0)), kwds.get("w"))
    if metric == "correlation":
        return Space("cosine", _centered, is_undefined=_all_zero)
    if metric == "hellinger":
        return Space("euclidean", _root_shares, factor=float(np.sqrt(0.5)))
    return None


def _minkowski(p: float, w: Any) -> Space | None:
    if p not in (1.0, 2.0):
        return None
    own = "manhattan" if p == 1.0 else "euclidean"
    return Space(own, _same if w is None else functools.partial(_scaled, np.asarray(w, np.float64) ** (1 / p)))


def _same(rows: Rows) -> Rows:
    return rows


def _scaled(factors: NDArray[np.float64], rows: Rows) -> Rows:
    return np.asarray(rows * factors, dtype=rows.dtype)


def _turned(root: NDArray[np.float64], rows: Rows) -> Rows:
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):  # sums in one order
        turned = np.empty((len(rows), root.shape[1]), rows.dtype)
        for row in range(len(rows)):  # one by one, so that a row's coordinates do not depend on the others
            turned[row] = rows[row].astype(np.float64) @ root
    return turned


def _root(kwds: Mapping[str, Any]) -> NDArray[np.float64]:
    """Return a matrix whose product with its transpose is the inverse covariance."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        inverse = np.asarray(kwds["VI"], np.float64) if "VI" in kwds else np.linalg.inv(np.asarray(kwds["V"]))
        values, vectors = np.linalg.eigh((inverse + inverse.T) / 2)
    return vectors * np.sqrt(np.maximum(values, 0))


def _centered(rows: Rows) -> Rows:
    means = rows.mean(axis=1, keepdims=True, dtype=np.float64)
    centered = np.asarray(rows - means, dtype=rows.dtype)
    constant = rows.min(axis=1) == rows.max(axis=1)
    centered[constant] = 0  # their mean may be off by rounding
    return centered


def _all_zero(rows: Rows) -> NDArray[np.bool_]:
    return np.asarray(~rows.any(axis=1))


def _root_shares(rows: Rows) -> Rows:
    """Return the roots of each value's share in its row; a row of zeros has a column of its own."""
    if (rows < 0).any():
        raise ValueError("metric='hellinger' compares shares, and some values are negative; give another metric")
    sums = rows.sum(axis=1, keepdims=True, dtype=np.float64)
    roots = np.zeros((len(rows), rows.shape[1] + 1), rows.dtype)
    np.sqrt(rows / np.where(sums > 0, sums, 1), out=roots[:, :-1], casting="same_kind")
    roots[:, -1] = sums[:, 0] == 0
    return roots


def pair_distances(
    rows: Rows,
    others: Rows,
    metric: str,
    metric_kwds: Mapping[str, Any] | None = None,
    *,
    function: Callable[..., float] | None = None,
) -> NDArray[np.float64]:
    """Return the distance of each row of ``rows`` to the row of ``others`` beside it.

    Parameters
    ----------
    rows, others
        ``(n, n_features)``.
    metric_kwds
        As `vicinal.contract.metrics.checked_kwds` returns them.
    function
        The metric itself, ``(x, y) -> distance``, where it is a function.

    Returns
    -------
    float64 ``(n,)``.

    Raises
    ------
    ValueError
        If the metric is unknown, or the rows cannot be compared by it.
    """
    rows, others = np.asarray(rows, np.float64), np.asarray(others, np.float64)
    space = space_of(metric, metric_kwds) if function is None else None
    if space is not None:
        return space.factor * _between(space.of_rows(rows), space.of_rows(others), space.metric)
    if function is None and metric in binary.METRICS:
        a, b = rows != 0, others != 0
        counts = (a & b).sum(axis=1), a.sum(axis=1), b.sum(axis=1)
        return binary.binary_distances(metric, *counts, rows.shape[1])
    measure = matrix_of(metric, metric_kwds, function)
    return np.array([measure(a[None], b[None])[0, 0] for a, b in zip(rows, others, strict=True)], dtype=np.float64)


def _between(a: NDArray[np.float64], b: NDArray[np.float64], metric: str) -> NDArray[np.float64]:
    if metric == "manhattan":
        return np.abs(a - b).sum(axis=1)
    if metric == "cosine":
        lengths = np.linalg.norm(a, axis=1), np.linalg.norm(b, axis=1)
        both = (lengths[0] > 0) & (lengths[1] > 0)
        near = (lengths[0] == 0) & (lengths[1] == 0)
        units = [x / np.where(length > 0, length, 1)[:, None] for x, length in zip((a, b), lengths, strict=True)]
        return np.where(both, 0.5 * np.square(units[0] - units[1]).sum(axis=1), np.where(near, 0.0, 1.0))
    return np.sqrt(np.square(a - b).sum(axis=1))


def is_known(metric: str) -> bool:
    """Return whether distances by a metric of this name can be computed, given the arguments that it needs."""
    return metric in (*COORDINATES, *MINKOWSKI, *SYNONYMS, *binary.METRICS) or metric in _of_libraries()


@functools.cache
def _of_libraries() -> frozenset[str]:
    from sklearn.neighbors import VALID_METRICS

    return frozenset(VALID_METRICS["brute"]) - {"precomputed", "nan_euclidean"} | frozenset(_of_pynndescent())


def _of_pynndescent() -> Mapping[str, Callable[..., float]]:
    """Return the functions of pynndescent that need no more than two rows."""
    try:
        from pynndescent.distances import named_distances
    except ImportError:
        return {}
    need_more = {"bit_hamming", "bit_jaccard", "kantorovich", "wasserstein", "sinkhorn"} | {
        *MINKOWSKI,
        *SEUCLIDEAN,
        *MAHALANOBIS,
    }
    return {name: function for name, function in named_distances.items() if name not in need_more}


def matrix_of(
    metric: str, kwds: Mapping[str, Any] | None = None, function: Callable[..., float] | None = None
) -> Callable[[Rows, Rows], NDArray[np.float64]]:
    """Return what computes the distances ``(m, n)`` between all rows of two arrays.

    Raises
    ------
    ValueError
        If no library here knows the metric.
    """
    if function is not None:
        return functools.partial(_all_by_function, function)
    if metric in binary.METRICS:
        return functools.partial(_all_binary, metric)
    from sklearn.metrics import pairwise_distances
    from sklearn.neighbors import VALID_METRICS

    known = "minkowski" if metric in MINKOWSKI else SYNONYMS.get(metric, metric)
    if known in VALID_METRICS["brute"]:
        given = {name: np.asarray(value) if name == "w" else value for name, value in (kwds or {}).items()}
        return lambda a, b: np.asarray(pairwise_distances(a, b, metric=known, **given), np.float64)
    others = _of_pynndescent()
    if metric not in others:
        raise ValueError(f"metric={metric!r} is unknown; no distances can be computed")
    return functools.partial(_all_by_function, others[metric])


def _all_binary(metric: str, a: Rows, b: Rows) -> NDArray[np.float64]:
    from scipy import sparse

    first, second = sparse.csr_matrix(a != 0, dtype=np.float32), sparse.csr_matrix(b != 0, dtype=np.float32)
    both = (first @ second.T).toarray()
    n_first, n_second = np.diff(first.indptr).astype(np.float64), np.diff(second.indptr).astype(np.float64)
    return binary.binary_distances(metric, both, n_first[:, None], n_second[None], a.shape[1])


def _all_by_function(function: Callable[..., float], a: Rows, b: Rows) -> NDArray[np.float64]:
    found = np.empty((len(a), len(b)))
    fill = _filler()
    # Functions are compiled for the rows that searches hand them: read-write arrays of float32.
    if fill is not None and hasattr(function, "py_func"):
        fill(function, np.require(a, np.float32, ["C", "W"]), np.require(b, np.float32, ["C", "W"]), found)
    else:
        found[:] = [[function(x, y) for y in b] for x in a]
    return found


@functools.cache
def _filler() -> Any:
    import numba

    @numba.njit(nogil=True)
    def fill(function, a, b, found):
        for i in range(len(a)):
            for j in range(len(b)):
                found[i, j] = function(a[i], b[j])

    return fill
