"""The one door for sparse matrices: their structure is checked before any other code touches them."""

from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
from anndata.abc import CSCDataset, CSRDataset
from numpy.typing import NDArray
from scipy import sparse

from vicinal.contract.data import MISSING, Neighbors
from vicinal.contract.errors import InputError
from vicinal.kernels.csr import IN_MEMORY, ON_DISK, index_flaw, indptr_flaw, structure_flaw

from .kinds import layers_of, values_of

CHECKED = ("csr", "csc", "coo")
COMPUTED = "fiubc"
"""Kinds of numbers that scipy takes rows of."""
REMEDY = "Read the file anew, or compute it again"


def checked_sparse(matrix: Any, name: str) -> Any:
    """Return a scipy matrix whose arrays fit together, in CSR, CSC or COO form; the same one where it has one of these.

    Raises
    ------
    InputError
        If an index is out of range, or an array of the structure has a wrong length, order or type.
    """
    if matrix.format not in CHECKED:
        matrix = _as_coo(matrix, name)
    _require(structure_flaw(matrix), matrix.format, name)
    return _usable(matrix)


def _usable(matrix: Any) -> Any:
    """Return a matrix that scipy computes with: files may hold types of numbers and indices that it refuses."""
    native = matrix.data.dtype.newbyteorder("=")
    data = matrix.data.astype(np.float32 if native == np.float16 else native, copy=False)
    if matrix.format == "coo":
        return matrix if data is matrix.data else type(matrix)((data, (matrix.row, matrix.col)), shape=matrix.shape)
    if data is matrix.data and matrix.indices.dtype == matrix.indptr.dtype:
        return matrix
    return type(matrix)((data, matrix.indices, matrix.indptr), shape=matrix.shape)


def is_sparse(stored: Any) -> bool:
    """Tell whether a stored matrix is sparse, in memory, on disk or in lazy blocks."""
    in_blocks = hasattr(stored, "__dask_graph__") and not isinstance(stored._meta, np.ndarray)
    return in_blocks or sparse.issparse(stored) or isinstance(stored, CSRDataset | CSCDataset)


def checked_rows(stored: Any, name: str) -> sparse.csr_matrix:
    """Return a stored matrix, in memory, on disk, lazy or dense, as compressed sparse rows of real numbers."""
    if isinstance(stored, CSRDataset | CSCDataset):
        stored = OnDisk(stored, name).whole()
    elif hasattr(stored, "__dask_graph__"):
        stored = checked_blocks(stored, name).compute()
    elif not sparse.issparse(stored):
        stored = _as_dense(stored, name)
    if sparse.issparse(stored):
        stored = checked_sparse(stored, name)
    if stored.dtype.kind not in "fiub":
        raise InputError(f"{name} has dtype {stored.dtype}; expected real numbers")
    return sparse.csr_matrix(stored)


def checked_blocks(stored: Any, name: str) -> Any:
    """Return a lazy array that checks each of its sparse blocks when it is computed; one of dense blocks as it is."""
    if isinstance(stored._meta, np.ndarray):
        return stored

    def check(block: Any) -> Any:
        return checked_sparse(block, name) if sparse.issparse(block) else block

    return stored.map_blocks(check, dtype=stored.dtype, meta=stored._meta)


def check_source(view: ad.AnnData) -> None:
    """Check what a view is taken from: anndata lets scipy take rows of it at each access."""
    source = getattr(view, "_adata_ref", getattr(view, "_mudata_ref", None))
    if source is None or source.isbacked:
        return
    slots = {"X": values_of(source)} | {
        f"layers[{key!r}]": value for key, value in layers_of(source).items() if key is not None
    }
    for group in ("obsm", "obsp"):
        slots |= {f"{group}[{key!r}]": value for key, value in getattr(source, group).items()}
    for name, value in slots.items():
        if sparse.issparse(value) and (
            checked_sparse(value, name).dtype != value.dtype or value.dtype.kind not in COMPUTED
        ):
            raise InputError(
                f"{name} holds {value.dtype}, of which scipy takes no rows; make it float32, then the view"
            )


class StoredDistances:
    """The distances of stored neighbours, as compressed rows that were checked.

    Parameters
    ----------
    matrix
        ``(n_obs, n_obs)``; entries on the diagonal and those that are not finite are no neighbours.
    n_jobs
        Threads; None for all processors.
    """

    def __init__(self, matrix: sparse.csr_matrix, n_jobs: int | None = None) -> None:
        from vicinal.kernels.nearest_first import count_neighbors
        from vicinal.kernels.processors import threads_for

        self._arrays = matrix.indptr, matrix.indices, matrix.data
        self._n_jobs = threads_for(n_jobs)
        self.counts = count_neighbors(*self._arrays, n_jobs=self._n_jobs)

    def table(self) -> Neighbors:
        """Return them nearest first, ragged where rows have different numbers of them."""
        from vicinal.kernels.nearest_first import nearest_first

        indices, distances = nearest_first(*self._arrays, self.counts, missing=MISSING, n_jobs=self._n_jobs)
        return Neighbors(indices=indices, distances=distances)


class OnDisk:
    """A CSR or CSC matrix in a file, read in parts of its rows or columns, each of them checked.

    Parameters
    ----------
    dataset
        What anndata gives for it.
    name
        What errors call it.
    """

    def __init__(self, dataset: Any, name: str) -> None:
        self.format, self.dtype, self.shape = dataset.format, dataset.dtype, tuple(map(int, dataset.shape))
        self._group, self._name = dataset.group, name
        n_rows, n_columns = self.shape
        self._n_major, self._n_minor = (n_rows, n_columns) if self.format == "csr" else (n_columns, n_rows)
        self._of = ("row", "column") if self.format == "csr" else ("column", "row")
        _require(self._form_flaw(), self.format, name)
        indptr = self._group["indptr"][...]
        self.indptr: NDArray[np.signedinteger] = indptr if indptr.dtype in IN_MEMORY else indptr.astype(np.int64)
        n_stored = self._group["indices"].shape[0]
        _require(indptr_flaw(self.indptr, self._n_major, n_stored, self._of[0]), self.format, name)

    def part(self, span: slice) -> Any:
        """Return a range of rows of a CSR matrix, or of columns of a CSC one, as a scipy matrix."""
        first, stop = int(self.indptr[span.start]), int(self.indptr[span.stop])
        indices = self._group["indices"][first:stop]
        _require(index_flaw(indices, self._n_minor, self._of[1]), self.format, self._name)
        arrays = self._group["data"][first:stop], indices, self.indptr[span.start : span.stop + 1] - first
        n_major = span.stop - span.start
        if self.format == "csr":
            return sparse.csr_matrix(arrays, shape=(n_major, self._n_minor))
        return sparse.csc_matrix(arrays, shape=(self._n_minor, n_major))

    def rows(self, some: NDArray[np.intp]) -> np.ndarray:
        """Return some rows, dense, in the order given; about a thousand columns of a CSC matrix are held at a time."""
        if self.format == "csr":
            return np.vstack([self.part(slice(row, row + 1)).toarray() for row in map(int, some)])
        spans = [slice(first, min(first + 1024, self._n_major)) for first in range(0, self._n_major, 1024)]
        return np.hstack([self.part(span).tocsr()[some].toarray() for span in spans])

    def whole(self) -> Any:
        """Return all of it as a scipy matrix."""
        return self.part(slice(0, self._n_major))

    def _form_flaw(self) -> str:
        lengths = {}
        for part in ("indptr", "indices", "data"):
            array = self._group[part]
            if len(array.shape) != 1:
                return f"{part} is no array of one dimension"
            if part != "data" and array.dtype not in ON_DISK:
                return f"{part} has dtype {array.dtype}; int32 or int64 is needed"
            lengths[part] = int(array.shape[0])
        if lengths["indices"] != lengths["data"]:
            return f"lengths differ: {lengths['indices']:,} values in indices, {lengths['data']:,} values in data"
        needed = self._n_major + 1
        return "" if lengths["indptr"] == needed else f"indptr has {lengths['indptr']:,} values, {needed:,} are needed"


def _require(flaw: str, form: str, name: str) -> None:
    if flaw:
        raise InputError(f"{name} is a damaged {form.upper()} matrix: {flaw}. {REMEDY}")


def _as_coo(matrix: Any, name: str) -> Any:
    try:
        return matrix.tocoo()
    except Exception as error:  # whatever its own form does where it is damaged
        raise InputError(f"{name} is a damaged {matrix.format.upper()} matrix: {error}. {REMEDY}") from error


def _as_dense(stored: Any, name: str) -> np.ndarray:
    try:
        values = np.asarray(stored.to_numpy() if hasattr(stored, "to_numpy") else stored)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name} cannot be read as a matrix ({error})") from None
    if values.ndim != 2:
        raise InputError(f"{name} has shape {values.shape}; expected a matrix, one row and one column for each cell")
    return values
