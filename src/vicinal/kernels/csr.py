"""Compressed sparse rows: whether their arrays fit together, in one pass each.

Neither scipy nor anndata looks, and compiled code then reads and writes outside of the arrays.
"""

from __future__ import annotations

from typing import Any

import numpy as np

IN_MEMORY, ON_DISK = (np.dtype(np.int32), np.dtype(np.int64)), tuple(map(np.dtype, "bhilqBHILQ"))
"""Types of indices: scipy's compiled code knows two, of what is read from a file others can be made into these."""


def structure_flaw(matrix: Any) -> str:
    """Return what is wrong with the arrays of a scipy matrix in CSR, CSC or COO form, or an empty string."""
    names = ("row", "column") if matrix.format != "csc" else ("column", "row")
    if matrix.format == "coo":
        n_rows, n_columns = matrix.shape
        arrays = {"row": matrix.row, "col": matrix.col, "data": matrix.data}
        return (
            _array_flaw(arrays, IN_MEMORY)
            or _length_flaw(arrays)
            or index_flaw(matrix.row, n_rows, "row")
            or index_flaw(matrix.col, n_columns, "column")
        )
    n_major, n_minor = matrix.shape if matrix.format == "csr" else matrix.shape[::-1]
    arrays = {"indices": matrix.indices, "data": matrix.data}
    return (
        _array_flaw({"indptr": matrix.indptr, **arrays}, IN_MEMORY)
        or _length_flaw(arrays)
        or indptr_flaw(matrix.indptr, n_major, len(matrix.indices), names[0])
        or index_flaw(matrix.indices, n_minor, names[1])
    )


def indptr_flaw(indptr: np.ndarray, n_major: int, n_stored: int, of: str = "row") -> str:
    """Return why the entries of rows do not lie one after the other, or an empty string."""
    if len(indptr) != n_major + 1:
        return f"indptr has {len(indptr):,} values, {n_major + 1:,} are needed for {n_major:,} {of}s"
    if indptr[0] != 0 or indptr[-1] != n_stored:
        return f"indptr runs from {indptr[0]} to {indptr[-1]}; it must run from 0 to the {n_stored:,} stored values"
    falls = indptr[1:] < indptr[:-1]
    return f"indptr falls after {of} {int(falls.argmax())}; it must not" if falls.any() else ""


def index_flaw(indices: np.ndarray, n: int, of: str) -> str:
    """Return which indices are outside 0 to n - 1, or an empty string; one pass, no copy."""
    if not len(indices):
        return ""
    largest = indices.view(f"u{indices.itemsize}").max()  # a negative one is larger than any other
    if largest < n:
        return ""
    return f"indices of {of}s run from {indices.min()} to {indices.max()}; they must be from 0 to {n - 1}"


def _array_flaw(arrays: dict[str, Any], allowed: tuple[np.dtype, ...]) -> str:
    for name, array in arrays.items():
        if not isinstance(array, np.ndarray) or array.ndim != 1:
            return f"{name} is no array of one dimension"
        if name != "data" and array.dtype not in allowed:
            return f"{name} has dtype {array.dtype}; int32 or int64 is needed"
    return ""


def _length_flaw(arrays: dict[str, Any]) -> str:
    lengths = {name: len(array) for name, array in arrays.items()}
    shown = ", ".join(f"{length:,} values in {name}" for name, length in lengths.items())
    return "" if len(set(lengths.values())) == 1 else f"lengths differ: {shown}"
