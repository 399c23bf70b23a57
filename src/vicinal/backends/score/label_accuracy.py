"""Whether a cell's neighbours in the map tell its label."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vicinal.backends.checks import require_count
from vicinal.contract.requests import ScoreRequest
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities

UNKNOWN = -1


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of `label_accuracy`.

    Attributes
    ----------
    k
        Number of neighbours that vote, fewer where there are not as many other cells.
    """

    k: int = 15

    def __post_init__(self) -> None:
        require_count("k", self.k)


SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="score",
    name="label_accuracy",
    target="vicinal.backends.score.label_accuracy:Backend",
    summary="Share of cells whose label the majority of their neighbours in the map has",
    params=Params,
    capabilities=Capabilities(inputs=("labels",), deterministic=True),
)


class Backend:
    """Classifies each sampled cell by its neighbours, itself left out."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def measure(self, request: ScoreRequest) -> Mapping[str, float]:
        """Return ``label_accuracy``, 0 to 1; nothing where no cell can be classified.

        Neighbours without a label do not vote; a cell without a label, or without a voter, is not scored.
        """
        assert request.labels is not None
        labels = np.asarray(request.labels)
        truth = labels[request.sample]
        votes = labels[request.layout_neighbors[:, : self.params.k]]
        scored = (truth != UNKNOWN) & (votes != UNKNOWN).any(axis=1)
        if not scored.any():
            return {}
        return {"label_accuracy": float((_majority(votes[scored]) == truth[scored]).mean())}


def _majority(votes: NDArray[np.integer]) -> NDArray[np.integer]:
    """Return the most frequent label of each row, of equally frequent ones that of the nearest neighbour."""
    support = (votes[:, :, None] == votes[:, None, :]).sum(axis=2)
    support[votes == UNKNOWN] = 0
    return votes[np.arange(len(votes)), support.argmax(axis=1)]
