"""The fuzzy simplicial set: memberships that fall with distance, from each cell's own bandwidth."""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass

import numpy as np

from vicinal.backends.checks import require_flag, require_number
from vicinal.contract.data import MISSING, Graph, Neighbors
from vicinal.contract.requests import GraphRequest
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities

from .supervision import supervised

FARTHEST = {"correlation": 2.0, "cosine": 2.0, "hellinger": 1.0, "jaccard": 1.0, "bit_jaccard": 1.0, "dice": 1.0}
"""Largest value of the bounded metrics: cells that far apart have nothing in common."""

logger = logging.getLogger("vicinal")


@dataclass(frozen=True, kw_only=True)
class FuzzyParams:
    """Parameters of the fuzzy graph.

    Attributes
    ----------
    local_connectivity
        Neighbours, duplicates not counted, that a cell is joined to with weight 1; between two integers the
        distance is interpolated.
    set_op_mix_ratio
        1: a pair is joined if either cell counts the other among its neighbours (fuzzy union). 0: only if both do
        (intersection). Between: a mixture.
    symmetrize
        False keeps each cell's own memberships: a directed graph, in which only the edge's owner moves.
    disconnection_distance
        Neighbours at this distance or beyond are dropped. None: 2 for cosine and correlation; 1 for hellinger,
        jaccard, bit_jaccard and dice; without limit for other metrics.
    target_weight
        How much the labels count where ``labels`` are given, 0 to 1. Weights between two labels are multiplied with
        exp(-2.5 / (1 - ``target_weight``)): 0.08 at 0, 0.007 at 0.5, and at 1 such edges are removed.
    """

    local_connectivity: float = 1.0
    set_op_mix_ratio: float = 1.0
    symmetrize: bool = True
    disconnection_distance: float | None = None
    target_weight: float = 0.5

    def __post_init__(self) -> None:
        require_number("local_connectivity", self.local_connectivity, low=0)
        require_number("set_op_mix_ratio", self.set_op_mix_ratio, low=0, high=1)
        require_flag("symmetrize", self.symmetrize)
        far = self.disconnection_distance
        if far is not None and not (isinstance(far, float) and far == math.inf):
            require_number("disconnection_distance", far, low=0, above=True)
        require_number("target_weight", self.target_weight, low=0, high=1)


class FuzzyGraph:
    """Builds the fuzzy graph of McInnes, Healy and Melville (2018), arXiv:1802.03426.

    A cell with m neighbours, of the ``n_neighbors - 1`` it could have, is treated as in a table of just these m:
    neighbours that are missing or dropped have no part in its bandwidth.
    """

    def __init__(self, params: FuzzyParams) -> None:
        self.params = params

    def build(self, request: GraphRequest) -> Graph:
        """Return the graph, intersected with the labels if there are any; cells without neighbours have no edges."""
        graph = self._joined(request)
        if request.labels is None:
            return graph
        return supervised(graph, request.labels, self.params.target_weight, request.n_jobs)

    def _joined(self, request: GraphRequest) -> Graph:
        from vicinal.kernels import fuzzy, merging

        params, n_jobs = self.params, request.n_jobs
        assert request.neighbors is not None
        table = self._connected(request.neighbors)
        sigmas, rhos = fuzzy.smooth_distances(table.indices, table.distances, params.local_connectivity, n_jobs)
        rows = fuzzy.membership_rows(table.indices, table.distances, sigmas, rhos, n_jobs)
        if params.symmetrize:
            indptr, indices, weights = fuzzy.symmetrized(*rows, params.set_op_mix_ratio, n_jobs)
        else:
            indptr, indices, weights = merging.packed(*rows)
        return Graph(indptr=indptr, indices=indices, weights=weights, directed=not params.symmetrize)

    def _connected(self, table: Neighbors) -> Neighbors:
        limit = self.params.disconnection_distance
        limit = FARTHEST.get(table.metric, math.inf) if limit is None else limit
        far = (table.distances >= limit) & (table.indices != MISSING)
        if not far.any():
            return table
        logger.info("%d of %d neighbours are at distance %g or beyond and are dropped", far.sum(), far.size, limit)
        return Neighbors(
            indices=np.where(far, np.int32(MISSING), table.indices),
            distances=np.where(far, np.float32(np.inf), table.distances),
            metric=table.metric,
        )


SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="graph",
    name="fuzzy",
    target="vicinal.backends.graph.fuzzy:FuzzyGraph",
    summary="UMAP's fuzzy simplicial set",
    params=FuzzyParams,
    capabilities=Capabilities(inputs=("neighbors",), deterministic=True, supervised=True),
    cite=("McInnes, Healy & Melville 2018, arXiv:1802.03426",),
)
