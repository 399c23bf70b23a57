"""Neighbour embedding for AnnData: ``import vicinal as vc; vc.tl.embed(adata)``."""

from __future__ import annotations

from importlib import metadata as _metadata

from . import datasets, models, pl, plugins, pp, tl

__version__ = _metadata.version("vicinal")

__all__ = ["__version__", "datasets", "models", "pl", "plugins", "pp", "tl"]
