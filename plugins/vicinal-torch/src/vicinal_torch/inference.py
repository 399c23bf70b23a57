"""Networks applied to rows, and described as plain data."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vicinal.api import FittedNetwork, apply_layers

from .networks import evaluated, load_state
from .surroundings import isolated

TILE = 1024
"""Rows that a module gets at a time, always as many: libraries sum in another order for another number."""


def layers_of(network: nn.Module, *, is_logit: bool) -> tuple[Mapping[str, Any], ...]:
    """Return how a network by name is applied without torch; nothing for one that does not say."""
    layers = getattr(network, "layers", None)
    found = layers() if callable(layers) and not isinstance(layers, nn.Module) else []
    return (*found, {"op": "sigmoid"}) if found and is_logit else tuple(found)


def apply_module(
    module: nn.Module, network: FittedNetwork, rows: NDArray[np.float32], n_jobs: int
) -> NDArray[np.float32]:
    """Return what a network makes of rows, ``(n, n_outputs)``.

    With layers, a row's result has the same bits whatever comes with it; of a user's module, up to rounding.
    """
    if network.layers:
        return apply_layers(network.layers, network.arrays, rows, n_jobs)
    return _in_tiles(module, network, rows, n_jobs)


def apply_stored(
    module: nn.Module, network: FittedNetwork, rows: NDArray[np.float32], n_jobs: int
) -> NDArray[np.float32]:
    """Return what a module makes of rows with a network's weights, which it is given."""
    load_state("network", module, network.arrays)
    return _in_tiles(module, network, rows, n_jobs)


def _in_tiles(module: nn.Module, network: FittedNetwork, rows: NDArray[np.float32], n_jobs: int) -> NDArray[np.float32]:
    if any(tensor.device.type != "cpu" for tensor in (*module.parameters(), *module.buffers())):
        module = copy.deepcopy(module).cpu()  # the one given may be in training there
    made = np.empty((len(rows), int(np.prod(network.output_dims))), dtype=np.float32)
    tile = np.zeros((TILE, rows.shape[1]), dtype=np.float32)
    with isolated(n_jobs), torch.no_grad(), evaluated(module):
        for start in range(0, len(rows), TILE):
            part = rows[start : start + TILE]
            tile[: len(part)] = part
            out = module(torch.from_numpy(tile).view(-1, *network.input_dims))
            made[start : start + len(part)] = out.flatten(1)[: len(part)].numpy()
    return made
