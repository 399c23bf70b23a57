"""Trained networks made modules again."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from vicinal.api import FittedNetwork, InputError

from .inference import layers_of
from .networks import Affine, Dense, Stack, check_shape, load_state


def rebuilt(role: str, network: FittedNetwork, module: Any = None) -> nn.Module:
    """Return a module that does what a trained network does, on the CPU and as it is applied, not trained.

    Parameters
    ----------
    role
        What it is called in errors.
    module
        The network of a model that was trained with the user's own, or by one whose layers are not known; it is
        copied, not changed.

    Raises
    ------
    InputError
        If a module is needed and not given, or the one given is another network.
    """
    if module is not None:
        return _refilled(role, network, module).eval()
    if not network.layers:
        maker = "a network of the user's own" if network.builder is None else f"the network {network.builder!r}"
        raise InputError(f"{role}=None: the model was trained with {maker}; give it again: {role}=module")
    return Stack([_part(layer, network.arrays) for layer in network.layers], network.output_dims).eval()


def _refilled(role: str, network: FittedNetwork, module: Any) -> nn.Module:
    """Return a copy of a module that has the trained weights."""
    if not isinstance(module, nn.Module):
        kind = f"the class {module.__name__}" if isinstance(module, type) else f"a {type(module).__name__}"
        raise InputError(f"{role} is {kind}; give the torch.nn.Module (an instance) that the model was trained with")
    module = copy.deepcopy(module).cpu()
    # Before the weights: layers that take their size from what comes in have none until then.
    check_shape(role, module, torch.zeros(2, *network.input_dims), network.output_dims)
    load_state(role, module, network.arrays)
    # A named network is trained on logits for bce; its layers end in what the module itself does not do.
    is_logit = network.layers[-1:] == ({"op": "sigmoid"},) and layers_of(module, is_logit=False) != network.layers
    return nn.Sequential(module, nn.Sigmoid()) if is_logit else module


def _part(layer: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> nn.Module:
    """Return the part that does what `vicinal.api.apply_layers` does for a layer."""
    op = layer["op"]
    if op == "affine":
        return Affine(*(torch.tensor(arrays[layer[name]]) for name in ("scale", "shift")))
    if op == "dense":
        return _dense(layer, arrays)
    if op == "residual":
        return Around([_part(inner, arrays) for inner in layer["layers"]])
    if op == "sigmoid":
        return nn.Sigmoid()
    raise InputError(f"model: its network has a layer {op!r}, which is unknown here; upgrade vicinal-torch")


def _dense(layer: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> Dense:
    weight, bias = (torch.tensor(arrays[layer[name]]) for name in ("weight", "bias"))
    dense = Dense(weight.shape[1], weight.shape[0], rectified=layer["activation"] == "relu")
    dense.load_state_dict({"weight": weight, "bias": bias})
    return dense


class Around(nn.Module):
    """Layers whose result is added to what goes in."""

    def __init__(self, parts: list[nn.Module]) -> None:
        super().__init__()
        self.inner = nn.Sequential(*parts)

    def forward(self, values: Tensor) -> Tensor:
        """Return what went in and what the layers make of it."""
        return values + self.inner(values)
