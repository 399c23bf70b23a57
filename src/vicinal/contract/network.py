"""Networks: what asks for one, and a trained one as arrays and plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class NetworkRequest:
    """Ask for a network that has not been trained.

    Attributes
    ----------
    input_dims, output_dims
        Shape of one row that goes in, and of one that comes out: ``(n_features,)``, or that of an image.
    input_center, input_scale
        Mean of each feature that will go in, and what to divide by, float32 ``(n_features,)``; None for neither.
    output_center, output_scale
        The same of what should come out.
    seed
        Its own, for its first weights.
    """

    input_dims: tuple[int, ...]
    output_dims: tuple[int, ...]
    input_center: NDArray[np.float32] | None = None
    input_scale: NDArray[np.float32] | None = None
    output_center: NDArray[np.float32] | None = None
    output_scale: NDArray[np.float32] | None = None
    seed: int = 0

    @property
    def n_inputs(self) -> int:
        """Numbers in a row that goes in."""
        return math.prod(self.input_dims)

    @property
    def n_outputs(self) -> int:
        """Numbers in a row that comes out."""
        return math.prod(self.output_dims)


@dataclass(frozen=True, kw_only=True)
class FittedNetwork:
    """A trained network.

    Attributes
    ----------
    builder
        Name of the backend that built it; None for a user's own module.
    params
        Parameters of the builder, plain data.
    input_dims, output_dims
        Shape of one row that goes in, and of one that comes out.
    layers
        How it is applied without the library it was trained in, in the words of `vicinal.api.apply_layers`; empty
        where only that library can.
    arrays
        Its weights by name.
    is_logit
        Whether a module gives log odds, of which a sigmoid makes what was asked for; layers end in that themselves.
    """

    builder: str | None
    params: Mapping[str, Any]
    input_dims: tuple[int, ...]
    output_dims: tuple[int, ...]
    layers: tuple[Mapping[str, Any], ...]
    arrays: Mapping[str, np.ndarray]
    is_logit: bool = False

    def record(self) -> dict[str, Any]:
        """Return all but the arrays as plain data, with their names."""
        return {
            "builder": self.builder,
            "params": dict(self.params),
            "input_dims": list(self.input_dims),
            "output_dims": list(self.output_dims),
            "layers": [dict(layer) for layer in self.layers],
            "arrays": list(self.arrays),
            "is_logit": self.is_logit,
        }


@dataclass(frozen=True, kw_only=True)
class FittedModel:
    """What an optimizer learned besides the layout.

    Attributes
    ----------
    encoder, decoder
        From rows to places, and back; no decoder where none was trained.
    training
        What it takes to train on, arrays by name.
    """

    encoder: FittedNetwork
    decoder: FittedNetwork | None = None
    training: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def networks(self) -> dict[str, FittedNetwork]:
        """Those that are there, by role."""
        named = {"encoder": self.encoder, "decoder": self.decoder}
        return {role: network for role, network in named.items() if network is not None}
