"""Exact neighbours by metrics of what is there and what is not: sparse products in place of dense comparisons."""

from __future__ import annotations

import logging
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import MISSING, Neighbors
from vicinal.contract.requests import KnnRequest

from .tables import check_columns

if TYPE_CHECKING:
    from scipy import sparse

PAIRS_AT_ONCE = 2**21
"""Pairs of rows that a thread compares at a time."""

logger = logging.getLogger("vicinal")


class BinaryIndex:
    """Rows as what is not zero in them; ties go to the smaller index."""

    def __init__(self, request: KnnRequest) -> None:
        assert request.representation is not None
        self._request = request
        rows = request.representation
        self._shape = rows.shape
        if not _is_binary(rows):
            logger.info("metric=%r: every value that is not zero counts as there, whatever it is", request.metric)
        self._there = _there(rows)

    def neighbors(self) -> Neighbors:
        """Return the neighbours of the reference rows among themselves."""
        return self._nearest(self._there, self._request.k, leave_out_self=True)

    def query(self, rows: NDArray[np.float32], k: int) -> Neighbors:
        """Return the ``k`` reference rows nearest to each of ``rows``."""
        check_columns(rows, self._shape[1])
        return self._nearest(_there(rows), k, leave_out_self=False)

    @cached_property
    def _columns(self) -> sparse.csr_matrix:
        return self._there.T.tocsr()

    def _nearest(self, asking: sparse.csr_matrix, k: int, *, leave_out_self: bool) -> Neighbors:
        from vicinal.kernels.binary import binary_distances
        from vicinal.kernels.parallel import over_rows

        n_rows, n_reference = asking.shape[0], self._shape[0]
        indices = np.full((n_rows, k), MISSING, np.int32)
        distances = np.full((n_rows, k), np.inf, np.float32)
        columns, kept = self._columns, min(k, n_reference - leave_out_self)
        counts = [np.diff(matrix.indptr).astype(np.float64) for matrix in (asking, self._there)]

        def search(start: int, stop: int) -> None:
            both = (asking[start:stop] @ columns).toarray()
            found = binary_distances(
                self._request.metric, both, counts[0][start:stop, None], counts[1][None], self._shape[1]
            )
            if leave_out_self:
                found[np.arange(stop - start), np.arange(start, stop)] = np.inf
            near = _smallest(found, kept)
            indices[start:stop, :kept] = near
            distances[start:stop, :kept] = np.take_along_axis(found, near, axis=1)

        over_rows(search, n_rows, self._request.n_jobs, chunk=max(1, PAIRS_AT_ONCE // n_reference))
        return Neighbors(indices=indices, distances=distances, metric=self._request.metric)


def _there(rows: NDArray[np.float32]) -> sparse.csr_matrix:
    from scipy import sparse

    return sparse.csr_matrix(rows != 0, dtype=np.float32)  # whole numbers up to 2**24 are exact


def _is_binary(rows: NDArray[np.float32]) -> bool:
    step = max(1, 2**22 // rows.shape[1])
    parts = (rows[start : start + step] for start in range(0, len(rows), step))
    return all(bool(((part == 0) | (part == 1)).all()) for part in parts)


def _smallest(found: NDArray[np.float64], k: int) -> NDArray[np.intp]:
    """Return the columns of the ``k`` smallest values of each row; of equal values the first."""
    if k == 0:
        return np.empty((len(found), 0), np.intp)
    limit = np.partition(found, k - 1, axis=1)[:, k - 1]
    nearest = np.empty((len(found), k), np.intp)
    for i, row in enumerate(found):
        candidates = np.flatnonzero(row <= limit[i])
        nearest[i] = candidates[np.argsort(row[candidates], kind="stable")[:k]]
    return nearest
