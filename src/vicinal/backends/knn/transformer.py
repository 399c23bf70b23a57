"""Nearest neighbours by any transformer with scikit-learn's interface."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vicinal.contract.data import Neighbors
from vicinal.contract.errors import InputError
from vicinal.contract.requests import KnnRequest
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities
from vicinal.kernels.csr import structure_flaw

from .tables import check_columns, from_sparse

logger = logging.getLogger("vicinal")


@dataclass(frozen=True, kw_only=True, eq=False)
class Params:
    """Parameters of `transformer`.

    Attributes
    ----------
    estimator
        An object like scikit-learn's ``KNeighborsTransformer``: ``fit_transform`` returns a sparse matrix of
        distances. It is cloned and keeps its own settings: its metric and its number of neighbours hold.
    """

    estimator: Any = None


SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="knn",
    name="transformer",
    target="vicinal.backends.knn.transformer:Backend",
    summary="Any object like scikit-learn's KNeighborsTransformer",
    params=Params,
    capabilities=Capabilities(inputs=("representation", "transformer"), out_of_sample=True),
    requires=("sklearn",),
    install="pip install scikit-learn",
)


class Backend:
    """Fits a clone of the user's object."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def build(self, request: KnnRequest) -> TransformerIndex:
        """Return the fitted clone as an index.

        Raises
        ------
        InputError
            If the object is no transformer, or what it returns is not a matrix of distances.
        """
        from sklearn.base import clone

        _check_estimator(self.params.estimator)
        return TransformerIndex(clone(self.params.estimator, safe=False), request)


class TransformerIndex:
    """A fitted transformer."""

    def __init__(self, estimator: Any, request: KnnRequest) -> None:
        assert request.representation is not None
        self._estimator = estimator
        self._shape = request.representation.shape
        metric = getattr(estimator, "metric", None)
        self._metric = metric if isinstance(metric, str) else request.metric
        shape = (request.n_obs, request.n_obs)
        # A single cell has no neighbours, and scikit-learn refuses to look for none.
        found = estimator.fit_transform(request.representation) if request.k else sparse.csr_matrix(shape)
        matrix = _distance_matrix(estimator, found, shape)
        self._table = from_sparse(matrix, request.k, metric=self._metric, leave_out_self=True)
        _log_short(self._table, estimator)

    def neighbors(self) -> Neighbors:
        """Return the neighbours of the reference rows among themselves."""
        return self._table

    def query(self, rows: NDArray[np.float32], k: int) -> Neighbors:
        """Return up to ``k`` reference rows nearest to each of ``rows``: as many as the transformer gives."""
        check_columns(rows, self._shape[1])
        if not hasattr(self._estimator, "transform"):
            raise InputError(f"knn: {type(self._estimator).__name__} has no method transform and cannot place new rows")
        matrix = _distance_matrix(self._estimator, self._estimator.transform(rows), (len(rows), self._shape[0]))
        return from_sparse(matrix, k, metric=self._metric, leave_out_self=False)


def _check_estimator(estimator: Any) -> None:
    if isinstance(estimator, type) or not callable(getattr(estimator, "fit_transform", None)):
        given = estimator.__name__ if isinstance(estimator, type) else type(estimator).__name__
        msg = (
            f"knn: estimator must be an object with a method fit_transform, such as "
            f"sklearn.neighbors.KNeighborsTransformer(n_neighbors=15); given: {given}"
        )
        raise InputError(msg)
    if getattr(estimator, "mode", "distance") != "distance":
        raise InputError(f"knn: {type(estimator).__name__} has mode={estimator.mode!r}; it must be 'distance'")


def _distance_matrix(estimator: Any, matrix: Any, shape: tuple[int, int]) -> sparse.csr_matrix:
    if not sparse.issparse(matrix) or matrix.shape != shape:
        given = f"{type(matrix).__name__} of shape {np.shape(matrix)}"
        raise InputError(
            f"knn: {type(estimator).__name__} must return a sparse matrix of shape {shape}; given: {given}"
        )
    matrix = matrix if matrix.format in ("csr", "csc", "coo") else matrix.tocoo()
    if flaw := structure_flaw(matrix):
        raise InputError(f"knn: {type(estimator).__name__} returned a damaged {matrix.format.upper()} matrix: {flaw}")
    if matrix.nnz and not matrix.data.min() >= 0:
        raise InputError(f"knn: {type(estimator).__name__} returned distances that are negative or NaN")
    return sparse.csr_matrix(matrix)


def _log_short(table: Neighbors, estimator: Any) -> None:
    found = int((table.indices >= 0).sum(axis=1).max(initial=0))
    if found < table.k:
        logger.warning(
            "%s gives at most %d neighbours a cell, %d were asked for; raise its n_neighbors",
            type(estimator).__name__,
            found,
            table.k,
        )
