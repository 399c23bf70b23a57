"""Neighbours alone, however far: every edge weighs the same."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vicinal.backends.checks import require_one_of
from vicinal.contract.data import Graph
from vicinal.contract.requests import GraphRequest
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities

N_NEIGHBORS = 15
SYMMETRIZATIONS = ("max", "mean", "none")


@dataclass(frozen=True, kw_only=True)
class UniformParams:
    """Parameters of the unweighted graph.

    Attributes
    ----------
    symmetrize
        ``"max"``: cells are joined if either counts the other among its neighbours, all edges with one weight.
        ``"mean"``: twice as strongly if both do. ``"none"``: a directed graph, in which only the edge's owner moves.
    """

    symmetrize: str = "max"

    def __post_init__(self) -> None:
        require_one_of("symmetrize", self.symmetrize, SYMMETRIZATIONS)


class UniformGraph:
    """Joins each cell to its neighbours; all weights sum to 1.

    With 15 of them, t-SNE's maps are much like those of perplexity 30 (Böhm, Berens and Kobak 2022, JMLR 23).
    """

    def __init__(self, params: UniformParams) -> None:
        self.params = params

    def n_neighbors(self, n_obs: int) -> int:
        """Return how many neighbours are wanted, the cell itself counted: 15, or all cells where these are fewer."""
        return min(n_obs, N_NEIGHBORS)

    def build(self, request: GraphRequest) -> Graph:
        """Return the graph; cells without neighbours have no edges."""
        from vicinal.kernels import fuzzy, merging

        table, n_jobs, how = request.neighbors, request.n_jobs, self.params.symmetrize
        assert table is not None
        # Memberships without a bandwidth are 1.
        none = np.zeros(table.n_obs, dtype=np.float32)
        rows = fuzzy.membership_rows(table.indices, table.distances, none, none, n_jobs)
        if how == "none":
            indptr, indices, weights = merging.packed(*rows)
        else:
            rule = merging.UNION if how == "max" else merging.SUM
            indptr, indices, weights = merging.with_transpose(*rows, rule, 1.0, n_jobs)
        weights /= max(weights.sum(dtype=np.float64), 1.0)
        return Graph(indptr=indptr, indices=indices, weights=weights, directed=how == "none")


SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="graph",
    name="uniform",
    target="vicinal.backends.graph.uniform:UniformGraph",
    summary="neighbours, all weighing the same",
    params=UniformParams,
    capabilities=Capabilities(inputs=("neighbors",), deterministic=True),
)
