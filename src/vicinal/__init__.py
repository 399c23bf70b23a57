"""Neighbour embedding for AnnData: ``import vicinal as vc; vc.tl.embed(adata)``."""

from __future__ import annotations

from importlib import metadata as _metadata

from ._docstrings import require_docstrings as _require_docstrings

_require_docstrings()

from . import api, datasets, models, pl, plugins, pp, tl  # noqa: E402

__version__ = _metadata.version("vicinal")

__all__ = ["__version__", "api", "datasets", "models", "pl", "plugins", "pp", "tl"]


def __dir__() -> list[str]:
    return sorted(__all__)
