"""Parametric maps for vicinal: ``vc.tl.embed(adata, method="parametric_umap")``."""

from __future__ import annotations

from vicinal.api import BackendSpec, Preset, hookimpl

from .specs import SPECS


@hookimpl
def vicinal_register() -> list[BackendSpec | Preset]:
    """Tell the host what this package brings; torch is imported when it is used."""
    return list(SPECS)
