"""Exact neighbours by metrics of what is there and what is not: columns in common are counted."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import Neighbors
from vicinal.contract.requests import KnnRequest

from .tables import check_columns

if TYPE_CHECKING:
    from vicinal.kernels.binary_nearest import There

logger = logging.getLogger("vicinal")


class BinaryIndex:
    """Rows as what is not zero in them; ties go to the smaller index."""

    def __init__(self, request: KnnRequest) -> None:
        from vicinal.kernels.binary_nearest import COUNTS_AS_THERE, There, is_binary

        assert request.representation is not None
        self._request = request
        rows = request.representation
        self._shape = rows.shape
        if not is_binary(rows):
            logger.info("metric=%r: %s", request.metric, COUNTS_AS_THERE)
        self._there = There.of(rows)

    def neighbors(self) -> Neighbors:
        """Return the neighbours of the reference rows among themselves."""
        return self._nearest(self._there, self._request.k, leave_out_self=True)

    def query(self, rows: NDArray[np.float32], k: int) -> Neighbors:
        """Return the ``k`` reference rows nearest to each of ``rows``."""
        from vicinal.kernels.binary_nearest import There

        check_columns(rows, self._shape[1])
        return self._nearest(There.of(rows), k, leave_out_self=False)

    def _nearest(self, asking: There, k: int, *, leave_out_self: bool) -> Neighbors:
        from vicinal.kernels.binary_nearest import nearest_binary

        indices, distances = nearest_binary(
            self._request.metric, asking, self._there, k, leave_out_self=leave_out_self, n_jobs=self._request.n_jobs
        )
        return Neighbors(indices=indices, distances=distances.astype(np.float32), metric=self._request.metric)
