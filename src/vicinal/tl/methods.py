"""The built-in methods under their own names, with all their parameters in the signature."""

from __future__ import annotations

from typing import Any

from anndata import AnnData

from vicinal.contract.errors import InputError
from vicinal.pipeline.presets import TSNE, UMAP

from ._parameters import as_method
from .embed import embed


@as_method(UMAP, embed)
def umap(adata: AnnData, **options: Any) -> AnnData | None:
    """Make a UMAP (McInnes, Healy, Melville 2018, arXiv:1802.03426): ``vicinal.tl.embed(adata, "umap", ...)``."""
    return embed(adata, "umap", **without_method(options))


@as_method(TSNE, embed)
def tsne(adata: AnnData, **options: Any) -> AnnData | None:
    """Make a t-SNE (van der Maaten and Hinton 2008, JMLR 9:2579): ``vicinal.tl.embed(adata, "tsne", ...)``."""
    return embed(adata, "tsne", **without_method(options))


def without_method(options: dict[str, Any]) -> dict[str, Any]:
    """Return options, or raise `InputError` where they name a method."""
    if "method" in options:
        raise InputError("method is not allowed here, where it is the function's name; call vc.tl.embed")
    return options
