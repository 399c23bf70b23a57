"""Bounds on what a stored network may be, so that its work is bounded by the size of its file."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from vicinal.contract.errors import ModelError
from vicinal.contract.network import FittedNetwork
from vicinal.contract.schema import flag, list_of, mapping_of, name, optional, plain, record

from .schema import SHAPE, check_part

MOST_LAYERS, MOST_NESTED = 10_000, 16
WIDEST_ROW = 2**24
"""Numbers in a row that goes in or comes out."""
NETWORK = record(
    {
        "builder": optional(name),
        "params": mapping_of(plain),
        "input_dims": SHAPE,
        "output_dims": SHAPE,
        "layers": list_of(mapping_of(plain), longest=MOST_LAYERS),
        "arrays": list_of(name),
        "is_logit": flag,
    }
)


def check_network_record(role: str, values: Any) -> None:
    """Raise `ModelError` unless a network is described as its schema asks."""
    check_part(NETWORK, values, role)


def check_bounds(network: FittedNetwork) -> None:
    """Raise `ModelError` for a network of more layers, deeper nesting or wider rows than are applied here."""
    for dims in (network.input_dims, network.output_dims):
        if not dims or min(dims) < 1:
            raise ModelError(f"its network has rows of shape {dims}; expected at least one number in each dimension")
        if math.prod(dims) > WIDEST_ROW:
            raise ModelError(f"its network has rows of {math.prod(dims):,} numbers; expected at most {WIDEST_ROW:,}")
    check_layers(network.layers)


def check_layers(layers: Sequence[Any]) -> None:
    """Raise `ModelError` unless layers are few enough, and name each array once; walked without recursion."""
    stack, n_layers, named = [(layer, 1) for layer in layers], 0, set[str]()
    while stack:
        layer, depth = stack.pop()
        n_layers += 1
        if n_layers > MOST_LAYERS or depth > MOST_NESTED:
            bounds = f"expected at most {MOST_LAYERS:,}, nested at most {MOST_NESTED} deep"
            raise ModelError(f"the layers of its network do not fit together: they are too many or too deep; {bounds}")
        _check_names(layer, named)
        stack += [(inner, depth + 1) for inner in _inner(layer)]


def _check_names(layer: Any, named: set[str]) -> None:
    if not isinstance(layer, Mapping):
        raise ModelError(f"the layers of its network do not fit together: one is a {type(layer).__name__}, no object")
    for field in ("scale", "shift", "weight", "bias"):
        array = layer.get(field)
        if array is None:
            continue
        if not isinstance(array, str) or array in named:
            why = "is named by two layers" if isinstance(array, str) else "is no name of an array"
            raise ModelError(f"the layers of its network do not fit together: {str(array)[:50]!r} {why}")
        named.add(array)


def _inner(layer: Mapping[str, Any]) -> Sequence[Any]:
    inner = layer.get("layers", ())
    if not isinstance(inner, list | tuple):
        raise ModelError("the layers of its network do not fit together: those of a residual layer are no list")
    return inner
