"""Exact nearest neighbours: all pairs, or all that bounds on their distances leave."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import MISSING, Neighbors
from vicinal.contract.errors import InputError, did_you_mean, listing
from vicinal.contract.requests import KnnRequest
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities, NoParams
from vicinal.contract.stages import KnnIndex

from .tables import check_columns

if TYPE_CHECKING:
    from vicinal.kernels.knn import Reference

OWN = ("euclidean", "cosine", "manhattan")
"""The metrics with a kernel of our own."""

SYNONYMS = {"l2": "euclidean", "l1": "manhattan", "cityblock": "manhattan"}
UNUSABLE = {"precomputed", "mahalanobis", "seuclidean", "nan_euclidean"}
"""scikit-learn's metrics that need more than two rows to be compared."""

SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="knn",
    name="exact",
    target="vicinal.backends.knn.exact:Backend",
    summary="Exact; any metric of scikit-learn, fastest for euclidean and cosine, then manhattan",
    capabilities=Capabilities(inputs=("representation",), deterministic=True, out_of_sample=True),
)


class Backend:
    """Finds what comparing every row with every other finds; ties go to the smaller index."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def build(self, request: KnnRequest) -> KnnIndex:
        """Return an index over ``request.representation``.

        Raises
        ------
        InputError
            If the metric is unknown.
        """
        from vicinal.kernels.knn import METRICS

        self.check_metric(request.metric, request.metric_function)
        metric = SYNONYMS.get(request.metric, request.metric)
        return CompiledIndex(request, metric) if metric in METRICS else PairwiseIndex(request)

    def check_metric(self, metric: str, function: Callable[..., float] | None = None) -> None:
        """Raise `InputError` for a function, or a metric that is unknown."""
        if function is not None:
            raise InputError(f"metric={metric!r} is a function, which knn='exact' cannot use; give knn='pynndescent'")
        if metric in OWN or is_known(metric):
            return
        known = _known()
        msg = f"metric={metric!r} is unknown to knn='exact'; allowed are {listing(known)}.{did_you_mean(metric, known)}"
        raise InputError(msg)


class CompiledIndex:
    """The metrics with a kernel of our own: sums of direct differences, so equal rows are at distance 0."""

    def __init__(self, request: KnnRequest, metric: str) -> None:
        assert request.representation is not None
        self._request = request
        self._rows = request.representation
        self._metric = metric

    def neighbors(self) -> Neighbors:
        """Return the neighbours of the reference rows among themselves."""
        from vicinal.kernels.pruned import all_neighbors

        return self._table(all_neighbors(self._rows, self._request.k, self._metric, n_jobs=self._request.n_jobs))

    def query(self, rows: NDArray[np.float32], k: int) -> Neighbors:
        """Return the ``k`` reference rows nearest to each of ``rows``."""
        from vicinal.kernels.knn import nearest_rows
        from vicinal.kernels.pruned import clusters_pay, nearest_members

        check_columns(rows, self._rows.shape[1])
        if clusters_pay(len(self._rows), len(rows), self._metric):
            found = nearest_members(self._rows, rows, k, self._metric, n_jobs=self._request.n_jobs)
        else:
            found = nearest_rows(self._reference, rows, k, n_jobs=self._request.n_jobs)
        return self._table(found)

    @functools.cached_property
    def _reference(self) -> Reference:
        from vicinal.kernels.knn import Reference

        return Reference.pack(self._rows, self._metric)

    def _table(self, found: tuple[NDArray[np.int32], NDArray[np.float32]]) -> Neighbors:
        return Neighbors(indices=found[0], distances=found[1], metric=self._request.metric)


class PairwiseIndex:
    """Any other metric, by scikit-learn; rows whose distance is undefined are no neighbours."""

    def __init__(self, request: KnnRequest) -> None:
        assert request.representation is not None
        self._request = request
        self._rows = request.representation

    def neighbors(self) -> Neighbors:
        """Return the neighbours of the reference rows among themselves."""
        return self._nearest(self._rows, self._request.k, leave_out_self=True)

    def query(self, rows: NDArray[np.float32], k: int) -> Neighbors:
        """Return the ``k`` reference rows nearest to each of ``rows``."""
        check_columns(rows, self._rows.shape[1])
        return self._nearest(rows, k, leave_out_self=False)

    def _nearest(self, rows: NDArray[np.float32], k: int, *, leave_out_self: bool) -> Neighbors:
        from sklearn.metrics import pairwise_distances_chunked

        indices = np.full((len(rows), k), MISSING, np.int32)
        distances = np.full((len(rows), k), np.inf, np.float32)
        kept = min(k, len(self._rows))

        def keep_nearest(chunk: np.ndarray, start: int) -> None:
            if leave_out_self:
                chunk[np.arange(len(chunk)), start + np.arange(len(chunk))] = np.inf
            chunk[np.isnan(chunk)] = np.inf
            order = np.argsort(chunk, axis=1, kind="stable")[:, :kept]
            near = np.maximum(np.take_along_axis(chunk, order, axis=1), 0)
            indices[start : start + len(chunk), :kept] = np.where(np.isinf(near), MISSING, order)
            distances[start : start + len(chunk), :kept] = near

        for _ in pairwise_distances_chunked(
            rows, self._rows, metric=self._request.metric, n_jobs=self._request.n_jobs, reduce_func=keep_nearest
        ):
            pass
        return Neighbors(indices=indices, distances=distances, metric=self._request.metric)


def is_known(metric: str) -> bool:
    """Return whether there is a kernel of our own for a metric, or scikit-learn computes it from two rows alone."""
    return metric in OWN or metric in _known()


def _known() -> set[str]:
    from sklearn.neighbors import VALID_METRICS

    return set(VALID_METRICS["brute"]) - UNUSABLE
