"""Exact nearest neighbours: all pairs, or all that bounds on their distances leave."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import MISSING, Neighbors
from vicinal.contract.errors import InputError
from vicinal.contract.metrics import MINKOWSKI
from vicinal.contract.requests import KnnRequest
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities, NoParams
from vicinal.contract.stages import KnnIndex

from .binary import BinaryIndex
from .tables import check_columns, coordinates_in, unknown_metric

if TYPE_CHECKING:
    from vicinal.kernels.knn import Reference
    from vicinal.kernels.metrics import Space

UNUSABLE = {"precomputed", "nan_euclidean"}
"""scikit-learn's metrics that are not of two rows."""

SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="knn",
    name="exact",
    target="vicinal.backends.knn.exact:Backend",
    summary="Exact; any metric of scikit-learn, fastest for euclidean and cosine, then manhattan",
    capabilities=Capabilities(inputs=("representation",), deterministic=True, out_of_sample=True, metric_kwds=True),
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
        from vicinal.kernels.binary import METRICS as BINARY
        from vicinal.kernels.metrics import space_of

        self.check_metric(request.metric, request.metric_function)
        if request.metric in BINARY:
            return BinaryIndex(request)
        space = space_of(request.metric, request.metric_kwds)
        return CompiledIndex(request, space) if space is not None else PairwiseIndex(request)

    def check_metric(self, metric: str, function: Callable[..., float] | None = None) -> None:
        """Raise `InputError` for a function, or a metric that is unknown."""
        if function is not None:
            raise InputError(f"metric={metric!r} is a function, which knn='exact' cannot use; give knn='pynndescent'")
        if not is_known(metric):
            raise InputError(unknown_metric(metric, "exact", known_metrics()))


class CompiledIndex:
    """The metrics with a kernel of our own: sums of direct differences, so equal rows are at distance 0."""

    def __init__(self, request: KnnRequest, space: Space) -> None:
        assert request.representation is not None
        self._request, self._space, self._metric = request, space, space.metric
        self._n_features = request.representation.shape[1]
        rows = coordinates_in(space, request.representation)
        self._n_rows, self._defined = len(rows), self._defined_among(rows)
        self._rows = rows if self._defined is None else rows[self._defined]

    def neighbors(self) -> Neighbors:
        """Return the neighbours of the reference rows among themselves."""
        from vicinal.kernels.pruned import all_neighbors

        found = all_neighbors(self._rows, self._request.k, self._metric, n_jobs=self._request.n_jobs)
        return self._table(found, self._n_rows, self._defined)

    def query(self, rows: NDArray[np.float32], k: int) -> Neighbors:
        """Return the ``k`` reference rows nearest to each of ``rows``."""
        from vicinal.kernels.knn import nearest_rows
        from vicinal.kernels.pruned import clusters_pay, nearest_members

        check_columns(rows, self._n_features)
        every, rows = rows, coordinates_in(self._space, rows)
        defined = self._defined_among(rows)
        rows = rows if defined is None else rows[defined]
        if clusters_pay(len(self._rows), len(rows), self._metric):
            found = nearest_members(self._rows, rows, k, self._metric, n_jobs=self._request.n_jobs)
        else:
            found = nearest_rows(self._reference, rows, k, n_jobs=self._request.n_jobs)
        return self._table(found, len(every), defined)

    def _defined_among(self, rows: NDArray[np.floating]) -> NDArray[np.intp] | None:
        """Return which rows have distances; None for all."""
        undefined = None if self._space.is_undefined is None else self._space.is_undefined(rows)
        return None if undefined is None or not undefined.any() else np.flatnonzero(~undefined)

    @functools.cached_property
    def _reference(self) -> Reference:
        from vicinal.kernels.knn import Reference

        return Reference.pack(self._rows, self._metric)

    def _table(
        self, found: tuple[NDArray[np.int32], NDArray[np.float32]], n_rows: int, defined: NDArray[np.intp] | None
    ) -> Neighbors:
        indices, distances = found[0], self._space.distances(found[1])
        if self._defined is not None:
            names = np.append(self._defined, MISSING).astype(np.int32)  # -1 takes the last
            indices = names[indices]
        if defined is not None:
            shape = (n_rows, indices.shape[1])
            some = indices, distances
            indices, distances = np.full(shape, MISSING, np.int32), np.full(shape, np.inf, np.float32)
            indices[defined], distances[defined] = some
        return Neighbors(indices=indices, distances=distances, metric=self._request.metric)


class PairwiseIndex:
    """Any other metric, by scikit-learn; rows whose distance is undefined are no neighbours."""

    def __init__(self, request: KnnRequest) -> None:
        assert request.representation is not None
        self._request = request
        self._rows = request.representation
        self._kwds = {name: np.asarray(v) if name == "w" else v for name, v in request.metric_kwds.items()}

    def neighbors(self) -> Neighbors:
        """Return the neighbours of the reference rows among themselves."""
        return self._nearest(self._rows, self._request.k, leave_out_self=True)

    def query(self, rows: NDArray[np.float32], k: int) -> Neighbors:
        """Return the ``k`` reference rows nearest to each of ``rows``."""
        check_columns(rows, self._rows.shape[1])
        return self._nearest(rows, k, leave_out_self=False)

    def _nearest(self, rows: NDArray[np.float32], k: int, *, leave_out_self: bool) -> Neighbors:
        from sklearn.metrics import pairwise_distances_chunked

        from vicinal.kernels.metrics import SYNONYMS

        indices = np.full((len(rows), k), MISSING, np.int32)
        distances = np.full((len(rows), k), np.inf, np.float32)
        kept, metric = min(k, len(self._rows)), self._request.metric

        def keep_nearest(chunk: np.ndarray, start: int) -> None:
            if leave_out_self:
                chunk[np.arange(len(chunk)), start + np.arange(len(chunk))] = np.inf
            chunk[np.isnan(chunk)] = np.inf
            order = np.argsort(chunk, axis=1, kind="stable")[:, :kept]
            near = np.maximum(np.take_along_axis(chunk, order, axis=1), 0)
            indices[start : start + len(chunk), :kept] = np.where(np.isinf(near), MISSING, order)
            distances[start : start + len(chunk), :kept] = near

        for _ in pairwise_distances_chunked(
            rows,
            self._rows,
            metric="minkowski" if metric in MINKOWSKI else SYNONYMS.get(metric, metric),
            n_jobs=self._request.n_jobs,
            reduce_func=keep_nearest,
            **self._kwds,
        ):
            pass
        return Neighbors(indices=indices, distances=distances, metric=self._request.metric)


def is_known(metric: str) -> bool:
    """Return whether there is a kernel of our own for a metric, or scikit-learn computes it from two rows alone."""
    from vicinal.kernels.metrics import COORDINATES

    return metric in (*COORDINATES, *MINKOWSKI) or metric in known_metrics()


def known_metrics() -> set[str]:
    """Return the names of the metrics."""
    from sklearn.neighbors import VALID_METRICS

    from vicinal.kernels.binary import METRICS as BINARY
    from vicinal.kernels.metrics import COORDINATES, SYNONYMS

    return {*VALID_METRICS["brute"], *BINARY, *COORDINATES, *MINKOWSKI, *SYNONYMS} - UNUSABLE
