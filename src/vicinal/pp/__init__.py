"""Preprocessing: neighbours for the rest of the ecosystem."""

from __future__ import annotations

from .neighbors import neighbors

__all__ = ["neighbors"]


def __dir__() -> list[str]:
    return sorted(__all__)
