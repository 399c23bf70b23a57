"""Networks by name, made of parts that can also be applied without torch."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from vicinal.api import InputError, NetworkRequest, child_seed

from .muon import SMALLEST_SIDE
from .params import MlpParams, ResidualParams

KEPT = (torch.float32, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)
"""What weights may be, so that any file can hold them."""
MOST_WEIGHTS = 2**29
"""Of a network by name: 2 GiB, and three times that while it is trained."""


class Mlp:
    """Hidden layers with ReLU between two linear ones; by default the network of ParametricUMAP.

    Sainburg, McInnes and Gentner 2021 (doi:10.1162/neco_a_01434). Features are first centred and divided, each by the
    root of its standard deviation and all by one number, so that small principal components count for more.
    """

    def __init__(self, params: MlpParams) -> None:
        self.params = params

    def build(self, request: NetworkRequest) -> nn.Module:
        """Return an untrained network; its first weights depend on the request's seed alone."""
        check_size("mlp", self.n_values(request))
        widths = [request.n_inputs, *[self.params.width] * self.params.depth, request.n_outputs]
        last = len(widths) - 2
        layers = [Dense(a, b, rectified=i < last) for i, (a, b) in enumerate(zip(widths[:-1], widths[1:], strict=True))]
        return _between(request, layers)

    def n_values(self, request: NetworkRequest) -> int:
        """Return how many numbers its arrays hold."""
        width, depth = self.params.width, self.params.depth
        if depth == 0:
            return _between_size(request) + _dense_size(request.n_inputs, request.n_outputs)
        ends = _dense_size(request.n_inputs, width) + _dense_size(width, request.n_outputs)
        return _between_size(request) + ends + (depth - 1) * _dense_size(width, width)


class Residual:
    """Blocks of two layers around which what goes in is passed on (He et al. 2016, arXiv:1512.03385)."""

    def __init__(self, params: ResidualParams) -> None:
        self.params = params

    def build(self, request: NetworkRequest) -> nn.Module:
        """Return an untrained network; its first weights depend on the request's seed alone."""
        check_size("residual", self.n_values(request))
        width = self.params.width
        blocks = [Block(width) for _ in range(self.params.depth)]
        first, last = Dense(request.n_inputs, width, rectified=True), Dense(width, request.n_outputs, rectified=False)
        return _between(request, [first, *blocks, last])

    def n_values(self, request: NetworkRequest) -> int:
        """Return how many numbers its arrays hold."""
        width = self.params.width
        ends = _dense_size(request.n_inputs, width) + _dense_size(width, request.n_outputs)
        return _between_size(request) + ends + 2 * self.params.depth * _dense_size(width, width)


def check_size(name: str, n_values: int) -> None:
    """Raise `InputError` for a network that no machine would train, before it is built."""
    if n_values > MOST_WEIGHTS:
        msg = (
            f"the network {name!r} would have {n_values:,} weights; give a width and depth of at most {MOST_WEIGHTS:,}"
        )
        raise InputError(msg)


def _dense_size(n_inputs: int, n_outputs: int) -> int:
    return (n_inputs + 1) * n_outputs


def _between_size(request: NetworkRequest) -> int:
    before = 2 * request.n_inputs if request.input_center is not None and request.input_scale is not None else 0
    after = 2 * request.n_outputs if request.output_center is not None and request.output_scale is not None else 0
    return before + after


class Stack(nn.Module):
    """Parts one after the other, between rows of any shape."""

    def __init__(self, parts: list[nn.Module], output_dims: tuple[int, ...]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)
        self.output_dims = output_dims

    def forward(self, rows: Tensor) -> Tensor:
        """Return what comes out, ``(m, *output_dims)``."""
        values = rows.flatten(1)
        for part in self.parts:
            values = part(values)
        return values if len(self.output_dims) == 1 else values.unflatten(1, self.output_dims)

    def layers(self) -> list[dict[str, Any]]:
        """Return how it is applied without torch; arrays are named as in ``state_dict``."""
        return [part.layer(f"parts.{i}.") for i, part in enumerate(self.parts)]  # type: ignore[operator]


class Affine(nn.Module):
    """Multiplies and shifts each feature; not trained."""

    scale: Tensor
    shift: Tensor

    def __init__(self, scale: Tensor, shift: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale)
        self.register_buffer("shift", shift)

    def forward(self, values: Tensor) -> Tensor:
        """Return ``values * scale + shift``."""
        return torch.addcmul(self.shift, values, self.scale)

    def layer(self, prefix: str) -> dict[str, Any]:
        """Return the layer as plain data."""
        return {"op": "affine", "scale": f"{prefix}scale", "shift": f"{prefix}shift"}


class Dense(nn.Module):
    """A linear layer, and what of it is positive."""

    def __init__(self, n_inputs: int, n_outputs: int, *, rectified: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_outputs, n_inputs))
        self.bias = nn.Parameter(torch.zeros(n_outputs))
        self.rectified = rectified

    def forward(self, values: Tensor) -> Tensor:
        """Return what comes out of the layer."""
        values = nn.functional.linear(values, self.weight, self.bias)
        return values.relu_() if self.rectified else values

    def draw(self, generator: torch.Generator) -> None:
        """Draw weights as `torch.nn.Linear` does, from a generator of its own."""
        bound = 1 / math.sqrt(max(self.weight.shape[1], 1))
        with torch.no_grad():
            self.weight.uniform_(-bound, bound, generator=generator)
            self.bias.uniform_(-bound, bound, generator=generator)

    def layer(self, prefix: str) -> dict[str, Any]:
        """Return the layer as plain data."""
        activation = "relu" if self.rectified else "none"
        return {"op": "dense", "weight": f"{prefix}weight", "bias": f"{prefix}bias", "activation": activation}


class Block(nn.Module):
    """Two layers, added to what went in."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = Dense(width, width, rectified=True)
        self.second = Dense(width, width, rectified=False)

    def forward(self, values: Tensor) -> Tensor:
        """Return what went in and what the layers make of it."""
        return values + self.second(self.first(values))

    def layer(self, prefix: str) -> dict[str, Any]:
        """Return the block as plain data."""
        inner = [getattr(self, name).layer(f"{prefix}{name}.") for name in ("first", "second")]
        return {"op": "residual", "layers": inner}


def _between(request: NetworkRequest, layers: Sequence[nn.Module]) -> Stack:
    """Return the layers between what brings rows to unit size and what brings results to theirs."""
    before, after = [], []
    if request.input_center is not None and request.input_scale is not None:
        center, scale = torch.tensor(request.input_center), torch.tensor(request.input_scale)
        before = [Affine(1 / scale, -center / scale)]
    if request.output_center is not None and request.output_scale is not None:
        after = [Affine(torch.tensor(request.output_scale), torch.tensor(request.output_center))]
    stack = Stack([*before, *layers, *after], request.output_dims)
    generator = torch.Generator().manual_seed(child_seed(request.seed, "weights"))
    for part in stack.modules():
        if isinstance(part, Dense):
            part.draw(generator)
    return stack


def hidden_weights(module: nn.Module) -> list[nn.Parameter]:
    """Return the matrices between layers that both have several units."""
    weights = [part.weight for part in module.modules() if isinstance(part, Dense)]
    return [weight for weight in weights if min(weight.shape) >= SMALLEST_SIDE]


class Table(nn.Module):
    """A place for each cell, moved by itself: what a map is without a network."""

    def __init__(self, places: Tensor) -> None:
        super().__init__()
        self.places = nn.Parameter(places)

    def forward(self, indices: Tensor) -> Tensor:
        """Return the places of cells."""
        return nn.functional.embedding(indices, self.places)


def check_module(role: str, module: Any) -> None:
    """Raise `InputError` unless given a module of torch."""
    if not isinstance(module, nn.Module):
        given = f"the class {module.__name__}" if isinstance(module, type) else f"a {type(module).__name__}"
        msg = f"{role} is {given}; give the name of a network, such as 'mlp', or a torch.nn.Module (an instance)"
        raise InputError(msg)


def check_state(role: str, module: nn.Module) -> None:
    """Raise `InputError` where a module holds what a model cannot keep."""
    for name, value in module.state_dict().items():
        dtype = value.dtype if isinstance(value, Tensor) else type(value).__name__
        if dtype not in KEPT:
            kept = ", ".join(str(one).removeprefix("torch.") for one in KEPT)
            raise InputError(f"{role} holds {name!r} as {dtype}; a model keeps arrays of {kept}")
        if not is_lazy(value) and value.is_floating_point() and not value.isfinite().all():
            raise InputError(f"{role} holds {name!r} with values that are not finite, which a model cannot keep")


def check_shape(role: str, module: nn.Module, rows: Tensor, output_dims: tuple[int, ...]) -> None:
    """Raise `InputError` unless a module maps rows to the shape that is wanted."""
    try:
        with torch.no_grad(), evaluated(module):
            made = module(rows)
    except Exception as error:  # a user's module may fail in any way
        why = str(error).partition("\n")[0] or type(error).__name__
        raise InputError(f"{role} cannot take rows of shape {tuple(rows.shape[1:])}: {why}; see dims=") from error
    wanted = (len(rows), *output_dims)
    if not isinstance(made, Tensor) or tuple(made.shape) != wanted:
        given = tuple(made.shape) if isinstance(made, Tensor) else type(made).__name__
        raise InputError(f"{role} made {given} of {len(rows)} rows; it must make {wanted}")


@contextmanager
def evaluated(modules: nn.Module) -> Iterator[None]:
    """Use modules as they are applied, not trained, for a while."""
    training = [module for module in modules.modules() if module.training]
    modules.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True


def load_state(role: str, module: nn.Module, arrays: Mapping[str, Any]) -> None:
    """Put weights into a module; raise `InputError` where they are another network's."""
    state = module.state_dict()
    given = {name: torch.as_tensor(array) for name, array in arrays.items()}
    # Modules may be lazy: what they hold has no shape before they are first used.
    lazy = {name for name, value in state.items() if is_lazy(value)}
    shapes, wanted = ({n: v.shape for n, v in found.items() if n not in lazy} for found in (given, state))
    differing = sorted(name for name in {*shapes, *wanted} if shapes.get(name) != wanted.get(name))
    differing += sorted(lazy - {*given})
    if differing:
        named = ", ".join(map(repr, differing[:3]))
        raise InputError(f"the {role} does not fit the weights, {named} differ; give the network that was trained")
    module.load_state_dict({name: value.to(state[name].dtype) for name, value in given.items()})
