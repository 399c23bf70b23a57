"""Sparse matrices whose parts do not fit together."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
from scipy import sparse

NUMBERS = [-1, -300, -(2**31), 60, 61, 10**6, 2**28, 2**31 - 1, 2**40, 2**62, 0, 5]
WEIGHTS = [np.nan, np.inf, -np.inf, -1.0, 3e38, 1e-45, 0.0]
DTYPES = ["i1", "u1", "i2", "u4", "i8", "u8", "f4", "f8", "f2", "?", "c8", "O", ">i4", ">f4"]


def broken(matrix: Any, draw: random.Random, forms: list[str]) -> tuple[Any, str]:
    """Return a matrix in one of the forms, one or two of its parts altered, and what was done."""
    form = draw.choice(forms)
    matrix = (sparse.csr_array if draw.random() < 0.2 else sparse.csr_matrix)(matrix).asformat(form, copy=True)
    parts = ["data", "row", "col"] if form == "coo" else ["data", "indices", "indptr"]
    done = [_break(matrix, draw.choice(parts), draw) for _ in range(draw.choice([1, 1, 1, 2]))]
    return matrix, f"{form} {matrix.shape}: {'; '.join(done)}"


def _break(matrix: Any, part: str, draw: random.Random) -> str:
    old = np.array(getattr(matrix, part))
    how = draw.choice(["number", "number", "number", "half", "dtype", "short", "long", "swap", "unsorted", "2d"])
    told = how
    if how in ("number", "half") and old.size:
        value = draw.choice(WEIGHTS if part == "data" else NUMBERS)
        if part != "data" and abs(value) > 2**31:
            old = old.astype(np.int64)
        where: Any = draw.choice([0, old.size // 2, old.size - 1, draw.randrange(old.size)])
        where = slice(None, None, 2) if how == "half" else where
        with np.errstate(all="ignore"):
            old[where] = np.asarray(value).astype(old.dtype)
        told = f"{how} {where} is {value}"
    elif how == "dtype":
        dtype = draw.choice(DTYPES)
        with np.errstate(all="ignore"):
            old, told = old.astype(dtype), f"of {dtype}"
    elif how == "short":
        cut = draw.choice([1, old.size // 2, old.size])
        old, told = old[: old.size - cut], f"{cut} short"
    elif how == "long":
        old = np.concatenate([old, old])
    elif how == "swap" and old.size > 3:
        at = draw.randrange(old.size - 1)
        old[[at, at + 1]] = old[[at + 1, at]]
    elif how == "unsorted":
        old = old[::-1].copy()
    elif how == "2d":
        old = old[:, None]
    _put(matrix, part, old)
    return f"{part} {told}"


def _put(matrix: Any, part: str, values: np.ndarray) -> None:
    """Set a part as a reader of files does, past the checks of scipy."""
    if part in ("row", "col"):
        coords = list(matrix.coords)
        coords["row col".split().index(part)] = values
        matrix.coords = tuple(coords)
    else:
        setattr(matrix, part, values)
