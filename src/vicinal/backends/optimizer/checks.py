"""What the built-in optimizers demand of a request and of a step."""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np

from vicinal.contract.data import FARTHEST, MOST_EPOCHS
from vicinal.contract.errors import InputError, did_you_mean, listing
from vicinal.contract.requests import OptimizeRequest
from vicinal.contract.showing import refused


def require_epochs(n_epochs: Any) -> None:
    """Raise `InputError` unless given a whole number that a run can come to the end of."""
    is_whole = isinstance(n_epochs, numbers.Integral) and not isinstance(n_epochs, bool)
    if not is_whole or not 0 <= n_epochs <= MOST_EPOCHS:
        msg = f"{refused('n_epochs', n_epochs)}; give a whole number of at least 0, at most {MOST_EPOCHS:,}"
        raise InputError(msg)


def require_epochs_left(n_epochs: Any, done: int, planned: int) -> None:
    """Raise `InputError` unless that many epochs can be taken."""
    require_epochs(n_epochs)
    if n_epochs > planned - done:
        left = f"{planned - done} of {planned} epochs are left"
        msg = f"n_epochs={n_epochs} is not allowed: {left}; take at most those, or plan more from the start (n_epochs=)"
        raise InputError(msg)


def require_override(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Raise `InputError` unless a parameter can be replaced for some epochs."""
    if name not in allowed:
        hint = did_you_mean(name, allowed)
        msg = f"{name}={value!r} cannot be changed on the way; allowed are {listing(allowed)}.{hint}"
        raise InputError(msg)


def check_sizes(request: OptimizeRequest) -> None:
    """Raise `InputError` unless layout and fixed cells are those of the graph."""
    n_obs = request.graph.n_obs
    if request.layout.ndim != 2 or len(request.layout) != n_obs:
        msg = f"layout has shape {request.layout.shape}, expected ({n_obs}, n_components) for a graph of {n_obs} cells"
        raise InputError(msg)
    if request.fixed is not None and np.shape(request.fixed) != (n_obs,):
        msg = f"fixed has shape {np.shape(request.fixed)}, expected ({n_obs},): True for each cell that must not move"
        raise InputError(msg)
    require_places("the first layout", request.layout)


def require_places(name: str, layout: Any, *, smallest: float = 0.0) -> None:
    """Raise `InputError` unless all places are finite, and neither too far apart nor too near for float32.

    Parameters
    ----------
    smallest
        Extent below which a layout is refused, unless all cells are at one place.
    """
    low, high = (float(end(layout, initial=0.0)) for end in (np.min, np.max))
    if not max(-low, high) <= FARTHEST:  # NaN is not, either
        msg = f"{name} has places that are not finite, or farther than {FARTHEST:g} from 0"
        raise InputError(f"{msg}; give it in the units of a map, about -10 to 10")
    extent = float(np.ptp(layout, axis=0).max()) if smallest and np.size(layout) else 0.0
    if 0 < extent < smallest:
        msg = (
            f"{name} has an extent of {extent:.2g}, which gradients cannot be taken of; at least {smallest:g} is needed"
        )
        raise InputError(f"{msg}. Multiply it, for an extent of about 0.001")
