"""Cells that may leave their first places, but never by more than a radius."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import Layout
from vicinal.contract.errors import InputError
from vicinal.contract.stages import Optimization

MARGIN = 1e-5
"""Share of the radius that is kept free, so that a distance computed in float32 is within it too."""


@dataclass(frozen=True, kw_only=True)
class Tether:
    """Which cells are tethered, boolean ``(n_obs,)`` with rows as they are stored, and how far they may go."""

    cells: NDArray[np.bool_]
    radius: float


def tether_of(cells: NDArray[np.bool_], radius: float) -> Tether | None:
    """Return the tether of cells, or None where they may not move at all and are fixed instead."""
    return Tether(cells=cells, radius=radius) if radius > 0 else None


class Tethered:
    """An optimisation whose tethered cells stand still for the first half of its epochs, then stay within the radius.

    Raises
    ------
    InputError
        If the optimisation's layout cannot be set from outside.
    """

    def __init__(self, inner: Optimization, cells: NDArray[np.bool_], radius: float) -> None:
        if hasattr(inner, "run") or "layout" not in inner.state():
            wanted = "an optimizer whose state holds the layout, such as 'numba_sgd'"
            msg = f"max_drift above 0 needs {wanted}, and {type(inner)} is none; give max_drift=0, or another optimizer"
            raise InputError(msg)
        self._inner, self._cells, self._radius = inner, cells, radius
        self._anchors = inner.layout[cells]
        for name in ("losses", "loss_points"):  # where an optimisation has its own
            if hasattr(inner, name):
                setattr(self, name, getattr(inner, name))

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self._inner.epoch

    @property
    def n_epochs(self) -> int:
        """Epochs planned."""
        return self._inner.n_epochs

    @property
    def layout(self) -> Layout:
        """The present layout."""
        return self._inner.layout

    def step(self, n_epochs: int, **overrides: Any) -> None:
        """Go on by some epochs, after each of which cells beyond their radius are drawn back to it."""
        for _ in range(n_epochs):
            self._inner.step(1, **overrides)
            state = self._inner.state()
            layout = np.array(state["layout"])
            radius = self._radius if 2 * self.epoch > self.n_epochs else 0.0
            layout[self._cells] = within(layout[self._cells], self._anchors, radius)
            self._inner.restore({**state, "layout": layout}, self.epoch)

    def state(self) -> Mapping[str, np.ndarray]:
        """Return the layout."""
        return self._inner.state()

    def restore(self, state: Mapping[str, np.ndarray], epoch: int) -> None:
        """Take up a layout."""
        self._inner.restore(state, epoch)


def within(places: Layout, anchors: Layout, radius: float) -> Layout:
    """Return places with those that are farther than the radius from their anchors drawn back to it.

    What rounding leaves beyond it is put on its anchor: the bound holds for the numbers that are returned.
    """
    moves = np.subtract(places, anchors, dtype=np.float64)
    lengths = np.linalg.norm(moves, axis=1)
    bound = radius * (1 - MARGIN)
    is_far, drawn = lengths > bound, places.copy()
    drawn[is_far] = anchors[is_far] + moves[is_far] * (bound / lengths[is_far])[:, None]
    beyond = np.linalg.norm(np.subtract(drawn, anchors, dtype=np.float64), axis=1) > radius
    return np.where(beyond[:, None], anchors, drawn)
