"""Whether neighbours in the map are neighbours in the representation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from vicinal.backends.checks import require_count
from vicinal.contract.requests import ScoreRequest
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities


@dataclass(frozen=True, kw_only=True)
class Params:
    """Parameters of `trustworthiness`.

    Attributes
    ----------
    k
        Number of neighbours in the map.
    """

    k: int = 15

    def __post_init__(self) -> None:
        require_count("k", self.k)


SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="score",
    name="trustworthiness",
    target="vicinal.backends.score.trustworthiness:Backend",
    summary="1 minus a penalty for cells that are near in the map and far in the representation",
    params=Params,
    capabilities=Capabilities(inputs=("representation",), deterministic=True),
    cite=("Venna, Kaski (2001). Neighborhood preservation in nonlinear projection methods.",),
)


class Backend:
    """Sums by how much the ranks of the neighbours in the map exceed ``k``."""

    def __init__(self, params: Params) -> None:
        self.params = params

    def measure(self, request: ScoreRequest) -> Mapping[str, float]:
        """Return ``trustworthiness``, 0 to 1; nothing for ``k`` of half the cells or more, where it is undefined.

        The mean over the sampled cells of the term that Venna and Kaski (2001), equation 1, sum over all cells.
        """
        k, n_obs = self.params.k, request.n_obs
        ranks = request.layout_ranks[:, :k]
        if 2 * k >= n_obs or ranks.shape[1] < k or len(ranks) == 0:
            return {}
        excess = np.maximum(ranks - k, 0).sum()
        return {"trustworthiness": float(1 - 2 * excess / (len(ranks) * k * (2 * n_obs - 3 * k - 1)))}
