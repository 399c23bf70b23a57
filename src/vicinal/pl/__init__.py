"""Plots: the map, the loss along the way, maps side by side."""

from __future__ import annotations

from .embedding import embedding
from .loss import loss
from .spectrum import spectrum

__all__ = ["embedding", "loss", "spectrum"]


def __dir__() -> list[str]:
    return sorted(__all__)
