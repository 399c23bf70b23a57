"""Plots: the map, and the loss along the way."""

from __future__ import annotations

from .embedding import embedding
from .loss import loss

__all__ = ["embedding", "loss"]
