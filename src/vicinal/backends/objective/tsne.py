"""t-SNE's objective: affinities against a heavy-tailed kernel that is normalised over all pairs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from vicinal.backends.checks import require_number
from vicinal.contract.data import Layout
from vicinal.contract.errors import InputError, listing
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities
from vicinal.contract.stages import NormalizedForm

FAMILY = "student_t"
PLACEMENT = {"a": 1.0, "b": 1.0, "n_neighbors": 12, "n_steps": 400}
"""How new cells are placed in a map: down the kernel, ``1 / (1 + a d^(2b))`` where dof is 1. With so many steps,
halves of pbmc3k, worm_l2 and paul15 kept more neighbours in maps of the other halves."""
DOF = 0.1, 1000
"""Least and most: beyond, ``1 + d^2 / dof`` is lost in single precision."""
JITTER = 1e-6
FIRST_DEVIATION = 1e-4
"""Standard deviation of a first layout along its first dimension (Kobak and Berens 2019)."""


@dataclass(frozen=True, kw_only=True)
class TsneParams:
    """Parameters of t-SNE's objective.

    Attributes
    ----------
    dof
        How heavy the tail of the kernel ``(1 + d^2 / dof)^-dof`` is: 1 is t-SNE's own, less shows finer clusters
        (Kobak, Linderman, Steinerberger, Kluger and Berens 2019, arXiv:1902.05804). From 0.1 to 1000.
    """

    dof: float = 1.0

    def __post_init__(self) -> None:
        require_number("dof", self.dof, low=DOF[0], high=DOF[1])


class TsneObjective:
    """The Kullback-Leibler divergence of affinities from the normalised kernel (van der Maaten and Hinton 2008).

    Attributes
    ----------
    dof
        How heavy the tail of the kernel is.
    jitter
        Standard deviation of the noise by which coincident cells of a first layout part.
    placement
        How new cells are placed in a map of it.
    negative_sample_rate
        1: what a pair repels by is not sampled but divided by the sum over all pairs.
    """

    negative_sample_rate = 1.0
    jitter = JITTER

    def __init__(self, params: TsneParams) -> None:
        self.params = params
        self.dof = float(params.dof)
        # The curve has no form for other tails: there new cells stay where their neighbours put them.
        self.placement = PLACEMENT if self.dof == 1 else {"n_neighbors": PLACEMENT["n_neighbors"]}

    def form(self, name: str) -> NormalizedForm:
        """Return the family ``student_t`` with ``(dof,)``."""
        if name not in SPEC.capabilities.forms:
            raise InputError(f"objective 'tsne' has no form {name!r}; it offers {listing(SPEC.capabilities.forms)}")
        return NormalizedForm(family=FAMILY, parameters=(self.dof,))

    def attraction(self, squared_distance: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return minus the logarithm of the kernel, float64: what an edge adds for each unit of affinity."""
        return self.dof * np.log1p(np.asarray(squared_distance, dtype=np.float64) / self.dof)

    def repulsion(self, squared_distance: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the kernel, float64: what a pair adds to the sum whose logarithm is the other part of the loss."""
        return np.exp(-self.attraction(squared_distance))

    def rescale(self, layout: Layout) -> Layout:
        """Return the layout centred, the standard deviation of its first dimension 0.0001; of all where that is 0."""
        if not layout.size:
            return layout.copy()
        centred = layout - layout.mean(axis=0, dtype=np.float64)
        deviation = centred[:, 0].std() or centred.std()
        return (centred * (FIRST_DEVIATION / deviation if deviation > 0 else 0.0)).astype(np.float32)


SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="objective",
    name="tsne",
    target="vicinal.backends.objective.tsne:TsneObjective",
    summary="t-SNE's divergence, normalised over all pairs",
    params=TsneParams,
    capabilities=Capabilities(forms=("normalized",), n_components=(1, 3), deterministic=True),
    cite=("van der Maaten & Hinton 2008, JMLR 9:2579",),
)
