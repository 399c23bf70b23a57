"""Whether distances in the map follow distances in the representation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.requests import ScoreRequest
from vicinal.contract.seeds import child_seed, generator
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities, NoParams

N_PAIRS = 20_000
PAIRS_AT_ONCE = 1_000

SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="score",
    name="global_correlation",
    target="vicinal.backends.score.global_correlation:Backend",
    summary="Spearman correlation of the distances between random pairs of cells in representation and map",
    capabilities=Capabilities(inputs=("representation",), deterministic=True),
    cite=("Kobak, Berens (2019). The art of using t-SNE for single-cell transcriptomics.",),
)


class Backend:
    """Correlates the ranks of Euclidean distances over 20,000 pairs, or all pairs where there are fewer."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def measure(self, request: ScoreRequest) -> Mapping[str, float]:
        """Return ``global_correlation``, -1 to 1; nothing where all distances are equal."""
        from pandas import Series  # loaded already; scipy.stats would take a quarter of a second

        first, second = _pairs(request.n_obs, request.seed)
        lengths = [_lengths(rows, first, second) for rows in (request.representation, request.layout)]
        ranks: NDArray[np.float64] = np.stack([Series(values).rank().to_numpy() for values in lengths])
        if len(first) == 0 or (np.ptp(ranks, axis=1) == 0).any():
            return {}
        return {"global_correlation": float(np.corrcoef(ranks[0], ranks[1])[0, 1])}


def _pairs(n_obs: int, seed: int) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    if n_obs * (n_obs - 1) // 2 <= N_PAIRS:
        return np.triu_indices(n_obs, 1)
    random = generator(child_seed(seed, "pairs"))
    first = random.integers(n_obs, size=N_PAIRS)
    other = random.integers(n_obs - 1, size=N_PAIRS)
    return first, other + (other >= first)


def _lengths(rows: NDArray[np.floating], first: NDArray[np.intp], second: NDArray[np.intp]) -> NDArray[np.float64]:
    lengths = np.empty(len(first))
    for start in range(0, len(first), PAIRS_AT_ONCE):
        part = slice(start, start + PAIRS_AT_ONCE)
        difference = rows[first[part]].astype(np.float64) - rows[second[part]]
        lengths[part] = np.sqrt(np.square(difference).sum(axis=1))
    return lengths
