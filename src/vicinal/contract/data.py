"""What the stages hand to one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

Layout: TypeAlias = NDArray[np.float32]
"""Positions in the map, float32 ``(n_obs, n_components)``."""

MISSING = -1
"""Index of a neighbour that is not there; its distance is infinite."""
FARTHEST = 1e18
"""Largest coordinate of a layout: squared distances beyond are infinite as float32."""
MOST_EPOCHS = 10_000_000
"""More than any map takes; beyond, a run would only hang."""


@dataclass(frozen=True, kw_only=True)
class Neighbors:
    """Nearest neighbours of each row, nearest first, the row itself left out.

    Attributes
    ----------
    indices
        int32 ``(n_rows, k)``; ``-1`` where a row has fewer than ``k`` neighbours.
    distances
        float32 ``(n_rows, k)``; ``inf`` where the index is ``-1``.
    metric
        Name of the metric the distances are in.
    """

    indices: NDArray[np.int32]
    distances: NDArray[np.float32]
    metric: str = "euclidean"

    @property
    def n_obs(self) -> int:
        """Number of rows."""
        return self.indices.shape[0]

    @property
    def k(self) -> int:
        """Number of columns: neighbours a row can have."""
        return self.indices.shape[1]

    def nearest(self, k: int) -> Neighbors:
        """Return the first ``k`` columns."""
        return Neighbors(
            indices=np.ascontiguousarray(self.indices[:, :k]),
            distances=np.ascontiguousarray(self.distances[:, :k]),
            metric=self.metric,
        )

    def to_csr(self) -> sparse.csr_matrix:
        """Return the distances as a sparse ``(n_obs, n_obs)`` matrix, explicit zeros kept."""
        present = self.indices != MISSING
        indptr = np.concatenate([[0], np.cumsum(present.sum(axis=1))])
        shape = (self.n_obs, self.n_obs)
        matrix = sparse.csr_matrix((self.distances[present], self.indices[present], indptr), shape=shape)
        matrix.sort_indices()
        return matrix


@dataclass(frozen=True, kw_only=True)
class Graph:
    """A weighted graph over the cells, as compressed sparse rows.

    Attributes
    ----------
    indptr
        int32 or int64 ``(n_obs + 1,)``.
    indices
        int32 ``(n_edges,)``, sorted within a row.
    weights
        float32 ``(n_edges,)``, positive and finite.
    directed
        False: every edge is stored from both ends. True: only its owner moves.
    """

    indptr: NDArray[np.signedinteger]
    indices: NDArray[np.int32]
    weights: NDArray[np.float32]
    directed: bool = False

    @property
    def n_obs(self) -> int:
        """Number of vertices."""
        return len(self.indptr) - 1

    @classmethod
    def from_scipy(cls, matrix: sparse.spmatrix | sparse.sparray, *, directed: bool = False) -> Graph:
        """Take a scipy matrix without its diagonal and zeros; share its arrays where they are already so."""
        csr = sparse.csr_matrix(matrix)
        if not _is_canonical(csr):
            coo = csr.tocoo()
            keep = (coo.row != coo.col) & (coo.data != 0)
            csr = sparse.csr_matrix((coo.data[keep], (coo.row[keep], coo.col[keep])), shape=coo.shape)
            csr.sum_duplicates()
        weights = csr.data.astype(np.float32, copy=False)
        return cls(
            indptr=csr.indptr, indices=csr.indices.astype(np.int32, copy=False), weights=weights, directed=directed
        )

    def to_scipy(self) -> sparse.csr_matrix:
        """Return the graph as a scipy matrix that shares its arrays."""
        return sparse.csr_matrix((self.weights, self.indices, self.indptr), shape=(self.n_obs, self.n_obs))


def _is_canonical(csr: sparse.csr_matrix) -> bool:
    # The flags scipy keeps are set by looking, and looking may write them: work on a view of our own.
    view = sparse.csr_matrix((csr.data, csr.indices, csr.indptr), shape=csr.shape)
    return bool(view.has_canonical_format and (view.data != 0).all() and not view.diagonal().any())
