"""Networks as lists of layers: equal to plain matrix products, a row's result a function of that row alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from networks_for_tests import by_numpy, drawn_layers

from vicinal.api import apply_layers
from vicinal.kernels.dense import dense
from vicinal.kernels.network import CHUNK

OPS = st.text("adlrs", max_size=5)


def filled(function, rows, weights, bias, rectified):
    out = np.full((len(rows), weights.shape[1]), np.nan, np.float32)
    function(rows, weights, bias, rectified, out)
    return out


@settings(max_examples=80, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    sizes=st.tuples(st.integers(0, 9), st.integers(1, 70), st.integers(1, 70)),
    rectified=st.booleans(),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
)
def test_dense_equals_a_matrix_product(seed, sizes, rectified, scale):
    rng = np.random.default_rng(seed)
    n, n_inputs, n_outputs = sizes
    rows = (scale * rng.normal(size=(n, n_inputs))).astype(np.float32)
    weights, bias = rng.normal(size=(n_inputs, n_outputs)), scale * rng.normal(size=n_outputs)
    expected = rows @ weights + bias
    expected = np.maximum(expected, 0) if rectified else expected
    made = filled(dense, rows, weights.astype(np.float32), bias.astype(np.float32), rectified)
    np.testing.assert_allclose(made, expected, rtol=1e-5, atol=1e-5 * scale * np.sqrt(n_inputs))
    assert not rectified or (made >= 0).all()


def test_dense_compiled_equals_python(rng):
    rows, weights = rng.normal(size=(7, 11)).astype(np.float32), rng.normal(size=(11, 5)).astype(np.float32)
    given_ = (rows, weights, rng.normal(size=5).astype(np.float32), True)
    np.testing.assert_allclose(filled(dense, *given_), filled(dense.py_func, *given_), rtol=1e-5, atol=1e-6)


@settings(max_examples=80, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), ops=OPS, n_inputs=st.integers(1, 12), n=st.integers(0, 6))
def test_layers_equal_numpy(seed, ops, n_inputs, n):
    rng = np.random.default_rng(seed)
    layers, arrays, width = drawn_layers(ops, n_inputs, rng)
    rows = rng.normal(size=(n, n_inputs)).astype(np.float32)
    made = apply_layers(layers, arrays, rows)
    assert made.shape == (n, width) and made.dtype == np.float32
    np.testing.assert_allclose(made, by_numpy(layers, arrays, rows), rtol=1e-4, atol=1e-4)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), ops=OPS, n_inputs=st.integers(1, 40), n_jobs=st.integers(1, 4))
def test_a_row_has_the_same_bits_in_any_batch_order_and_number_of_threads(seed, ops, n_inputs, n_jobs):
    rng = np.random.default_rng(seed)
    layers, arrays, _ = drawn_layers(ops, n_inputs, rng)
    rows = rng.normal(size=(2 * CHUNK + 3, n_inputs)).astype(np.float32)
    whole, order = apply_layers(layers, arrays, rows), rng.permutation(len(rows))
    np.testing.assert_array_equal(apply_layers(layers, arrays, rows[order], n_jobs), whole[order])
    some = rng.choice(len(rows), 4)
    alone = np.vstack([apply_layers(layers, arrays, rows[[i]]) for i in some])
    np.testing.assert_array_equal(alone, whole[some])
    np.testing.assert_array_equal(apply_layers(layers, arrays, rows[::2]), whole[::2])


def test_what_comes_in_is_left_alone(rng):
    layers, arrays, _ = drawn_layers("adrsl", 4, rng)
    rows = rng.normal(size=(3, 4)).astype(np.float32)
    expected = apply_layers(layers, arrays, rows)
    for array in (rows, *arrays.values()):
        array.setflags(write=False)
    before = rows.copy()
    np.testing.assert_array_equal(apply_layers(layers, arrays, rows), expected)
    np.testing.assert_array_equal(rows, before)
    assert not np.shares_memory(apply_layers([], {}, rows), rows)


@pytest.mark.parametrize("form", ["float64", "fortran", "read-only"])
def test_arrays_of_other_forms_give_the_same(rng, form):
    layers, arrays, _ = drawn_layers("adrl", 4, rng)
    arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
    rows = rng.normal(size=(5, 4)).astype(np.float32)
    change = {"float64": np.float64, "fortran": np.asfortranarray}.get(form, np.array)
    given_ = {name: change(array) for name, array in arrays.items()}
    for array in given_.values():
        array.setflags(write=form != "read-only")
    np.testing.assert_array_equal(apply_layers(layers, given_, change(rows)), apply_layers(layers, arrays, rows))


def test_sigmoid_has_no_limits():
    rows = np.array([[-1e30, -100, 0, 100, 1e30]], np.float32)
    with np.errstate(all="raise"):
        made = apply_layers([{"op": "sigmoid"}], {}, rows)
    np.testing.assert_allclose(made, [[0, 0, 0.5, 1, 1]], atol=1e-7)


W, B = np.ones((3, 4), np.float32), np.ones(3, np.float32)
DENSE = {"op": "dense", "weight": "w", "bias": "b", "activation": "relu"}
AFFINE = {"op": "affine", "scale": "s", "shift": "t"}
MISFITS = {
    "unknown op": ([{"op": "tanh"}], {}, "unknown layer 'tanh'; known are 'affine'"),
    "unknown activation": ([{**DENSE, "activation": "gelu"}], {"w": W, "b": B}, "unknown activation 'gelu'"),
    "weights for other rows": ([DENSE], {"w": W[:, :3], "b": B}, "cannot take 4 columns"),
    "a bias too short": ([DENSE], {"w": W, "b": B[:2]}, "cannot take 4 columns"),
    "a bias of one": ([DENSE], {"w": W, "b": B[:1]}, "cannot take 4 columns"),
    "weights of three dimensions": ([DENSE], {"w": W[None], "b": B}, r"'w' has shape \(1, 3, 4\).* 2 dimensions"),
    "weights of one dimension": ([DENSE], {"w": W[0], "b": B}, r"'w' has shape \(4,\)"),
    "a bias of two dimensions": ([DENSE], {"w": W, "b": B[None]}, r"'b' has shape \(1, 3\).* 1 dimensions"),
    "a scale of one": ([AFFINE], {"s": np.ones(1), "t": np.ones(4)}, "cannot take 4 columns"),
    "a shift of no rows": ([AFFINE], {"s": np.ones(4), "t": np.ones((0, 4))}, r"'t' has shape \(0, 4\)"),
    "layers that do not follow": ([DENSE, DENSE], {"w": W, "b": B}, "cannot take 3 columns"),
    "a block that narrows": ([{"op": "residual", "layers": [DENSE]}], {"w": W, "b": B}, "3 columns .* added to 4"),
    "a block that narrows to one": (
        [{"op": "residual", "layers": [DENSE]}],
        {"w": W[:1], "b": B[:1]},
        "1 columns .* added to 4",
    ),
}


@pytest.mark.parametrize("name", MISFITS)
@pytest.mark.parametrize("n_rows", [0, 2])
def test_what_does_not_fit_is_refused_with_any_number_of_rows(name, n_rows):
    layers, arrays, says = MISFITS[name]
    with pytest.raises(ValueError, match=says):
        apply_layers(layers, arrays, np.zeros((n_rows, 4), np.float32))
