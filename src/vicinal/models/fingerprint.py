"""Tells a representation from another of the same width, where the two are far apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.errors import InputError, ModelError

FIELD = "fingerprint"
"""Of the manifest's record of the representation."""
TOO_FAR = 20.0
"""Deviations that half the columns of half the cells may be away from the reference's mean. Cells of other types,
organs or batches stay below 5; another unit or another network is often at hundreds."""
DIGITS = 6


def fingerprint_of(rows: NDArray[np.float32]) -> dict[str, list[float]]:
    """Return mean and standard deviation of each column, as JSON holds them."""
    return {
        "mean": [_rounded(value) for value in rows.mean(axis=0, dtype=np.float64)],
        "std": [_rounded(value) for value in rows.std(axis=0, dtype=np.float64)],
    }


def _rounded(value: float) -> float:
    return float(f"{value:.{DIGITS}g}")


def check_fingerprint(rows: NDArray[np.float32], representation: Mapping[str, Any], name: str) -> None:
    """Raise `InputError` where rows cannot be of the representation that a model was made from.

    Of each row the median over the columns of ``abs(row - mean) / std`` is taken; they are refused where the median of
    those over the rows is above 20. Columns that are constant in the reference say nothing.

    Parameters
    ----------
    rows
        float32 ``(n, n_features)``, finite.
    representation
        The manifest's record; one without a fingerprint is of a model that has none.
    """
    known = representation.get(FIELD)
    if known is None or len(rows) == 0:
        return
    mean, std = _parsed(known, rows.shape[1])
    if not (std > 0).any():
        return
    away = np.abs(rows[:, std > 0] - mean[std > 0]) / std[std > 0]
    typical = float(np.median(np.median(away, axis=1)))
    if typical > TOO_FAR:
        msg = f"{name!r} is another representation than the one the model was made from: half of its columns are"
        remedy = "Compute it as it was for the reference, by the same PCA or network, in the same units"
        raise InputError(f"{msg} {typical:,.0f} standard deviations from the reference's mean, or more. {remedy}")


def _parsed(known: Any, n_columns: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    try:
        mean, std = (np.asarray(known[field], dtype=np.float64) for field in ("mean", "std"))
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ModelError(f"model.json: the representation's {FIELD!r} cannot be read ({error})") from error
    if not (np.isfinite(mean).all() and np.isfinite(std).all()):
        raise ModelError(f"model.json: the representation's {FIELD!r} holds NaN or infinity")
    if mean.shape != (n_columns,) or std.shape != (n_columns,):
        raise ModelError(f"model.json: the representation's {FIELD!r} is not of {n_columns} columns")
    return mean, std
