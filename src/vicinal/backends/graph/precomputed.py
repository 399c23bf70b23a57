"""The connectivities that the AnnData holds, as they are."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np

from vicinal.contract.data import Graph
from vicinal.contract.errors import InputError
from vicinal.contract.requests import GraphRequest
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities, NoParams

logger = logging.getLogger("vicinal")


class PrecomputedGraph:
    """Takes the stored graph; one that is not its own transpose is a directed graph."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def build(self, request: GraphRequest) -> Graph:
        """Return the stored graph, sharing its arrays.

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
        return dataclasses.replace(graph, directed=directed)


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
    capabilities=Capabilities(inputs=("stored_graph",), deterministic=True),
)
