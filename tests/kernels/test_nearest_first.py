"""Stored distances as a table, against the sort of three arrays that it replaces."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from vicinal.kernels.nearest_first import RUN, count_neighbors, nearest_first


def slowly(matrix):
    """Sort all entries by row, distance and column at once."""
    coo = sparse.coo_matrix(matrix)
    keep = (coo.row != coo.col) & np.isfinite(coo.data)
    rows, columns, values = coo.row[keep], coo.col[keep], coo.data[keep]
    counts = np.bincount(rows, minlength=matrix.shape[0])
    order = np.lexsort((columns, values, rows))
    rows, columns, values = rows[order], columns[order], values[order]
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    place = (rows, np.arange(len(rows)) - starts[rows])
    indices = np.full((len(counts), int(counts.max())), -1, dtype=np.int32)
    distances = np.full(indices.shape, np.inf, dtype=np.float32)
    indices[place], distances[place] = columns, values
    return indices, distances


def table(matrix, n_jobs=1):
    arrays = matrix.indptr, matrix.indices, matrix.data
    return nearest_first(*arrays, count_neighbors(*arrays, n_jobs=n_jobs), n_jobs=n_jobs)


def assert_same(matrix, n_jobs=1):
    for found, expected in zip(table(matrix, n_jobs), slowly(matrix), strict=True):
        assert found.dtype == expected.dtype
        np.testing.assert_array_equal(found, expected)


@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(1, 130),
    density=st.floats(0, 1),
    n_values=st.sampled_from([1, 3, 10**6]),
    dtype=st.sampled_from([np.float32, np.float64, np.int64, np.bool_]),
    index=st.sampled_from([np.int32, np.int64]),
)
@settings(max_examples=60, deadline=None)
def test_is_the_sort_of_all(seed, n, density, n_values, dtype, index):
    draw = np.random.default_rng(seed)
    lengths = draw.binomial(n, density, n)
    columns = np.concatenate([draw.permutation(n)[:length] for length in lengths])  # in no order
    values = draw.integers(-1, n_values, len(columns)).astype(dtype)
    if np.dtype(dtype).kind == "f":
        values[draw.random(len(values)) < 0.1] = np.nan
        values[draw.random(len(values)) < 0.1] = np.inf
        values += draw.integers(0, 2, len(values)) * dtype(1e-9)  # told apart as float64 alone
    matrix = sparse.csr_matrix((n, n), dtype=dtype)
    matrix.data, matrix.indices = values, columns.astype(index)
    matrix.indptr = np.concatenate([[0], np.cumsum(lengths)]).astype(index)
    assert_same(matrix)


@pytest.mark.parametrize("k", [1, RUN - 1, RUN, RUN + 1, 2 * RUN, 4 * RUN, 4 * RUN + 1, 90, 199])
def test_every_length_of_a_row(rng, k):
    columns = np.stack([rng.permutation(200)[:k] for _ in range(200)])
    data = rng.integers(0, 40, columns.size).astype(np.float32)
    assert_same(sparse.csr_matrix((data, columns.ravel(), np.arange(0, columns.size + 1, k)), shape=(200, 200)))


def test_any_number_of_threads(rng):
    matrix = sparse.random(9000, 9000, density=0.001, format="csr", random_state=1)
    assert_same(matrix, n_jobs=3)


def test_entries_stored_twice_stay_two():
    matrix = sparse.csr_matrix((np.array([2.0, 1.0, 1.0]), [1, 1, 0], [0, 3, 3]), shape=(2, 2))
    indices, distances = table(matrix)
    assert indices.tolist() == [[1, 1], [-1, -1]]
    assert distances[0].tolist() == [1, 2]


def test_arrays_that_must_not_be_written_to(rng):
    matrix = sparse.random(50, 50, density=0.2, format="csr", random_state=1)
    for array in (matrix.data, matrix.indices, matrix.indptr):
        array.flags.writeable = False
    assert_same(matrix)
