"""How many of a cell's nearest neighbours the map keeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vicinal.contract.errors import InputError
from vicinal.contract.requests import ScoreRequest
from vicinal.contract.showing import refused
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of `knn_recall`.

    Attributes
    ----------
    k
        Numbers of neighbours; each gives a score of its own.
    """

    k: tuple[int, ...] = (15, 50)

    def __post_init__(self) -> None:
        if not isinstance(self.k, tuple) or not all(isinstance(k, int) and k > 0 for k in self.k):
            raise InputError(f"{refused('k', self.k)}; give a tuple of positive integers, such as (15, 50)")


SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="score",
    name="knn_recall",
    target="vicinal.backends.score.knn_recall:Backend",
    summary="Share of the k nearest cells in the representation that are among the k nearest in the map",
    params=Params,
    capabilities=Capabilities(inputs=("representation",), deterministic=True),
    cite=("Lee, Verleysen (2009). Quality assessment of dimensionality reduction: rank-based criteria.",),
)


class Backend:
    """Compares the two neighbour tables."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def measure(self, request: ScoreRequest) -> Mapping[str, float]:
        """Return ``knn_recall_{k}``, 0 to 1, for each ``k`` below the number of cells."""
        available = request.layout_neighbors.shape[1] if len(request.sample) else 0
        return {f"knn_recall_{k}": _recall(request, k) for k in self.params.k if k <= available}


def _recall(request: ScoreRequest, k: int) -> float:
    both = np.hstack([request.representation_neighbors[:, :k], request.layout_neighbors[:, :k]])
    both.sort(axis=1)
    # A cell stands at most once in each table, so one that stands twice is in both.
    return float((both[:, 1:] == both[:, :-1]).sum() / (len(both) * k))
