"""Tables of pandas among the slots: their columns as numbers, also those that may lack values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype, is_numeric_dtype

from vicinal.contract.errors import InputError, listing


def without_frame(stored: Any, name: str) -> Any:
    """Return a slot that is a DataFrame as an array, missing values NaN; any other as it is.

    Raises
    ------
    InputError
        If a column holds something other than real numbers.
    """
    if hasattr(stored, "columns") and hasattr(stored, "to_memory"):  # anndata's, of a file read lazily
        stored = stored.to_memory()
    if not isinstance(stored, pd.DataFrame):
        return stored
    words = [column for column, dtype in zip(stored.columns, stored.dtypes, strict=True) if not _is_real(dtype)]
    if words:
        some = listing(words[:3]) + (" and others" if len(words) > 3 else "")
        msg = f"representation {name!r}: {len(words)} of {stored.shape[1]} columns hold no real numbers ({some})"
        raise InputError(f"{msg}; drop them, or give the numbers alone another key of obsm")
    single = all(np.dtype(getattr(dtype, "numpy_dtype", dtype)) == np.float32 for dtype in stored.dtypes)
    return stored.to_numpy(dtype=np.float32 if single else np.float64, na_value=np.nan)


def _is_real(dtype: Any) -> bool:
    is_complex = isinstance(dtype, np.dtype) and dtype.kind == "c"
    return (is_numeric_dtype(dtype) or is_bool_dtype(dtype)) and not is_complex
