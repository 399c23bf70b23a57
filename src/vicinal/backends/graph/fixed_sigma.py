"""Gaussian affinities of one width everywhere, for data whose distances mean the same in all places."""

from __future__ import annotations

from dataclasses import dataclass

from vicinal.backends.checks import require_flag, require_number
from vicinal.contract.data import Graph
from vicinal.contract.errors import InputError
from vicinal.contract.requests import GraphRequest
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities

N_NEIGHBORS = 31


@dataclass(frozen=True, kw_only=True)
class FixedSigmaParams:
    """Parameters of Gaussian affinities of one width.

    Attributes
    ----------
    sigma
        The Gaussian's standard deviation, in units of the distances. To be given.
    symmetrize
        False keeps each cell's own weights: a directed graph, in which only the edge's owner moves.
    """

    sigma: float | None = None
    symmetrize: bool = True

    def __post_init__(self) -> None:
        if self.sigma is None:
            raise InputError("graph='fixed_sigma' needs sigma=, a Gaussian's standard deviation in units of distance")
        require_number("sigma", self.sigma, low=0, above=True)
        require_flag("symmetrize", self.symmetrize)


class FixedSigmaGraph:
    """Builds the weights exp(-distance^2 / (2 sigma^2)), divided by their sum for each cell, as openTSNE does.

    An undirected edge has the mean of the weights of its two ends; those of all edges sum to 1.
    """

    def __init__(self, params: FixedSigmaParams) -> None:
        self.params = params

    def n_neighbors(self, n_obs: int) -> int:
        """Return how many neighbours are wanted, the cell itself counted: 31, or all cells where these are fewer."""
        return min(n_obs, N_NEIGHBORS)

    def build(self, request: GraphRequest) -> Graph:
        """Return the graph; cells without neighbours have no edges."""
        from vicinal.kernels.affinities import gaussian_rows

        from .perplexity import joined

        table = request.neighbors
        assert table is not None
        assert self.params.sigma is not None
        rows = gaussian_rows(table.indices, table.distances, self.params.sigma, request.n_jobs)
        return joined(rows, self.params.symmetrize, request.n_jobs)


SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="graph",
    name="fixed_sigma",
    target="vicinal.backends.graph.fixed_sigma:FixedSigmaGraph",
    summary="Gaussian affinities of one width, sigma",
    params=FixedSigmaParams,
    capabilities=Capabilities(inputs=("neighbors",), deterministic=True),
)
