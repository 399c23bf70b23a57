from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from vicinal.kernels import symmetry


def compressed(dense: np.ndarray):
    matrix = sparse.csr_matrix(dense.astype(np.float32))
    return matrix.indptr, matrix.indices, matrix.data


@settings(deadline=None, max_examples=200)
@given(st.integers(0, 2**20), st.integers(0, 12), st.booleans(), st.booleans())
def test_agrees_with_comparing_the_transpose(seed, n, mirror, spoil):
    rng = np.random.default_rng(seed)
    dense = np.where(rng.random((n, n)) < 0.4, rng.integers(1, 4, (n, n)), 0)
    dense = np.maximum(dense, dense.T) if mirror else dense
    if spoil and n > 1:
        dense[0, 1] += 1
    expected = np.array_equal(dense, dense.T)
    arrays = compressed(dense)
    assert symmetry.is_symmetric(*arrays) == expected
    python = getattr(symmetry.mirrored, "py_func", symmetry.mirrored)
    assert python(arrays[0].astype(np.int64), arrays[1], arrays[2], 1e-5) == expected


@pytest.mark.parametrize(("relative", "expected"), [(1e-6, True), (1e-3, False)])
def test_rounding_of_weights_is_forgiven(relative, expected):
    indptr, indices, weights = compressed(np.array([[0, 0.3], [0.3 * (1 + relative), 0]]))
    assert symmetry.is_symmetric(indptr, indices, weights) is expected


def test_read_only_and_wide_arrays_do():
    arrays = compressed(np.array([[0, 1, 0], [1, 0, 0], [0, 0, 0]]))
    for array in arrays:
        array.flags.writeable = False
    assert symmetry.is_symmetric(arrays[0].astype(np.int64), arrays[1], arrays[2])
