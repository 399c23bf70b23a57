"""Which slots of an AnnData are filled, as messages name them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import anndata as ad

from .keys import spellings
from .kinds import layers_of, values_of

MOST_OF_A_MAP = 3
"""Columns of an array that is likely to be a map."""


def filled(adata: ad.AnnData) -> list[str]:
    """Return the names by which representations can be chosen, of slots that hold something."""
    return ["X"] * (values_of(adata) is not None) + [*adata.obsm, *(n for n in layers_of(adata) if n is not None)]


def raw_hint(adata: ad.AnnData, named: str = "adata") -> str:
    """Return a sentence on how to take the genes of ``.raw``, where there are some and ``.X`` is empty."""
    if adata.raw is None or values_of(adata) is not None:
        return ""
    return f" The genes are in .raw; {named}.raw.to_adata() is an AnnData of them"


def genes_in_raw(adata: ad.AnnData, wanted: Iterable[str]) -> str:
    """Return a sentence on ``.raw``, where it has more of some genes than ``var`` has."""
    if adata.raw is None:
        return ""
    names = set(wanted)
    there, in_raw = len(names & set(adata.var_names)), len(names & set(adata.raw.var_names))
    if in_raw <= there:
        return ""
    return f". adata_new.raw has {in_raw:,} of these genes: give adata_new.raw.to_adata()"


def adopt_hint(adata: ad.AnnData, key: str | None = None) -> str:
    """Return a sentence on how a map of another tool gets a model, where there seems to be one."""
    maps = [name for name, values in adata.obsm.items() if len(values.shape) == 2 and _may_be_map(name, values)]
    meant = [name for name in maps if name in spellings(key)] if key is not None else maps[-1:]
    return f" For a map of another tool, run vc.models.adopt(adata, {meant[0]!r}) before" if meant else ""


def _may_be_map(name: object, values: Any) -> bool:
    return str(name) not in ("X_pca", "pca") and 1 < values.shape[1] <= MOST_OF_A_MAP
