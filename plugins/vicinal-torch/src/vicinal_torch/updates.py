"""The optimiser of torch that moves weights: how it is made, tried out, and what it goes on from."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import numpy as np
import torch
from torch import nn

from vicinal.api import FittedModel, InputError

from .muon import Muon
from .networks import hidden_weights, load_state
from .optimizer_state import check_state_fits, restore_optimizer, stored_optimizer
from .params import TorchParams

LEARNING_RATES = {True: 0.015, False: 0.2}


def make_optimizer(
    params: TorchParams, modules: Mapping[str, nn.Module], device: torch.device
) -> torch.optim.Optimizer:
    """Return the optimiser of some modules: `Muon` where they have hidden layers of this package, else Adam.

    Raises
    ------
    InputError
        If there is nothing to train, or what the user gave makes no optimiser.
    """
    rate = params.learning_rate or LEARNING_RATES[params.parametric]
    for role, module in modules.items():
        if not any(p.requires_grad for p in module.parameters()):
            raise InputError(f"{role} has no parameters that can be trained")
    parameters = [p for module in modules.values() for p in module.parameters() if p.requires_grad]
    if params.torch_optimizer is None:
        hidden = {id(weight) for module in modules.values() for weight in hidden_weights(module)}
        if not hidden:
            return torch.optim.Adam(parameters, lr=rate, fused=device.type != "mps")
        return Muon([p for p in parameters if id(p) in hidden], [p for p in parameters if id(p) not in hidden], rate)
    try:
        made = params.torch_optimizer(parameters, lr=rate)
    except Exception as error:  # a user's function may fail in any way
        raise InputError(f"torch_optimizer cannot be called with the parameters and lr={rate}: {error}") from error
    if not isinstance(made, torch.optim.Optimizer):
        raise InputError(f"torch_optimizer made a {type(made).__name__}; give one such as torch.optim.AdamW")
    return made


def state_kept(params: TorchParams, modules: Mapping[str, nn.Module], device: torch.device) -> dict[str, np.ndarray]:
    """Return what an optimiser keeps once it has taken a step, which is tried out on copies.

    Raises
    ------
    InputError
        If it cannot take a step.
    """
    copies = {role: copy.deepcopy(module) for role, module in modules.items()}
    optimizer = make_optimizer(params, copies, device)
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.zeros_like(parameter)
    try:
        optimizer.step()
    except Exception as error:  # it may want a closure, or gradients of another kind
        raise InputError(f"torch_optimizer: {type(optimizer).__name__} cannot take a step: {error}") from error
    return stored_optimizer(optimizer)


def go_on_from(
    fitted: FittedModel, params: TorchParams, modules: Mapping[str, nn.Module], optimizer: torch.optim.Optimizer
) -> None:
    """Take up a trained model's weights, and the state of its optimiser where this is one of the same kind.

    Raises
    ------
    InputError
        If the weights are another network's, or the state is of another shape.
    """
    for role, module in modules.items():
        if role in fitted.networks:
            load_state(f"{role} of continue_from", module, fitted.networks[role].arrays)
    if fitted.networks.keys() != modules.keys() or not fitted.training:
        return
    device = next(p.device for group in optimizer.param_groups for p in group["params"])
    kept = state_kept(params, modules, device)
    if set(fitted.training) == set(kept):
        check_state_fits(fitted.training, kept)
        restore_optimizer(optimizer, fitted.training)
