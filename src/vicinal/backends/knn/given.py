"""Neighbours that the user brings as arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vicinal.contract.data import MISSING, Neighbors
from vicinal.contract.errors import InputError
from vicinal.contract.requests import KnnRequest
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities

from .tables import tidy

ROUNDING = 1e-6
"""Share of the largest distance by which one may be negative: what 1 - cosine rounds to."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Params:
    """Parameters of `given`.

    Attributes
    ----------
    indices
        ``(n_obs, width)`` integers: rows of the neighbours in any order, the cell itself among them or not;
        -1, or the largest value of an unsigned type, where there is none.
    distances
        ``(n_obs, width)``: their distances; infinite or NaN where there is no neighbour.
    """

    indices: ArrayLike | None = None
    distances: ArrayLike | None = None


SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="knn",
    name="given",
    target="vicinal.backends.knn.given:Backend",
    summary="Neighbours given as arrays of indices and distances",
    params=Params,
    capabilities=Capabilities(inputs=("given_neighbors",), deterministic=True),
)


class Backend:
    """Checks the arrays and brings them into the form all neighbours have."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def build(self, request: KnnRequest) -> GivenIndex:
        """Return the arrays as an index.

        Raises
        ------
        InputError
            If the arrays' shapes, an index or a distance cannot be.
        """
        indices, distances = _arrays(self.params, request.n_obs)
        _check_values(indices, distances, request.n_obs)
        distances = np.where(distances < 0, 0.0, distances)  # what is left of these is rounding
        return GivenIndex(tidy(indices, distances, request.k, metric=request.metric, leave_out_self=True))


class GivenIndex:
    """A finished table."""

    def __init__(self, table: Neighbors) -> None:
        self._table = table

    def neighbors(self) -> Neighbors:
        """Return the table."""
        return self._table

    def query(self, rows: NDArray[np.float32], k: int) -> Neighbors:
        """Raise `InputError`: arrays answer for no other rows."""
        msg = (
            "knn=(indices, distances) has neighbours for its own rows only and cannot place new ones; "
            "use a knn backend with an index, such as knn='exact'"
        )
        raise InputError(msg)


def _arrays(params: Params, n_obs: int) -> tuple[NDArray[np.int64], NDArray[np.floating]]:
    if params.indices is None or params.distances is None:
        raise InputError("knn='given' needs both arrays; give knn=(indices, distances)")
    try:
        indices, distances = np.asarray(params.indices), np.asarray(params.distances)
    except ValueError as error:
        raise InputError("knn: rows have different lengths; fill short rows with index -1") from error
    if indices.ndim != 2 or indices.shape != distances.shape:
        msg = (
            f"knn: indices has shape {indices.shape} and distances {distances.shape}; "
            "both must be the same (n_obs, n_neighbors); fill short rows with index -1"
        )
        raise InputError(msg)
    if len(indices) != n_obs:
        msg = f"knn: indices and distances have {len(indices)} rows but there are {n_obs} cells; give one row a cell"
        raise InputError(msg)
    if not np.can_cast(distances.dtype, np.float64):
        raise InputError(f"knn: distances must be real numbers; given: {distances.dtype}")
    return _signed(indices), distances.astype(np.float64, copy=False)


def _signed(indices: np.ndarray) -> NDArray[np.int64]:
    if indices.dtype.kind == "u":
        return np.where(indices == np.iinfo(indices.dtype).max, MISSING, indices.astype(np.int64))
    if indices.dtype.kind == "f":
        known = np.isfinite(indices)
        whole = np.where(known, indices, MISSING).astype(np.int64)
        if np.any(whole[known] != indices[known]):
            raise InputError(
                "knn: indices must be whole numbers; the first array holds the indices, the second the distances"
            )
        return whole
    if indices.dtype.kind != "i":
        raise InputError(f"knn: indices must be integers; given: {indices.dtype}")
    return indices.astype(np.int64)


def _check_values(indices: NDArray[np.int64], distances: NDArray[np.floating], n_obs: int) -> None:
    present = (indices != MISSING) & ~np.isnan(distances) & (distances != np.inf)
    outside = present & ((indices < 0) | (indices >= n_obs))
    if outside.any():
        row, column = np.argwhere(outside)[0]
        msg = (
            f"knn: {outside.sum()} indices are out of range, the first is {indices[row, column]} in row {row}; "
            f"allowed are 0 to {n_obs - 1}, and -1 for no neighbour"
        )
        raise InputError(msg)
    largest = float(distances[present].max(initial=0.0))
    negative = present & (distances < -ROUNDING * largest)
    if negative.any():
        row, column = np.argwhere(negative)[0]
        msg = (
            f"knn: {negative.sum()} distances are negative, the first is {distances[row, column]} in row {row}; "
            "distances must be 0 or more; similarities must be turned into distances first"
        )
        raise InputError(msg)
