"""Sparse matrices whose arrays do not fit together are refused at every door, before compiled code sees them."""

import subprocess
import sys

import anndata as ad
import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

import vicinal as vc
from vicinal.adata.stored import OnDisk, checked_rows, checked_sparse
from vicinal.api import InputError
from vicinal.kernels.csr import structure_flaw

N, D = 40, 6


def damaged(matrix, **parts):
    """Return a copy with arrays that scipy would not have let in."""
    matrix = matrix.copy()
    for name, value in parts.items():
        setattr(matrix, name, value)
    return matrix


def changed(array, where, value, dtype=None):
    array = array.astype(dtype or array.dtype)
    array[where] = value
    return array


def damages(matrix):
    """Yield one matrix of each kind of damage."""
    indices, indptr, n = matrix.indices, matrix.indptr, max(matrix.shape)
    for value in (n, 10**6, 2**31 - 1, -1, -n, -(2**31)):
        yield f"index {value}", damaged(matrix, indices=changed(indices, 7, value))
    for value in (2**32, 2**62, -(2**40)):
        yield f"index {value}", damaged(matrix, indices=changed(indices, 7, value, np.int64))
    for value in (-1, -(10**6), 10**6, 2**31 - 1):
        yield f"start {value}", damaged(matrix, indptr=changed(indptr, 5, value))
    yield "first start 3", damaged(matrix, indptr=changed(indptr, 0, 3))
    yield "falling", damaged(matrix, indptr=changed(indptr, [5, 6], indptr[[6, 5]]))
    for end in (-1, 1, 10**6):
        yield f"end {end}", damaged(matrix, indptr=changed(indptr, -1, indptr[-1] + end))
    yield "one row less", damaged(matrix, indptr=indptr[:-1])
    yield "one row more", damaged(matrix, indptr=np.append(indptr, indptr[-1]))
    for dtype in (np.int8, np.int16, np.float64, object):
        yield f"indices {np.dtype(dtype)}", damaged(matrix, indices=indices.astype(dtype))
        yield f"indptr {np.dtype(dtype)}", damaged(matrix, indptr=indptr.astype(dtype))
    yield "data short", damaged(matrix, data=matrix.data[:-4])
    yield "indices short", damaged(matrix, indices=indices[:-4])
    yield "two dimensions", damaged(matrix, data=matrix.data[:, None])


def damages_of_coo(matrix):
    matrix = matrix.tocoo()
    for value in (max(matrix.shape), -1, 2**31 - 1):
        yield f"row {value}", damaged(matrix, row=changed(matrix.row, 3, value))
        yield f"column {value}", damaged(matrix, col=changed(matrix.col, 3, value))
    row, col = changed(matrix.row, 3, 2**40, np.int64), matrix.col.astype(np.int64)
    wide = {"coords": (row, col)} if hasattr(matrix, "coords") else {"row": row, "col": col}  # scipy before 1.13
    yield "row 2**40", damaged(matrix, **wide)
    yield "short", damaged(matrix, data=matrix.data[:-2])


@pytest.fixture
def graph(rng):
    one_way = sparse.random(N, N, density=0.2, format="csr", dtype=np.float32, random_state=3)
    matrix = (one_way + one_way.T).tocsr()
    matrix.setdiag(0)
    matrix.eliminate_zeros()
    return matrix


@pytest.fixture
def cells(rng, graph):
    adata = ad.AnnData(rng.normal(size=(N, D)).astype(np.float32))
    adata.obsm["X_pca"] = adata.X.copy()
    adata.obsp["connectivities"], adata.obsp["distances"] = graph.copy(), graph.copy()
    adata.uns["neighbors"] = {"params": {"n_neighbors": 5, "use_rep": "X_pca"}}
    return adata


class TestChecked:
    @pytest.mark.parametrize("form", ["csr", "csc"])
    def test_each_damage_is_refused_by_the_name_of_its_slot(self, graph, form):
        for kind, matrix in damages(graph.asformat(form)):
            with pytest.raises(InputError, match=rf"obsp\['g'\] is a damaged {form.upper()} matrix"):
                checked_sparse(matrix, "obsp['g']")
                pytest.fail(kind)

    def test_each_damage_of_coordinates_is_refused(self, graph):
        for kind, matrix in damages_of_coo(graph):
            with pytest.raises(InputError, match="graph is a damaged COO matrix"):
                checked_sparse(matrix, "graph")
                pytest.fail(kind)

    @pytest.mark.parametrize("form", ["csr", "csc", "coo", "bsr", "dia", "lil", "dok"])
    @pytest.mark.parametrize("kind", [sparse.csr_matrix, sparse.csr_array])
    def test_what_is_whole_is_taken_in_every_form(self, graph, form, kind):
        rows = checked_rows(kind(graph).asformat(form), "graph")
        assert rows.format == "csr"
        assert np.array_equal(rows.toarray(), graph.toarray())

    def test_a_whole_matrix_is_not_copied(self, graph):
        assert checked_sparse(graph, "graph") is graph
        assert np.shares_memory(checked_rows(graph, "graph").indices, graph.indices)

    def test_other_forms_that_are_damaged(self, graph):
        blocks = graph.tobsr((2, 2))
        for broken in (
            damaged(blocks, indptr=changed(blocks.indptr, 3, 10**5)),
            damaged(blocks, indices=changed(blocks.indices, 3, 10**5)),
        ):
            with pytest.raises(InputError, match="graph is a damaged"):
                checked_sparse(broken, "graph")

    @given(st.data())
    @settings(max_examples=60, deadline=None)
    def test_passes_just_what_a_slow_look_passes(self, data):
        n, m, nnz = (data.draw(st.integers(0, top)) for top in (5, 4, 6))
        some = st.integers(-1, 5)
        matrix = sparse.csr_matrix((n or 1, m or 1), dtype=np.float32)
        dtype = data.draw(st.sampled_from([np.int32, np.int64]))
        matrix.indptr = np.array(data.draw(st.lists(some, min_size=1, max_size=7)), dtype)
        matrix.indices = np.array(data.draw(st.lists(some, min_size=nnz, max_size=nnz)), dtype)
        matrix.data = np.ones(nnz, np.float32)
        starts, (n, m) = matrix.indptr.tolist(), matrix.shape
        is_whole = (
            len(starts) == n + 1
            and starts == sorted(starts)
            and (starts[0], starts[-1]) == (0, nnz)
            and all(0 <= index < m for index in matrix.indices.tolist())
        )
        assert (structure_flaw(matrix) == "") == is_whole


SLOTS = {
    "connectivities": lambda a, m: (a.obsp.__setitem__("connectivities", m), vc.tl.embed(a, n_epochs=2)),
    "connectivities of a plan": lambda a, m: (a.obsp.__setitem__("connectivities", m), vc.tl.plan(a)),
    "distances": lambda a, m: (a.obsp.__setitem__("distances", m), vc.tl.embed(a, n_neighbors=3, n_epochs=2)),
    "graph": lambda a, m: vc.tl.embed(a, graph=m, n_epochs=2),
}


@pytest.mark.parametrize("slot", SLOTS)
@pytest.mark.parametrize("form", ["csr", "csc"])
def test_graphs_are_refused_and_nothing_changes(cells, graph, slot, form):
    broken = damaged(graph.asformat(form), indices=changed(graph.asformat(form).indices, 9, 10**6))
    with pytest.raises(InputError, match="damaged"):
        SLOTS[slot](cells, broken)
    assert "X_umap" not in cells.obsm


@pytest.mark.parametrize("slot", ["X", "layer", "obsm"])
@pytest.mark.parametrize("form", ["csr", "csc"])
def test_representations_are_refused(cells, slot, form):
    whole = sparse.csr_matrix(cells.X).asformat(form)
    broken = damaged(whole, indices=changed(whole.indices, 9, 10**6))
    if slot == "X":
        cells.X = broken
    else:
        (cells.layers if slot == "layer" else cells.obsm)[slot] = broken
    for call in (vc.tl.embed, vc.tl.plan, vc.pp.neighbors):
        with pytest.raises(InputError, match="damaged"):
            call(cells, use_rep=slot)


def test_a_view_is_checked_before_rows_of_it_are_taken(cells, graph):
    cells.obsp["other"] = damaged(graph, indices=changed(graph.indices, 9, 10**6))
    with pytest.raises(InputError, match=r"obsp\['other'\]"):
        vc.tl.embed(cells[:30], n_epochs=2)


@pytest.mark.parametrize("dtype", [np.float16, object])
def test_a_view_of_numbers_that_scipy_takes_no_rows_of(cells, graph, dtype):
    cells.obsp["connectivities"] = graph.copy()
    cells.obsp["connectivities"].data = graph.data.astype(dtype)
    with pytest.raises(InputError, match=r"obsp\['connectivities'\] holds .* make it float32, then the view"):
        vc.tl.embed(cells[:30], n_epochs=2)


def test_a_matrix_of_coordinates_is_a_graph(cells, graph):
    first, second = cells.copy(), cells.copy()
    vc.tl.embed(first, graph=graph, n_epochs=3)
    vc.tl.embed(second, graph=graph.tocoo(), n_epochs=3)
    assert np.array_equal(first.obsm["X_umap"], second.obsm["X_umap"])


def test_a_transformer_that_returns_a_damaged_matrix(cells, graph):
    class Broken:
        def fit_transform(self, rows):
            return damaged(graph, indices=changed(graph.indices, 9, 10**6))

        def get_params(self, deep=True):
            return {}

    with pytest.raises(InputError, match="Broken returned a damaged CSR matrix"):
        vc.tl.embed(cells, knn=Broken(), n_epochs=2)


class TestOnDisk:
    @pytest.fixture
    def path(self, tmp_path, cells):
        return tmp_path / "cells.h5ad"

    def write(self, path, cells, form, field, where, value):
        cells.X = sparse.csr_matrix(cells.X).asformat(form)
        cells.write_h5ad(path)
        with h5py.File(path, "a") as file:
            values = file["X"][field][...]
            values[where] = value
            file["X"][field][...] = values

    @pytest.mark.parametrize("form", ["csr", "csc"])
    @pytest.mark.parametrize(
        ("field", "where", "value"),
        [("indices", 9, 10**6), ("indices", 9, -1), ("indptr", 3, -5), ("indptr", 3, 2**31 - 1), ("indptr", -1, 10**6)],
    )
    def test_is_refused_where_it_is_read(self, path, cells, form, field, where, value):
        self.write(path, cells, form, field, where, value)
        backed = ad.read_h5ad(path, backed="r")
        with pytest.raises(InputError, match=r"\.X is a damaged"):
            vc.tl.embed(backed, use_rep="X", n_neighbors=4, n_epochs=2)

    @pytest.mark.parametrize("form", ["csr", "csc"])
    def test_rows_of_a_whole_one(self, path, cells, form):
        dense = cells.X.copy()
        self.write(path, cells, form, "indices", slice(0, 0), 0)
        stored = OnDisk(ad.read_h5ad(path, backed="r").X, ".X")
        some = np.array([0, 3, N - 1])
        assert np.array_equal(stored.rows(some), dense[some])
        assert np.array_equal(stored.whole().toarray(), dense)

    def test_unsigned_indices_of_other_writers_are_read(self, path, cells):
        dense = cells.X.copy()
        self.write(path, cells, "csr", "indices", slice(0, 0), 0)
        with h5py.File(path, "a") as file:
            for name in ("indices", "indptr"):
                values = file["X"][name][...]
                del file["X"][name]
                file["X"][name] = values.astype(np.uint32)
        assert np.array_equal(OnDisk(ad.read_h5ad(path, backed="r").X, ".X").whole().toarray(), dense)

    def test_lazy_blocks_are_checked(self, path, cells):
        dask = pytest.importorskip("dask.array")
        whole = sparse.csr_matrix(cells.X)
        broken = damaged(whole, indices=changed(whole.indices, -1, 10**6))
        blocks = [dask.from_array(whole[:20], chunks=-1), dask.from_array(broken, chunks=-1)]
        cells = ad.AnnData(obsm={"S": dask.concatenate(blocks)})
        with pytest.raises(InputError, match="damaged"):
            vc.tl.embed(cells, use_rep="S", n_epochs=2)


def test_a_stranger_s_file_does_not_end_the_process(tmp_path, cells):
    path = tmp_path / "cells.h5ad"
    cells.write_h5ad(path)
    with h5py.File(path, "a") as file:
        file["obsp/connectivities/indptr"][5] = 10**6
    code = f"import anndata, vicinal as vc; vc.tl.embed(anndata.read_h5ad({str(path)!r}), n_epochs=2)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "obsp['connectivities'] is a damaged CSR matrix" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("form", ["csr", "csc", "coo"])
@pytest.mark.parametrize("dtype", [">f4", ">i2", "f2"])
def test_numbers_that_scipy_refuses_are_converted(rng, form, dtype):
    matrix = sparse.random(9, 9, 0.3, random_state=0).asformat(form)
    matrix.data = np.arange(1, len(matrix.data) + 1).astype(dtype)
    made = checked_rows(matrix, "it")
    assert made.dtype.isnative and made.dtype.itemsize in (2, 4)
    np.testing.assert_array_equal(np.sort(made.toarray()[made.toarray() > 0]), np.arange(1, len(matrix.data) + 1))


@pytest.mark.parametrize("wide", ["indices", "indptr"])
def test_indices_of_two_types_are_made_one(wide):
    matrix = sparse.random(9, 9, 0.3, random_state=0).tocsr()
    expected = matrix.toarray()
    setattr(matrix, wide, getattr(matrix, wide).astype(np.int64))
    made = checked_sparse(matrix, "it")
    assert made.indices.dtype == made.indptr.dtype
    np.testing.assert_array_equal(made.toarray(), expected)
