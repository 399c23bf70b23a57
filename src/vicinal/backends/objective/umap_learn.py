"""The loss that umap-learn's ParametricUMAP trains by, which is not UMAP's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.errors import InputError, listing
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities
from vicinal.contract.stages import TorchForm

from .umap import UmapObjective, UmapParams, tensor_log_odds


class Backend(UmapObjective):
    """``log(1 + 1/q)`` of an edge and ``log(1 + q)`` of other pairs, with UMAP's kernel ``q = 1 / (1 + a d^(2b))``.

    umap-learn gives ``log q`` to a logistic loss as if it were log odds, which makes it negative sampling with a noise
    of 1 (Damrich et al. 2023, arXiv:2206.01816) instead of UMAP's cross-entropy. There a negative sample moves both of
    its cells; repulsion counts twice here, since it moves one in all other objectives.
    """

    def __init__(self, params: UmapParams) -> None:
        super().__init__(params)
        if params.output_metric != "euclidean":
            raise InputError("output_metric: the objective 'umap_learn' has maps with Euclidean distances alone")

    @property
    def capabilities(self) -> Capabilities:
        """What it can do."""
        return SPEC.capabilities

    def form(self, name: str) -> Any:
        """Return its losses of tensors, the only form it has."""
        if name != "torch":
            offered = listing(SPEC.capabilities.forms)
            raise InputError(f"objective 'umap_learn' has no form {name!r}; it offers {offered}")
        from torch.nn.functional import softplus

        log_odds, strength, log_2 = tensor_log_odds(self.a, self.b), 2 * self.repulsion_strength, math.log(2)
        return TorchForm(
            attraction=lambda squared: softplus(log_odds(squared).sub(log_2)).add(log_2),
            repulsion=lambda squared: log_odds(squared).neg().sigmoid().log1p().mul(strength),
        )

    def attraction(self, squared_distance: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return ``log(1 + 1/q)``, float64."""
        return np.logaddexp(math.log(2), self._log_odds(squared_distance))

    def repulsion(self, squared_distance: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return ``2 log(1 + q)`` times the repulsion strength, float64."""
        q = np.exp(-np.logaddexp(0.0, self._log_odds(squared_distance)))
        return 2 * self.repulsion_strength * np.log1p(q)


SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="objective",
    name="umap_learn",
    target="vicinal.backends.objective.umap_learn:Backend",
    summary="The loss of umap-learn's ParametricUMAP, for networks",
    params=UmapParams,
    capabilities=Capabilities(forms=("torch",), deterministic=True),
    cite=("Sainburg, McInnes & Gentner 2021, doi:10.1162/neco_a_01434",),
)
