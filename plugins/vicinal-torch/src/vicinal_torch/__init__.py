"""Parametric maps for vicinal: ``vc.tl.embed(adata, method="parametric_umap")``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vicinal.api import BackendSpec, Preset, hookimpl

from .specs import SPECS

if TYPE_CHECKING:
    from .onnx import to_onnx

__all__ = ["to_onnx", "vicinal_register"]


@hookimpl
def vicinal_register() -> list[BackendSpec | Preset]:
    """Tell the host what this package brings; torch is imported when it is used."""
    return list(SPECS)


def __getattr__(name: str) -> Any:
    """Import what users call when they call it: torch takes its time.

    There is no ``__dir__`` that tells of it: whoever looks for hooks gets all that it lists.
    """
    if name == "to_onnx":
        from .onnx import to_onnx

        return to_onnx
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
