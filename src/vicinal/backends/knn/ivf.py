"""Approximate nearest neighbours in the clusters nearest to each row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vicinal.backends.checks import require_count
from vicinal.contract.data import Neighbors
from vicinal.contract.errors import InputError
from vicinal.contract.metrics import MAHALANOBIS, MINKOWSKI, SEUCLIDEAN
from vicinal.contract.requests import KnnRequest
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities

from .tables import check_columns, coordinates_in, unknown_metric

if TYPE_CHECKING:
    from vicinal.kernels.ivf import Index

METRICS = ("euclidean", "l2", "cosine", "correlation", "hellinger", *SEUCLIDEAN, *MAHALANOBIS, *MINKOWSKI)
"""The metrics it has, by all their names: those that are Euclidean or cosine distances between some coordinates."""

QUERIES_PROBE = 2
"""Times ``n_probe`` for new rows: no neighbours of neighbours make up for what their clusters lack."""


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of `ivf`.

    Attributes
    ----------
    n_probe
        Clusters, of about 256 cells, in which each cell looks for neighbours besides its own: more find more of the
        true neighbours and take longer.
    """

    n_probe: int = 32


SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="knn",
    name="ivf",
    target="vicinal.backends.knn.ivf:Backend",
    summary="Approximate, for large data: nearest clusters, then neighbours of neighbours; euclidean, cosine and kin",
    params=Params,
    capabilities=Capabilities(
        inputs=("representation",), metrics=METRICS, deterministic=True, out_of_sample=True, metric_kwds=True
    ),
    cite=("Sivic, Zisserman (2003). Video Google: a text retrieval approach to object matching in videos.",),
)


class Backend:
    """Compares each row with those in the nearest clusters.

    Clusters are found by k-means on a sample (an inverted file, Sivic and Zisserman 2003); then the neighbours of a
    row's neighbours are looked at once (Dong, Charikar, Li 2011). Distances are sums of direct differences.
    """

    def __init__(self, params: Params) -> None:
        require_count("n_probe", params.n_probe)
        self.params = params

    def build(self, request: KnnRequest) -> ClusteredIndex:
        """Return an index over ``request.representation``.

        Raises
        ------
        InputError
            If the metric is not among those it has.
        """
        self.check_metric(request.metric, request.metric_function)
        return ClusteredIndex(request, int(self.params.n_probe))

    def check_metric(self, metric: str, function: Callable[..., float] | None = None) -> None:
        """Raise `InputError` for a function, or a metric that it does not have."""
        if function is not None:
            raise InputError(f"metric={metric!r} is a function, which knn='ivf' cannot use; give knn='pynndescent'")
        if metric not in METRICS:
            raise InputError(f"{unknown_metric(metric, 'ivf', METRICS)}. Give knn='exact' for others")


class ClusteredIndex:
    """Rows in clusters."""

    def __init__(self, request: KnnRequest, n_probe: int) -> None:
        from vicinal.kernels.ivf import Index
        from vicinal.kernels.metrics import space_of

        assert request.representation is not None
        space = space_of(request.metric, request.metric_kwds)
        if space is None or space.metric == "manhattan":
            msg = "knn='ivf' has metric='minkowski' with p=2 alone; give knn='exact' for others"
            raise InputError(msg)
        self._request, self._space = request, space
        self._n_probe = n_probe
        self._shape = request.representation.shape
        self._index: Index = Index.build(
            coordinates_in(space, request.representation), space.metric, seed=request.seed, n_jobs=request.n_jobs
        )

    def neighbors(self) -> Neighbors:
        """Return the neighbours of the reference rows among themselves."""
        k, n_jobs = self._request.k, self._request.n_jobs
        return self._table(*self._index.neighbors(k, self._n_probe, n_jobs=n_jobs))

    def query(self, rows: NDArray[np.float32], k: int) -> Neighbors:
        """Return ``k`` reference rows near to each of ``rows``, a function of each row alone."""
        check_columns(rows, self._shape[1])
        n_probe, n_jobs = QUERIES_PROBE * self._n_probe, self._request.n_jobs
        return self._table(*self._index.query(coordinates_in(self._space, rows), k, n_probe, n_jobs=n_jobs))

    def _table(self, indices: NDArray[np.int32], distances: NDArray[np.float32]) -> Neighbors:
        found = self._space.distances(distances)
        return Neighbors(indices=indices, distances=found, metric=self._request.metric)
