"""Positions that the user brings, or that the AnnData holds."""

from __future__ import annotations

import numpy as np

from vicinal.contract.data import FARTHEST, Layout
from vicinal.contract.errors import InputError
from vicinal.contract.requests import InitRequest
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities, NoParams

SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="init",
    name="array",
    target="vicinal.backends.init.array:Backend",
    summary="Positions given as an array, used as they are",
    capabilities=Capabilities(inputs=("positions",), deterministic=True, final_scale=True),
)


class Backend:
    """Takes the given positions, neither rescaled nor jittered."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def place(self, request: InitRequest) -> Layout:
        """Return a float32 copy of ``request.arrays["positions"]``.

        Raises
        ------
        InputError
            If the positions do not fit the cells and components, or are not finite numbers.
        """
        positions = np.asarray(request.arrays["positions"])
        expected = (request.graph.n_obs, request.n_components)
        if positions.shape != expected or positions.dtype.kind not in "fiub":
            given = f"shape {positions.shape} and dtype {positions.dtype}"
            msg = f"init: the positions have {given}; expected numbers of shape {expected}, (n_obs, n_components)"
            raise InputError(msg)
        with np.errstate(over="ignore"):
            layout = np.array(positions, dtype=np.float32, order="C")
        bad = int((~np.isfinite(layout)).any(axis=1).sum())
        if bad:
            msg = f"init: the positions of {bad} cells are NaN or infinite as float32; give every cell a finite place"
            raise InputError(msg)
        if far := int((np.abs(layout) > FARTHEST).any(axis=1).sum()):
            msg = f"init: the positions of {far} cells are farther than {FARTHEST:g} from 0; scale them down"
            raise InputError(msg)
        return layout
