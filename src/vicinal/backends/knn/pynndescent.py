"""Approximate nearest neighbours by pynndescent."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import MISSING, Neighbors
from vicinal.contract.errors import InputError
from vicinal.contract.metrics import MINKOWSKI
from vicinal.contract.requests import KnnRequest
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities, NoParams

from .tables import check_columns, tidy, unknown_metric

EPSILON = 0.24
"""How far beyond the k-th distance a query searches: the wider of umap-learn's two values."""

PACKED = {"bit_hamming", "bit_jaccard"}
"""pynndescent's metrics that read packed bits instead of features."""

WEIGHTED = {"seuclidean", "standardised_euclidean", "wminkowski", "weighted_minkowski", "mahalanobis"} | {
    "kantorovich",
    "wasserstein",
    "sinkhorn",
}
"""Those that need weights or costs; without, they read two of each and then foreign memory."""

UNUSABLE = PACKED | WEIGHTED

SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="knn",
    name="pynndescent",
    target="vicinal.backends.knn.pynndescent:Backend",
    summary="Approximate, by nearest neighbour descent; any metric of pynndescent",
    capabilities=Capabilities(inputs=("representation",), out_of_sample=True, metric_kwds=True),
    requires=("pynndescent",),
    install="pip install pynndescent",
    cite=(
        "Dong, Charikar, Li (2011). Efficient k-nearest neighbor graph construction for generic similarity measures.",
    ),
)

logger = logging.getLogger("vicinal")
# Its parallel kernels may abort the process when two Python threads enter them at once.
_one_at_a_time = threading.Lock()


class Backend:
    """Nearest neighbour descent with the settings umap-learn uses."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def build(self, request: KnnRequest) -> DescentIndex:
        """Return an index over ``request.representation``.

        Raises
        ------
        InputError
            If the metric is unknown to pynndescent.
        """
        self.check_metric(request.metric, request.metric_function)
        return DescentIndex(request)

    def check_metric(self, metric: str, function: Callable[..., float] | None = None) -> None:
        """Raise `InputError` for a name that is unknown to pynndescent, or does not do with two rows."""
        if function is not None:
            return
        allowed = known_metrics()
        if metric not in allowed:
            raise InputError(unknown_metric(metric, "pynndescent", allowed))


def known_metrics() -> set[str]:
    """Return the names of the metrics that two rows are enough for."""
    from pynndescent.distances import named_distances

    return set(named_distances) - UNUSABLE


class DescentIndex:
    """A pynndescent index."""

    def __init__(self, request: KnnRequest) -> None:
        assert request.representation is not None
        self._request = request
        self._shape = request.representation.shape
        with _guarded():
            self._index = _descend(request)
            indices, distances = self._index.neighbor_graph
        self._table = tidy(indices, np.maximum(distances, 0), request.k, metric=request.metric, leave_out_self=True)
        _log_missing(self._table)

    def neighbors(self) -> Neighbors:
        """Return the neighbours of the reference rows among themselves."""
        return self._table

    def query(self, rows: NDArray[np.float32], k: int) -> Neighbors:
        """Return the ``k`` reference rows nearest to each of ``rows``, as far as they are found."""
        check_columns(rows, self._shape[1])
        with _guarded():
            indices, distances = self._index.query(rows, k=min(k, self._shape[0]), epsilon=EPSILON)
        return tidy(indices, np.maximum(distances, 0), k, metric=self._request.metric, leave_out_self=False)


def _descend(request: KnnRequest) -> Any:
    import numba
    from pynndescent import NNDescent

    n_obs = request.n_obs
    return NNDescent(
        request.representation,
        n_neighbors=min(request.k + 1, n_obs),
        metric=request.metric_function or request.metric,
        metric_kwds=_kwds(request),
        n_trees=min(64, 5 + round(n_obs**0.5 / 20)),
        n_iters=max(5, round(np.log2(n_obs))),
        max_candidates=60,
        random_state=request.seed % 2**32,
        n_jobs=min(request.n_jobs, numba.config.NUMBA_NUM_THREADS),
    )


def _kwds(request: KnnRequest) -> dict[str, Any]:
    """Return the arguments of a metric: ``p`` of ``minkowski``, which are all that it takes safely."""
    if "w" in request.metric_kwds or request.metric not in MINKOWSKI:
        if request.metric_kwds:
            raise InputError(f"knn='pynndescent' takes no weights, for metric={request.metric!r}; give knn='exact'")
        return {}
    return {"p": float(request.metric_kwds.get("p", 2.0))}


@contextmanager
def _guarded() -> Iterator[None]:
    import numba

    with _one_at_a_time, warnings.catch_warnings():
        # It warns below a dozen rows although nothing is missing; `_log_missing` counts what is.
        warnings.filterwarnings("ignore", message="Failed to correctly find n_neighbors")
        n_threads = numba.get_num_threads()
        try:
            yield
        finally:
            numba.set_num_threads(n_threads)


def _log_missing(table: Neighbors) -> None:
    short = int((table.indices == MISSING).any(axis=1).sum())
    if short:
        logger.warning("pynndescent found fewer than %d neighbours for %d of %d cells", table.k, short, table.n_obs)
