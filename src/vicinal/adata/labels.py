"""Which columns of ``obs`` can be labels: those that several cells share a value of."""

from __future__ import annotations

import pandas as pd

from vicinal.contract.errors import InputError

MOST_FRACTIONS = 20
"""Different values up to which numbers with fractions can stand for labels, such as doses."""
MOST_INTEGERS = 200
"""Different values up to which integers can, such as clusters."""


def check_labels(column: pd.Series, argument: str) -> None:
    """Raise `InputError` for a column whose values are measurements, or names that no two cells share.

    Parameters
    ----------
    argument
        What was given, such as ``labels='dose'``.
    """
    known = column.dropna().infer_objects()
    n_values, n_known = known.nunique(), len(known)
    what = f"{n_values:,} different values in {n_known:,} cells"
    if _is_measured(known, n_values):
        name = column.name
        msg = f"{argument} holds numbers, {what}; labels are names or groups that cells share, such as cell types"
        remedy = f"adata.obs['{name}_group'] = pandas.cut(adata.obs[{name!r}], 10)"
        raise InputError(f"{msg}. Name such a column, or make groups of the numbers: {remedy}")
    if n_known > 2 and n_values == n_known:
        msg = f"{argument} has {what}: no two cells share one"
        raise InputError(f"{msg}. Name a column of labels that cells share, such as cell types")


def _is_measured(known: pd.Series, n_values: int) -> bool:
    """Tell whether values are dates or numbers, of more kinds than there are labels."""
    if isinstance(known.dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(known.dtype):
        return False
    if known.dtype.kind in "mM":
        return n_values > MOST_FRACTIONS
    if not pd.api.types.is_numeric_dtype(known.dtype):
        return False
    is_whole = bool((known.astype(float) % 1 == 0).all())
    return n_values > (MOST_INTEGERS if is_whole else MOST_FRACTIONS) or (n_values == len(known) > 2)
