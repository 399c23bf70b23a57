"""The connectivities that the AnnData holds, as they are but for labels."""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass

import numpy as np

from vicinal.backends.checks import require_number
from vicinal.contract.data import Graph
from vicinal.contract.errors import InputError
from vicinal.contract.requests import GraphRequest
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities

from .supervision import supervised

logger = logging.getLogger("vicinal")


@dataclass(frozen=True, kw_only=True)
class PrecomputedParams:
    """Parameters of the stored graph.

    Attributes
    ----------
    target_weight
        How much the labels count where ``labels`` are given, 0 to 1. Weights between two labels are multiplied with
        exp(-2.5 / (1 - ``target_weight``)): 0.08 at 0, 0.007 at 0.5, and at 1 such edges are removed.
    """

    target_weight: float = 0.5

    def __post_init__(self) -> None:
        require_number("target_weight", self.target_weight, low=0, high=1)


class PrecomputedGraph:
    """Takes the stored graph; one that is not its own transpose is a directed graph."""

    def __init__(self, params: PrecomputedParams) -> None:
        self.params = params

    def build(self, request: GraphRequest) -> Graph:
        """Return the stored graph, sharing its arrays; intersected with the labels if there are any.

        Raises
        ------
        InputError
            If a weight is negative or not finite.
        """
        from vicinal.kernels.symmetry import is_symmetric

        graph = request.stored
        assert graph is not None
        _check_weights(graph.weights)
        directed = not is_symmetric(graph.indptr, graph.indices, graph.weights)
        if directed:
            logger.info(
                "The stored connectivities are not symmetric: taken as a directed graph, only an edge's owner moves"
            )
        graph = dataclasses.replace(graph, directed=directed)
        if request.labels is None:
            return graph
        return supervised(graph, request.labels, self.params.target_weight, request.n_jobs)


def _check_weights(weights: np.ndarray) -> None:
    bad = int((~(weights >= 0) | ~np.isfinite(weights)).sum())
    if bad:
        msg = (
            f"graph='precomputed': {bad} of {len(weights)} stored connectivities are negative or not finite;"
            " only finite weights of at least 0 are allowed: run vicinal.pp.neighbors or sc.pp.neighbors again,"
            " or give graph='fuzzy' to have them computed afresh"
        )
        raise InputError(msg)


SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="graph",
    name="precomputed",
    target="vicinal.backends.graph.precomputed:PrecomputedGraph",
    summary="stored connectivities as they are",
    params=PrecomputedParams,
    capabilities=Capabilities(inputs=("stored_graph",), deterministic=True, supervised=True),
)
