"""Whatever form a representation is stored in, its rows are the same bits, and it is never held whole."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import anndata as ad
import dask.array as da
import h5py
import numpy as np
import pandas as pd
import pytest
import zarr
from anndata.io import sparse_dataset
from scipy import sparse

import vicinal as vc
from vicinal.adata import dense, pieces
from vicinal.adata.dense import dense_values
from vicinal.adata.pieces import cuts
from vicinal.api import InputError

pytestmark = pytest.mark.filterwarnings("ignore:Writing zarr v2")

N, D = 211, 17
SMALL = 1000


@pytest.fixture
def small_pieces(monkeypatch):
    monkeypatch.setattr(pieces, "PIECE_BYTES", SMALL)
    monkeypatch.setattr(dense, "CHECKED_VALUES", SMALL // 4)


@pytest.fixture
def wide(rng):
    values = rng.normal(size=(N, D)) * 10.0 ** rng.integers(-20, 20, size=(N, D))
    values[rng.random((N, D)) < 0.5] = 0
    values[7] = 0
    return values


def h5ad(values, folder, name="X"):
    slots = {"X": {"X": values}, "layer": {"layers": {"layer": values}}}[name]
    adata = ad.AnnData(**slots)
    adata.write_h5ad(folder / "cells.h5ad")
    return ad.read_h5ad(folder / "cells.h5ad", backed="r")


def h5(values, folder, **options):
    return h5py.File(folder / "values.h5", "w").create_dataset("values", data=values, **options)


def zarr_array(values, folder, chunks):
    stored = zarr.open_group(folder / "values.zarr", mode="w").create_array(
        "values", shape=values.shape, dtype=values.dtype, chunks=chunks
    )
    stored[...] = values
    return stored


def zarr_group(values, folder):
    group = zarr.open_group(folder / "elements.zarr", mode="w")
    ad.io.write_elem(group, "values", values)
    return group["values"]


def lazily(values, folder, **options):
    return ad.experimental.read_elem_lazy(zarr_group(values, folder), **options)


FORMS = {
    "float64": lambda x, _: x,
    "fortran": lambda x, _: np.asfortranarray(x),
    "big-endian": lambda x, _: x.astype(">f8"),
    "strided": lambda x, _: np.repeat(x, 2, axis=1)[:, ::2],
    "frame": lambda x, _: pd.DataFrame(x),
    "csr": lambda x, _: sparse.csr_matrix(x),
    "csr array": lambda x, _: sparse.csr_array(x),
    "csc": lambda x, _: sparse.csc_matrix(x),
    "coo": lambda x, _: sparse.coo_matrix(x),
    "h5 contiguous": lambda x, folder: h5(x, folder),
    "h5 by rows": lambda x, folder: h5(x, folder, chunks=(10, D)),
    "h5 by columns": lambda x, folder: h5(x, folder, chunks=(N, 1), compression="gzip"),
    "h5 tiles": lambda x, folder: h5(x, folder, chunks=(13, 5)),
    "h5ad dense": lambda x, folder: h5ad(x, folder).X,
    "h5ad csr": lambda x, folder: h5ad(sparse.csr_matrix(x), folder).X,
    "h5ad csc": lambda x, folder: h5ad(sparse.csc_matrix(x), folder).X,
    "h5ad layer": lambda x, folder: h5ad(sparse.csr_matrix(x), folder, "layer").layers["layer"],
    "zarr by rows": lambda x, folder: zarr_array(x, folder, (20, D)),
    "zarr tiles": lambda x, folder: zarr_array(x, folder, (50, 4)),
    "zarr csr": lambda x, folder: sparse_dataset(zarr_group(sparse.csr_matrix(x), folder)),
    "zarr csc": lambda x, folder: sparse_dataset(zarr_group(sparse.csc_matrix(x), folder)),
    "lazy dense": lambda x, folder: lazily(x, folder, chunks=(9, D)),
    "lazy csr": lambda x, folder: lazily(sparse.csr_matrix(x), folder, chunks=(9, D)),
    "lazy csc": lambda x, folder: lazily(sparse.csc_matrix(x), folder, chunks=(N, 2)),
    "dask": lambda x, _: da.from_array(x, chunks=((1, 110, 0, 100), (3, 14))),
    "dask of csr": lambda x, _: da.from_array(x, chunks=(40, D)).map_blocks(sparse.csr_matrix),
}


@pytest.mark.usefixtures("small_pieces")
class TestForms:
    @pytest.mark.parametrize("form", FORMS)
    def test_the_rows_are_the_same_bits(self, wide, tmp_path, form):
        found = dense_values(FORMS[form](wide, tmp_path), "rows")
        assert found.dtype == np.float32 and found.flags.c_contiguous and type(found) is np.ndarray
        assert found.tobytes() == wide.astype(np.float32).tobytes()

    @pytest.mark.parametrize("columns", [[0, 1, 2], [5, 6], [16], [16, 0, 9, 3, 4, 5]], ids=str)
    @pytest.mark.parametrize("form", FORMS)
    def test_so_are_some_columns(self, wide, tmp_path, form, columns):
        found = dense_values(FORMS[form](wide, tmp_path), "rows", columns=np.array(columns))
        assert found.tobytes() == wide[:, columns].astype(np.float32).tobytes()

    @pytest.mark.parametrize("dtype", ["bool", "int8", "int64", "uint64", "float32"])
    @pytest.mark.parametrize("form", ["float64", "csr", "h5 tiles", "h5ad csr", "zarr csc", "lazy dense"])
    def test_other_numbers(self, rng, tmp_path, form, dtype):
        values = rng.integers(0, 2 if dtype == "bool" else 100, size=(N, D)).astype(dtype)
        assert np.array_equal(dense_values(FORMS[form](values, tmp_path), "rows"), values.astype(np.float32))

    @pytest.mark.parametrize("form", FORMS)
    def test_what_cannot_be_used_is_found_in_its_cells(self, wide, tmp_path, form):
        wide[3, 2], wide[100, [0, 16]], wide[210, 9] = np.inf, np.nan, 1e200
        text = r"'rows' holds 2 NaN and 2 infinite values \(as float32\) in 3 of 211 cells; the first: 3 \(c3\), 100"
        with pytest.raises(InputError, match=text):
            dense_values(FORMS[form](wide, tmp_path), "rows", np.array([f"c{i}" for i in range(N)]))

    def test_so_it_is_in_what_is_shared(self, wide):
        rows = np.nan_to_num(wide.astype(np.float32))
        assert dense_values(rows, "rows") is rows
        rows[150, 3] = np.nan
        with pytest.raises(InputError, match="1 NaN and 0 infinite values .* in 1 of 211 cells; the first: 150"):
            dense_values(rows, "rows")

    def test_columns_that_are_not_taken_are_not_looked_at(self, wide, tmp_path):
        adata = ad.AnnData(np.zeros((N, 1), np.float32), obsm={"X_pca": wide.copy()})
        adata.obsm["X_pca"][5, 9] = np.nan
        assert vc.tl.plan(adata, n_pcs=9).n_pcs == 9
        with pytest.raises(InputError, match="1 NaN"):
            vc.tl.plan(adata, n_pcs=10)

    @pytest.mark.parametrize("form", ["float64", "csr", "h5 tiles", "lazy dense"])
    def test_complex_numbers_are_refused(self, wide, tmp_path, form):
        with pytest.raises(InputError, match="'rows' has dtype complex128; expected real numbers"):
            dense_values(FORMS[form](wide.astype(complex), tmp_path), "rows")

    def test_values_stored_twice_add_up(self):
        stored = sparse.csr_matrix((np.ones(3), [0, 0, 1], [0, 2, 3]), shape=(2, 3))
        for twice in (stored, stored.tocsc()):
            assert np.array_equal(dense_values(twice, "rows"), [[2, 0, 0], [0, 1, 0]])


class TestNeverWhole:
    """What is stored takes 16 MB and more; a piece 0.25 MB, and at least one block of the storage."""

    N, D, PIECE = 40_000, 50, 2**18

    @pytest.fixture
    def stored(self, rng, monkeypatch):
        monkeypatch.setattr(pieces, "PIECE_BYTES", self.PIECE)
        return rng.normal(size=(self.N, self.D))

    @pytest.mark.parametrize(
        "form",
        ["float64", "csr", "csc", "h5 contiguous", "h5ad dense", "h5ad csr", "h5ad csc", "zarr", "zarr csr", "zarr csc"]
        + ["lazy dense", "lazy csr"],
    )
    def test_beside_the_rows_it_takes_less_than_a_quarter(self, stored, tmp_path, form):
        forms = {
            "zarr": lambda x, folder: zarr_array(x, folder, (500, 25)),
            "lazy dense": lambda x, folder: lazily(x, folder, chunks=(300, 50)),
            "lazy csr": lambda x, folder: lazily(sparse.csr_matrix(x), folder, chunks=(1000, 50)),
        }
        kept = forms.get(form, FORMS.get(form))(stored, tmp_path)
        del stored
        dense_values(kept[:1] if form in ("float64", "csr") else kept, "warm", columns=np.array([0]))
        tracemalloc.start()
        found = dense_values(kept, "rows", columns=np.arange(5))
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most - found.nbytes < self.N * self.D * 8 / 4

    def test_no_block_is_computed_twice(self, stored):
        seen = []

        def note(block, block_info=None):
            seen.append(block_info[0]["chunk-location"] if block_info else None)
            return block

        lazy = da.from_array(stored, chunks=(700, 25)).map_blocks(note, meta=np.empty((0, 0)), dtype=float)
        dense_values(lazy, "rows")
        assert len(seen) == len(set(seen)) == 58 * 2


def lazy_adata(wide: np.ndarray, folder: Path, suffix: str) -> ad.AnnData:
    pytest.importorskip("xarray")
    whole = ad.AnnData(wide, obsm={"X_pca": wide[:, :6], "sparse": sparse.csr_matrix(wide)}, layers={"layer": wide})
    getattr(whole, f"write_{suffix}")(folder / f"cells.{suffix}")
    return ad.experimental.read_lazy(folder / f"cells.{suffix}")


@pytest.mark.parametrize("suffix", ["zarr", "h5ad"])
@pytest.mark.parametrize("use_rep", ["X", "X_pca", "sparse", "layer"])
def test_a_map_of_a_lazy_anndata(rng, tmp_path, suffix, use_rep):
    values = rng.normal(size=(60, 10))
    lazy = lazy_adata(values, tmp_path, suffix)
    in_memory = getattr(ad, f"read_{suffix}")(tmp_path / f"cells.{suffix}")
    for adata in (lazy, in_memory):
        vc.tl.embed(adata, use_rep=use_rep, n_epochs=5)
    assert np.array_equal(lazy.obsm["X_umap"], in_memory.obsm["X_umap"])


@pytest.mark.parametrize(
    ("sizes", "at_most", "expected"),
    [
        ([4, 4, 4], 8, [(0, 2), (2, 3)]),
        ([9, 1, 9], 8, [(0, 1), (1, 2), (2, 3)]),
        ([1, 1], 0.5, [(0, 1), (1, 2)]),
        ([0, 0, 0], 0, [(0, 3)]),
        ([], 1, []),
    ],
)
def test_cuts_take_what_fits_and_at_least_one(sizes, at_most, expected):
    found = list(cuts(np.ones(len(sizes), dtype=int), sizes, at_most))
    assert [(cut.start, cut.stop) for cut in found] == expected
