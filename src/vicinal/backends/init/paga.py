"""Every cell near the place of its group in a PAGA graph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import Layout
from vicinal.contract.errors import InputError
from vicinal.contract.requests import InitRequest
from vicinal.contract.seeds import generator
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities, NoParams

SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="init",
    name="paga",
    target="vicinal.backends.init.paga:Backend",
    summary="Around the positions of PAGA's groups",
    capabilities=Capabilities(inputs=("paga",), n_components=(2, 2), deterministic=True),
    cite=("Wolf et al. 2019, doi:10.1186/s13059-019-1663-x",),
)


class Backend:
    """Scatters the cells of a group over a square half as wide as the way to the nearest other group."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def place(self, request: InitRequest) -> Layout:
        """Return positions around those of the groups; cells of no group (-1) lie anywhere among them.

        Raises
        ------
        InputError
            If more or fewer than two components are asked for, or positions and groups do not fit.
        """
        positions, groups = _checked(request)
        noise = generator(request.seed).uniform(-0.5, 0.5, size=(len(groups), 2))
        middle = (positions.min(axis=0) + positions.max(axis=0)) / 2
        span = np.ptp(positions, axis=0).max() or 1.0
        # The last entry is the one that the code -1 points at.
        centers = np.vstack([positions, middle])
        widths = np.append(_way_to_nearest(positions, span) / 2, span)
        return (centers[groups] + noise * widths[groups, None]).astype(np.float32)


def _checked(request: InitRequest) -> tuple[NDArray[np.float64], NDArray[np.integer]]:
    positions = np.asarray(request.arrays["paga_positions"], dtype=np.float64)
    groups = np.asarray(request.arrays["paga_groups"])
    n_obs = request.graph.n_obs
    if request.n_components != 2:
        msg = f"n_components={request.n_components} is not allowed: init='paga' has positions in a plane; use 2"
        raise InputError(msg)
    if positions.ndim != 2 or positions.shape[1] != 2 or not len(positions) or not np.isfinite(positions).all():
        msg = f"init='paga': positions of shape {positions.shape}; expected finite numbers of shape (n_groups, 2)"
        raise InputError(msg)
    if groups.shape != (n_obs,) or groups.dtype.kind not in "iu":
        msg = f"init='paga': groups of shape {groups.shape} and dtype {groups.dtype}; expected {n_obs} integer codes"
        raise InputError(msg)
    if groups.min(initial=0) < -1 or groups.max(initial=0) >= len(positions):
        last = len(positions) - 1
        msg = (
            f"init='paga': group codes from {groups.min()} to {groups.max()}; allowed are 0 to {last}, and -1 for none"
        )
        raise InputError(msg)
    return positions, groups


def _way_to_nearest(positions: NDArray[np.float64], otherwise: float) -> NDArray[np.float64]:
    from scipy.spatial.distance import cdist

    distances = cdist(positions, positions)
    distances[distances == 0] = np.inf
    nearest = distances.min(axis=1)
    return np.where(np.isfinite(nearest), nearest, otherwise)
