"""What scanpy's plots cannot draw as it is stored, in a small AnnData where they can."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from pandas.api.types import infer_dtype, is_bool_dtype, is_extension_array_dtype, is_numeric_dtype

from vicinal.adata.read import read_layout


def drawable(adata: ad.AnnData, key: str, color: str | Sequence[str] | None, kwargs: dict[str, Any]) -> ad.AnnData:
    """Return an AnnData that scanpy can draw: itself, or one with the map and the colours alone.

    Scanpy draws no map in a DataFrame, and no column of pandas' nullable truth values and numbers.
    """
    colors = [color] if color is None or isinstance(color, str) else list(color)
    columns = [adata.obs[name] for name in colors if name is not None and name in adata.obs]
    if isinstance(adata.obsm[key], np.ndarray) and not any(map(_is_nullable, columns)):
        return adata
    return with_maps(adata, {key: read_layout(adata, key)}, colors, kwargs)


def with_maps(
    adata: ad.AnnData, maps: Mapping[str, np.ndarray], colors: Sequence[str | None], kwargs: dict[str, Any]
) -> ad.AnnData:
    """Return an AnnData with maps and colours alone; what says where to find a gene is taken out of ``kwargs``."""
    import scanpy as sc

    where = {name: kwargs.pop(name) for name in ("layer", "gene_symbols", "use_raw") if name in kwargs}
    found = {name: value for name, value in where.items() if value is not None}
    names = list(dict.fromkeys(name for name in colors if name is not None))
    obs = sc.get.obs_df(adata, names, **found)
    obs = obs.assign(**{str(name): _as_drawn(obs[name]) for name in names if _is_nullable(obs[name])})
    own = {name: adata.uns[name] for name in (f"{color}_colors" for color in names) if name in adata.uns}
    return ad.AnnData(obs=obs, obsm=dict(maps), uns=own)


def _is_nullable(column: pd.Series) -> bool:
    """Tell whether a column holds truth values or numbers, some perhaps missing, in a form of pandas' own."""
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind == "O":
        return infer_dtype(column, skipna=True) in ("boolean", "integer", "floating", "mixed-integer-float")
    return is_extension_array_dtype(dtype) and (is_numeric_dtype(dtype) or is_bool_dtype(dtype)) and dtype != "category"


def _as_drawn(column: pd.Series) -> pd.Series:
    """Return truth values as categories, and numbers as floats, missing ones NaN."""
    if is_bool_dtype(column.dtype) or infer_dtype(column, skipna=True) == "boolean":
        words = column.astype("object").map({True: "True", False: "False"})
        return words.astype(pd.CategoricalDtype(["False", "True"]))
    return column.astype("Float64").astype(np.float64) if column.dtype == object else _floats(column)


def _floats(column: pd.Series) -> pd.Series:
    return pd.Series(column.to_numpy(dtype=np.float64, na_value=np.nan), index=column.index)
