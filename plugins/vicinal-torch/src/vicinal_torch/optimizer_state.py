"""The state of a torch optimiser as arrays by name, and back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from vicinal.api import InputError

NUMBER, SCALAR = "number", "scalar"
"""Ends of the names of arrays of one that stand for a number, and for a tensor of no dimension: files of AnnData give
arrays of no dimension back in another type."""


def stored_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, np.ndarray]:
    """Return the state of each parameter, tensors and numbers."""
    arrays = {}
    for i, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                array = value.detach().cpu().numpy().copy()
                arrays[f"{i}_{name}" if array.ndim else f"{i}_{name}_{SCALAR}"] = np.atleast_1d(array)
            elif isinstance(value, int | float):
                arrays[f"{i}_{name}_{NUMBER}"] = np.array([value])
    return arrays


def restore_optimizer(optimizer: torch.optim.Optimizer, arrays: Mapping[str, np.ndarray]) -> None:
    """Put a state into an optimiser; `check_state_fits` says whether it may."""
    state: dict[int, dict[str, object]] = {}
    for stored, array in arrays.items():
        place, _, name = stored.partition("_")
        value: object = torch.tensor(array)
        if name.endswith(f"_{NUMBER}"):
            name, value = name.removesuffix(f"_{NUMBER}"), array[0].item()
        elif name.endswith(f"_{SCALAR}"):
            name, value = name.removesuffix(f"_{SCALAR}"), torch.tensor(array[0])
        state.setdefault(int(place), {})[name] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def check_state_fits(arrays: Mapping[str, np.ndarray], kept: Mapping[str, np.ndarray]) -> None:
    """Raise `InputError` for a state of other parameters or another optimiser, or one with NaN or infinity.

    Compiled code reads a state without looking at its shape.

    Parameters
    ----------
    kept
        What this optimiser keeps once it has taken a step.
    """
    for name, array in arrays.items():
        if name not in kept:
            raise InputError(f"the optimiser's state is that of another network or optimiser: {name!r} is not in it")
        wanted, found = ((a.dtype.newbyteorder("="), a.shape) for a in (kept[name], array))
        if wanted != found:
            shown = f"{name!r} is {found[0]} {found[1]}, expected {wanted[0]} {wanted[1]}"
            raise InputError(f"the optimiser's state is that of another network or optimiser: {shown}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise InputError(f"the optimiser's state {name!r} holds NaN or infinity")
    # Parameters that no gradient reaches have no state; the others have all of it.
    places = {name.partition("_")[0] for name in arrays}
    missing = sorted(name for name in kept if name.partition("_")[0] in places and name not in arrays)
    if missing:
        raise InputError(f"the optimiser's state lacks {missing[0]!r}")
