"""Values that float32 cannot tell apart: columns far from zero are centered before they are rounded."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vicinal.contract.errors import InputError

from .pieces import is_in_memory

FAR = 2048
"""Standard deviations from zero, beyond which rounding to float32 is above a 4096th of one."""
N_LOOKED_AT = 4096
"""Rows that the center of a column is taken from."""
MOST_COLUMNS = 64
"""Columns up to which rows are counted that rounding makes equal; of more, hardly any row can be."""
LARGEST_INTEGER = 2.0**62
FEW = 0.001
"""Share of the rows that may be."""
SHIFTABLE = frozenset(
    "euclidean l2 sqeuclidean manhattan l1 cityblock taxicab chebyshev linf linfty linfinity minkowski seuclidean"
    " standardised_euclidean mahalanobis".split()
)
"""Metrics by which distances stay the same if something is added to all rows."""

Center: TypeAlias = NDArray[np.float64] | None
"""What is taken off each column of a representation; None for nothing."""

logger = logging.getLogger("vicinal")


def center_of(stored: Any, columns: NDArray[np.intp] | None, metric: object) -> Center:
    """Return what to take off each column before it is rounded; None where float32 holds the values as they are.

    ``stored`` is as `readable` returns it. Whole numbers, so that differences of integers stay integers; 0 for columns
    that are not far from zero.
    """
    if metric not in SHIFTABLE or sparse.issparse(stored) or not _is_wide(stored.dtype):
        return None
    sample = _some_rows(stored)
    if sample is None:
        return None
    values = sample if columns is None else sample[:, columns]
    with np.errstate(all="ignore"):
        first = values[0].astype(np.float64)
        apart = shifted(values, first).astype(np.float64)
        middle, spread = first + apart.mean(axis=0), apart.std(axis=0)
        is_far = (spread > 0) & (np.abs(middle) > FAR * spread) & np.isfinite(middle)
    return np.where(is_far, np.round(middle), 0.0) if is_far.any() else None


def _is_wide(dtype: np.dtype) -> bool:
    """Tell whether numbers of a type may need more than the 24 bits that float32 has."""
    return (dtype.kind == "f" and dtype.itemsize > 4) or (dtype.kind in "iu" and dtype.itemsize > 2)


def _some_rows(stored: Any) -> NDArray[Any] | None:
    if is_in_memory(stored):
        return stored[np.unique(np.linspace(0, len(stored) - 1, min(len(stored), N_LOOKED_AT)).astype(np.intp))]
    if not hasattr(stored, "chunks"):
        return None
    rows = stored[:N_LOOKED_AT]
    rows = rows.compute() if hasattr(rows, "compute") else rows
    return np.asarray(rows) if isinstance(rows, np.ndarray) else None


def shifted(values: NDArray[Any], center: NDArray[np.float64]) -> NDArray[Any]:
    """Return values less a center, integers subtracted as such: float64 has not all of 64 bits."""
    if values.dtype.kind in "iu" and np.abs(center).max() < LARGEST_INTEGER:
        return values.astype(np.int64) - center.astype(np.int64)
    return values.astype(np.float64) - center


def put_back(rows: NDArray[np.float32], center: Center) -> NDArray[Any]:
    """Return rows with their center: float64 where there is one, as float32 does not hold them."""
    return rows if center is None else rows + center


def center_in(representation: Mapping[str, Any] | None) -> Center:
    """Return what a model takes off each column of a representation; None for nothing."""
    center = (representation or {}).get("center")
    return None if center is None else np.asarray(center, dtype=np.float64)


def center_as_in(model: Any, n_columns: int, metric: object) -> Center:
    """Return the center of rows that a model's network goes on with: its own.

    Raises
    ------
    InputError
        If the metric is one by which a center matters.
    """
    center = center_in(getattr(getattr(model, "manifest", None), "representation", None))
    if center is None or len(center) != n_columns:  # another width is refused by who trains the network
        return None
    if metric not in SHIFTABLE:
        msg = f"metric={metric!r} does not fit continue_from: the model takes a center off its rows, which changes it"
        raise InputError(f"{msg}. Give metric='euclidean', or make a new map")
    return center


def count_merged(stored: Any, values: NDArray[np.float32], columns: Any, center: Any, name: str) -> int:
    """Return how many rows rounding makes equal to others, and warn where these are more than a few."""
    if not is_in_memory(stored) or not _is_wide(stored.dtype) or values.shape[1] > MOST_COLUMNS:
        return 0
    exact = stored if columns is None else stored[:, columns]
    exact = exact if center is None else shifted(exact, center)
    merged = _n_different(exact) - _n_different(values)
    if merged <= FEW * len(values):
        return 0
    n_obs = f"{len(values):,}"
    msg = "representation %r: rounding to float32 makes the rows of %s of %s cells equal to those of others"
    logger.warning(f"{msg}; neither map nor scores tell these apart", name, f"{merged:,}", n_obs)
    return merged


def _n_different(rows: NDArray[Any]) -> int:
    """Return how many rows differ, by sums that are taken alike for every row."""
    keys = np.zeros(len(rows))
    for j in range(rows.shape[1]):
        keys += rows[:, j].astype(np.float64) * (0.5 + (j * 0.6180339887498949) % 1)
    return len(np.unique(keys))
