"""The affinities of t-SNE: Gaussians, each as wide as lets a cell count so many neighbours."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.backends.checks import require_flag, require_number, require_one_of
from vicinal.contract.data import Graph
from vicinal.contract.errors import InputError
from vicinal.contract.requests import GraphRequest
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities

if TYPE_CHECKING:
    from vicinal.kernels.merging import Rows

DEFAULT = 30.0
COMBINATIONS = ("mixture", "multiscale")


@dataclass(frozen=True, kw_only=True)
class PerplexityParams:
    """Parameters of the affinities of t-SNE.

    Attributes
    ----------
    perplexity
        Neighbours that a cell counts, 1 or more, in effect: the exponential of its weights' entropy. Less than
        ``n_neighbors - 1``, which is three times it unless given, and at most a third of the other cells. Several, as
        a list or as a string such as ``"30, 300"``, look at several scales at once. None for 30, or a third of the
        neighbours where these are fewer than 90.
    combine
        Of several perplexities, ``"mixture"``: the densities of the Gaussians are averaged, so that narrow ones count
        for more near the cell; ``"multiscale"``: the weights are, each scale counting the same.
    symmetrize
        False keeps each cell's own weights: a directed graph, in which only the edge's owner moves.
    """

    perplexity: float | str | Sequence[float] | None = None
    combine: str = "mixture"
    symmetrize: bool = True

    def __post_init__(self) -> None:
        parsed = _parsed(self.perplexity)
        for value in parsed if isinstance(parsed, tuple) else () if parsed is None else (parsed,):
            require_number("perplexity", value, low=1)
        object.__setattr__(self, "perplexity", parsed)
        require_one_of("combine", self.combine, COMBINATIONS)
        require_flag("symmetrize", self.symmetrize)


def _parsed(given: Any) -> Any:
    """Return several perplexities as a tuple, one or none as it is."""
    if isinstance(given, str):
        try:
            given = [float(part) for part in given.split(",")]
        except ValueError:
            return given  # which is refused
    if not isinstance(given, Sequence | np.ndarray) or np.ndim(given) == 0:
        return given
    values = tuple(given.tolist() if isinstance(given, np.ndarray) else given)
    if not values:
        raise InputError("perplexity is empty; give a number of at least 1, or several")
    return values if len(values) > 1 else values[0]


class PerplexityGraph:
    """Builds the affinities of van der Maaten and Hinton (2008), JMLR 9, on nearest neighbours.

    The weights of a cell are a Gaussian's, those of all cells sum to 1, and an undirected edge has the mean of the
    weights of its two ends, as P in that paper. A cell that lacks neighbours has a perplexity smaller in proportion.

    Attributes
    ----------
    perplexity
        What is in force; several as a string.
    """

    def __init__(self, params: PerplexityParams) -> None:
        self.params = params
        given = params.perplexity
        self._asked = given if isinstance(given, tuple) else () if given is None else (given,)
        self.perplexity = _shown(self._asked) if self._asked else None

    def n_neighbors(self, n_obs: int) -> int:
        """Return how many neighbours are wanted, the cell itself counted: three times the largest perplexity.

        Raises
        ------
        InputError
            If a perplexity is above a third of the other cells.
        """
        from vicinal.kernels.affinities import NEIGHBORS_A_PERPLEXITY

        largest, most = max(self._asked, default=DEFAULT), (n_obs - 1) / NEIGHBORS_A_PERPLEXITY
        if self._asked and largest > most:
            can = f" give at most {math.floor(10 * most) / 10:g}, a third of the others, or" if most >= 1 else ""
            raise InputError(f"perplexity={largest:g} is not allowed for {n_obs} cells;{can} leave it out")
        return min(n_obs, int(NEIGHBORS_A_PERPLEXITY * largest) + 1)

    def prepare(self, n_obs: int, n_neighbors: int) -> str:
        """Settle the perplexity, and return a note where it is smaller than by default.

        Raises
        ------
        InputError
            If a perplexity is above a third of the other cells, or not below the number of neighbours.
        """
        self.n_neighbors(n_obs)
        effective = self._effective(n_neighbors - 1)
        self.perplexity = _shown(effective)
        if self._asked or effective[0] == DEFAULT:
            return ""
        return f"perplexity {effective[0]:g} instead of {DEFAULT:g}: a third of the {n_neighbors - 1} neighbours"

    def _effective(self, k: int) -> tuple[float, ...]:
        from vicinal.kernels.affinities import NEIGHBORS_A_PERPLEXITY

        if not self._asked:
            return (min(DEFAULT, k / NEIGHBORS_A_PERPLEXITY),)
        largest = max(self._asked)
        if largest >= k:
            msg = f"perplexity={largest:g} is not allowed with {k} neighbours of a cell: it must be below their number"
            raise InputError(f"{msg}; give a smaller one, or n_neighbors={int(3 * largest) + 1}, itself counted")
        return self._asked

    def build(self, request: GraphRequest) -> Graph:
        """Return the graph, whose weights sum to 1; cells without neighbours have no edges."""
        from vicinal.kernels import affinities

        params, table, n_jobs = self.params, request.neighbors, request.n_jobs
        assert table is not None
        perplexities = self._effective(table.k) if table.k else (DEFAULT,)
        mixture = params.combine == "mixture"
        rows = affinities.perplexity_rows(table.indices, table.distances, np.array(perplexities), mixture, n_jobs)
        return joined(rows, params.symmetrize, n_jobs)


def joined(rows: Rows, symmetrize: bool, n_jobs: int) -> Graph:
    """Return rows of probabilities as a graph whose weights sum to 1."""
    from vicinal.kernels import affinities

    parts = affinities.joint(*rows, n_jobs) if symmetrize else affinities.conditional(*rows)
    indptr, indices, weights = parts
    return Graph(indptr=indptr, indices=indices, weights=weights, directed=not symmetrize)


def _shown(perplexities: Sequence[float]) -> float | str:
    return float(perplexities[0]) if len(perplexities) == 1 else ", ".join(f"{value:.10g}" for value in perplexities)


SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="graph",
    name="perplexity",
    target="vicinal.backends.graph.perplexity:PerplexityGraph",
    summary="t-SNE's affinities, of one perplexity or several",
    params=PerplexityParams,
    capabilities=Capabilities(inputs=("neighbors",), deterministic=True),
    cite=("van der Maaten & Hinton 2008, JMLR 9:2579-2605", "Kobak & Berens 2019, doi:10.1038/s41467-019-13056-x"),
)
