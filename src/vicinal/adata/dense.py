"""Representations as dense rows of float32, from whatever form they are stored in."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.errors import InputError
from vicinal.pipeline.spool import new_rows

from .far import shifted
from .pieces import pieces, readable

CHECKED_VALUES = 2**22
"""Values that are looked at at a time."""


def dense_values(
    stored: Any,
    name: str,
    obs_names: Any = None,
    columns: NDArray[np.intp] | None = None,
    *,
    copies: int = 1,
    center: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Return a representation as float32, C-contiguous and finite; sharing memory where it is so already.

    Parameters
    ----------
    columns
        Those to take, in their order; None for all.
    copies
        Arrays of this size that there will be at a time, where they go into temporary files.
    center
        What to take off each wanted column before it is rounded.

    Raises
    ------
    InputError
        If it is not numeric, has no columns, does not fit on the disk, or holds NaN or infinity.
    """
    check_shape(stored, name)
    return dense_rows(readable(stored, name), name, obs_names, columns, copies=copies, center=center)


def dense_rows(
    stored: Any,
    name: str,
    obs_names: Any = None,
    columns: NDArray[np.intp] | None = None,
    *,
    copies: int = 1,
    center: NDArray[np.float64] | None = None,
) -> NDArray[np.float32]:
    """Return what is `readable` as `dense_values` does."""
    check_real(stored, name)
    n_obs, n_columns = stored.shape
    every = np.arange(n_columns)
    if center is None and _is_ready(stored) and (columns is None or np.array_equal(columns, every)):
        _check_whole(stored, name, obs_names)
        return stored
    wanted = every if columns is None else columns
    values = new_rows((n_obs, len(wanted)), name, copies=copies)
    _fill(values, stored, wanted, center).require_none(name, obs_names)
    return values


def check_shape(stored: Any, name: str) -> None:
    """Raise `InputError` unless a representation has rows and columns."""
    shape = tuple(stored.shape)
    if len(shape) != 2 or shape[1] == 0:
        raise InputError(
            f"representation {name!r} has shape {shape}; expected cells x features with at least one feature"
        )


def check_real(stored: Any, name: str) -> None:
    """Raise `InputError` unless a representation holds real numbers."""
    if stored.dtype.kind not in "fiub":
        raise InputError(f"representation {name!r} has dtype {stored.dtype}; expected real numbers")


class Flaws:
    """Values of a representation that cannot be used, counted while it is read.

    Parameters
    ----------
    n_obs
        Cells of the representation.
    """

    def __init__(self, n_obs: int) -> None:
        self._n_nan = self._n_infinite = 0
        self._cells = np.zeros(n_obs, dtype=bool)

    def look_at(self, values: NDArray[np.float32], rows: slice) -> None:
        """Count what is in some columns of some rows."""
        bad = ~np.isfinite(values)
        if not bad.any():
            return
        n_nan = int(np.isnan(values).sum())
        self._n_nan += n_nan
        self._n_infinite += int(bad.sum()) - n_nan
        self._cells[rows] |= bad.any(axis=1)

    def require_none(self, name: str, obs_names: Any) -> None:
        """Raise `InputError` if there are any."""
        rows = np.flatnonzero(self._cells)
        if len(rows) == 0:
            return
        shown = ", ".join(str(row) if obs_names is None else f"{row} ({obs_names[row]})" for row in rows[:3])
        found = f"{self._n_nan} NaN and {self._n_infinite} infinite values (as float32)"
        where = f"in {len(rows)} of {len(self._cells)} cells; the first: {shown}"
        raise InputError(f"representation {name!r} holds {found} {where}. Remove those cells or repair the values")


def _is_ready(stored: Any) -> bool:
    return isinstance(stored, np.ndarray) and stored.dtype == np.float32 and stored.flags.c_contiguous


def _check_whole(values: NDArray[np.float32], name: str, obs_names: Any) -> None:
    flaws, step = Flaws(len(values)), max(1, CHECKED_VALUES // values.shape[1])
    for start in range(0, len(values), step):
        flaws.look_at(values[start : start + step], slice(start, start + step))
    flaws.require_none(name, obs_names)


def _fill(
    values: NDArray[np.float32], stored: Any, wanted: NDArray[np.intp], center: NDArray[np.float64] | None
) -> Flaws:
    flaws = Flaws(len(values))
    with np.errstate(over="ignore"):
        for rows, places, piece in pieces(stored, wanted):
            values[rows, places] = piece if center is None else shifted(piece, center[places])
            flaws.look_at(values[rows, places], rows)
    return flaws
