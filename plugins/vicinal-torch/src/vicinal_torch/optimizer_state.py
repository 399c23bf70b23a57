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
    """Put a stored state into an optimiser of the same kind.

    Raises
    ------
    InputError
        If it is of other parameters.
    """
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
    known = {i for group in groups for i in group["params"]}
    if not set(state) <= known:
        raise InputError("the optimiser's state is that of another network")
    optimizer.load_state_dict({"state": state, "param_groups": groups})
