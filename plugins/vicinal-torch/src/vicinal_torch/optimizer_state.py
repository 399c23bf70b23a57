"""The state of a torch optimiser as arrays by name, and back."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from vicinal.api import InputError

NUMBER = "number"


def stored_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, np.ndarray]:
    """Return the state of each parameter: tensors, and numbers as arrays of no dimension."""
    arrays = {}
    for i, values in optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor):
                arrays[f"{i}_{name}"] = value.detach().cpu().numpy().copy()
            elif isinstance(value, int | float):
                arrays[f"{i}_{name}_{NUMBER}"] = np.array(value)
    return arrays


def restore_optimizer(optimizer: torch.optim.Optimizer, arrays: Mapping[str, np.ndarray]) -> None:
    """Put a stored state into an optimiser of the same kind.

    Raises
    ------
    InputError
        If it is of other parameters.
    """
    state: dict[int, dict[str, object]] = {}
    for name, array in arrays.items():
        place, _, rest = name.partition("_")
        is_number = rest.endswith(f"_{NUMBER}")
        value = array.item() if is_number else torch.tensor(array)
        state.setdefault(int(place), {})[rest.removesuffix(f"_{NUMBER}") if is_number else rest] = value
    groups = optimizer.state_dict()["param_groups"]
    known = {i for group in groups for i in group["params"]}
    if not set(state) <= known:
        raise InputError("the optimiser's state is that of another network")
    optimizer.load_state_dict({"state": state, "param_groups": groups})
