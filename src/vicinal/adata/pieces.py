"""Reads stored values piece by piece, in whatever form they are stored; no more than a piece is held at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from anndata.abc import CSCDataset, CSRDataset
from numpy.typing import ArrayLike, NDArray
from scipy import sparse

from .frames import without_frame
from .stored import OnDisk, checked_blocks, checked_sparse

PIECE_BYTES = 32 * 2**20
"""Bytes of a piece, as it is stored or dense; beyond them only where the storage has larger blocks."""
INDEX_BYTES = 8

Index = slice | NDArray[np.intp]


class Reader(Protocol):
    """Reads one form of storage."""

    def spans(self, first: int, stop: int) -> Iterator[slice]:
        """Yield the ranges of columns to read one after the other; they cover ``first`` to ``stop``."""
        ...

    def rows(self, span: slice, n_wanted: int) -> Iterator[tuple[slice, Any]]:
        """Yield ranges of rows with their values in a range of columns."""
        ...


def readable(stored: Any, name: str) -> Any:
    """Return what `pieces` can read: on disk, lazy or sparse as it is stored, all else as an array.

    Raises
    ------
    InputError
        If it is a sparse matrix whose arrays do not fit together; on disk or lazy, `pieces` raises it for what it
        comes to.
    """
    shown = ".X" if name == "X" else f"representation {name!r}"
    if sparse.issparse(stored):
        stored = checked_sparse(stored, shown)
        return stored if stored.format in ("csr", "csc") else stored.tocsr()
    if isinstance(stored, CSRDataset | CSCDataset):
        return OnDisk(stored, shown)
    if _is_lazy(stored):
        return checked_blocks(stored, shown)
    if _is_on_disk(stored):
        return stored
    stored = without_frame(stored, name)
    return np.asarray(stored.to_memory() if hasattr(stored, "to_memory") else stored)


def pieces(stored: Any, wanted: NDArray[np.intp]) -> Iterator[tuple[slice, Index, np.ndarray]]:
    """Yield dense values of the wanted columns, each once, with their rows and their places among the wanted."""
    reader = _reader(stored)
    for span in reader.spans(int(wanted.min()), int(wanted.max()) + 1):
        places = np.flatnonzero((span.start <= wanted) & (wanted < span.stop))
        columns = as_slice(wanted[places] - span.start)
        for rows, values in reader.rows(span, len(places)) if len(places) else ():
            yield rows, as_slice(places), _dense(values, columns)


def is_in_memory(stored: Any) -> bool:
    """Tell whether values are a plain array."""
    return isinstance(stored, np.ndarray)


def has_whole_rows(stored: Any, wanted: NDArray[np.intp]) -> bool:
    """Tell whether `pieces` gives all wanted columns of a row at once."""
    return len(list(_reader(stored).spans(int(wanted.min()), int(wanted.max()) + 1))) == 1


def as_slice(indices: NDArray[np.intp]) -> Index:
    """Return indices that follow each other as a slice, which numpy copies several times faster."""
    first = int(indices[0]) if len(indices) else 0
    run = np.arange(first, first + len(indices))
    return slice(first, first + len(indices)) if np.array_equal(indices, run) else indices


def cuts(lengths: ArrayLike, sizes: ArrayLike, at_most: float) -> Iterator[slice]:
    """Yield ranges that together cover blocks of some lengths: as many blocks at a time as fit, at least one."""
    ends, filled = np.cumsum(lengths), np.cumsum(sizes)
    block = 0
    while block < len(ends):
        begin, before = (ends[block - 1], filled[block - 1]) if block else (0, 0)
        block = max(block + 1, int(np.searchsorted(filled, before + at_most, side="right")))
        yield slice(int(begin), int(ends[block - 1]))


def _reader(stored: Any) -> Reader:
    if sparse.issparse(stored) or isinstance(stored, OnDisk):
        return _CompressedRows(stored) if stored.format == "csr" else _CompressedColumns(stored)
    return _Blocks(stored)


class _CompressedRows:
    def __init__(self, stored: Any) -> None:
        self._stored = stored

    def spans(self, first: int, stop: int) -> Iterator[slice]:
        yield slice(0, self._stored.shape[1])  # a row is stored in one piece

    def rows(self, span: slice, n_wanted: int) -> Iterator[tuple[slice, Any]]:
        item = self._stored.dtype.itemsize
        sizes = _stored_bytes(self._stored) + n_wanted * item
        for rows in cuts(np.ones(len(sizes), dtype=np.int64), sizes, PIECE_BYTES):
            yield rows, self._stored.part(rows) if isinstance(self._stored, OnDisk) else self._stored[rows]


class _CompressedColumns:
    """Reads each column once: to find a row, all of them would have to be read."""

    def __init__(self, stored: Any) -> None:
        self._stored = stored

    def spans(self, first: int, stop: int) -> Iterator[slice]:
        sizes = _stored_bytes(self._stored)[first:stop]
        for span in cuts(np.ones(len(sizes), dtype=np.int64), sizes, PIECE_BYTES):
            yield slice(first + span.start, first + span.stop)

    def rows(self, span: slice, n_wanted: int) -> Iterator[tuple[slice, Any]]:
        on_disk = isinstance(self._stored, OnDisk)
        by_row = (self._stored.part(span) if on_disk else self._stored[:, span]).tocsr()
        step = max(1, PIECE_BYTES // (n_wanted * by_row.dtype.itemsize))
        for start in range(0, by_row.shape[0], step):
            rows = slice(start, min(start + step, by_row.shape[0]))
            yield rows, by_row[rows]


class _Blocks:
    """Reads whole blocks of the storage, so that none is read or computed twice."""

    def __init__(self, stored: Any) -> None:
        self._stored = stored
        self._item = stored.dtype.itemsize
        self._heights, self._widths = _block_sizes(stored)

    def spans(self, first: int, stop: int) -> Iterator[slice]:
        for span in cuts(self._widths, self._widths, PIECE_BYTES / (self._heights.max() * self._item)):
            narrow = slice(max(span.start, first), min(span.stop, stop))
            if narrow.start < narrow.stop:
                yield narrow

    def rows(self, span: slice, n_wanted: int) -> Iterator[tuple[slice, Any]]:
        ends = np.cumsum(self._widths)
        touched = (ends > span.start) & (ends - self._widths < span.stop)
        width = self._widths[touched].sum()  # blocks are decoded or computed whole
        for rows in cuts(self._heights, self._heights, PIECE_BYTES / (width * self._item)):
            values = self._stored[rows, span]
            yield rows, values.compute() if _is_lazy(values) else values


def _block_sizes(stored: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    if _is_lazy(stored):
        heights, widths = stored.chunks
        return np.array(heights, dtype=np.int64), np.array(widths, dtype=np.int64)
    n, d = stored.shape
    anywhere = (max(1, PIECE_BYTES // (d * stored.dtype.itemsize)), d)
    height, width = getattr(stored, "chunks", None) or anywhere
    return _lengths(n, height), _lengths(d, width)


def _lengths(n: int, step: int) -> NDArray[np.int64]:
    return np.minimum(step, n - np.arange(0, n, step, dtype=np.int64))


def _stored_bytes(stored: Any) -> NDArray[np.int64]:
    """Return what each row of a CSR matrix, or column of a CSC one, takes."""
    return np.diff(stored.indptr).astype(np.int64) * (stored.dtype.itemsize + INDEX_BYTES)


def _dense(values: Any, columns: Index) -> np.ndarray:
    if not sparse.issparse(values):
        return np.asarray(values)[:, columns]
    is_all = isinstance(columns, slice) and columns.stop - columns.start == values.shape[1]
    return (values if is_all else values[:, columns]).toarray()


def _is_lazy(stored: Any) -> bool:
    return hasattr(stored, "__dask_graph__") and stored.chunks is not None


def _is_on_disk(stored: Any) -> bool:
    # h5py's and zarr's arrays, without importing what reading may not need.
    return all(hasattr(stored, name) for name in ("chunks", "dtype", "shape")) and not isinstance(stored, np.ndarray)
