"""What may be given as an AnnData: one, or a MuData, whose own slots are read like one's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anndata as ad

from vicinal.contract.errors import InputError

SLOTS = ("obs", "obs_names", "obsm", "obsp", "uns", "n_obs", "n_vars", "var_names", "is_view", "isbacked")
"""What is used of an object."""
TO_GIVE = {
    "MuData": "give one of its AnnData, as mdata['rna'], or a whole MuData, whose own obsm, obsp and uns are used",
    "SpatialData": "give one of its tables, as sdata.tables['table']",
    "AnnDataSet": "give its to_adata(), an AnnData of the anndata package",
    "AnnCollection": "give its to_adata(), with its obsm joined",
    "AnnDataLite": "give an AnnData of the anndata package",
    "TreeData": "give an AnnData of the anndata package",
    "Loom": "give scanpy.read_loom(path)",
    "LoomConnection": "give scanpy.read_loom(path)",
    "Raw": "give its to_adata()",
    "Dataset": "give anndata.AnnData(values), cells in rows",
    "str": "give anndata.read_h5ad(path)",
    "PosixPath": "give anndata.read_h5ad(path)",
    "WindowsPath": "give anndata.read_h5ad(path)",
}
"""What to give instead of objects, by the name of their class."""
ROWS = ("shape", "__array__", "__dataframe__")
"""Marks of arrays, matrices, data frames and tensors."""


def check_kind_of_object(adata: object) -> None:
    """Raise `InputError` unless given an AnnData, or a MuData."""
    if isinstance(adata, ad.AnnData) or is_mudata(adata):
        return
    raise InputError(f"adata is a {type(adata).__name__}; expected an AnnData: {_instead(adata)}")


def is_mudata(adata: object) -> bool:
    """Tell whether an object is a MuData, without importing its package."""
    named = any(base.__name__ == "MuData" for base in type(adata).__mro__)
    return named and all(hasattr(adata, slot) for slot in SLOTS)


def to_draw(adata: Any) -> ad.AnnData:
    """Return what scanpy draws: an AnnData as it is, of a MuData one with its maps and columns."""
    if not is_mudata(adata):
        return adata
    maps = {name: values for name, values in adata.obsm.items() if name not in adata.mod}
    return ad.AnnData(obs=adata.obs, obsm=maps, uns=dict(adata.uns))


def layers_of(adata: Any) -> Mapping[Any, Any]:
    """Return the layers; a MuData has none."""
    layers = getattr(adata, "layers", None)
    return {} if layers is None else layers


def values_of(adata: Any) -> Any:
    """Return ``.X``; None where there is none, as in a MuData."""
    return getattr(adata, "X", None)


def _instead(given: object) -> str:
    names = [base.__name__ for base in type(given).__mro__]
    if "AnnData" in names:
        package = type(given).__module__.partition(".")[0]
        return f"this one is of {package!r}. Give an AnnData of the anndata package, such as its to_memory()"
    known = [TO_GIVE[name] for name in names if name in TO_GIVE]
    if known:
        return known[0]
    if isinstance(given, list | tuple) or any(hasattr(given, mark) for mark in ROWS):
        return "give anndata.AnnData(values), cells in rows"
    return "give what anndata.read_h5ad or scanpy returns"
