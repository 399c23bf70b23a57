from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.distance import cdist

from vicinal.kernels.binary import METRICS as BINARY
from vicinal.kernels.metrics import matrix_of, pair_distances, space_of

D = 6
RNG = np.random.default_rng(0)
ROOT = RNG.normal(size=(2 * D, D))
V = np.cov(ROOT.T)
W = [0.5, 2, 0, 1, 3, 1]
WITH_KWDS = [
    ("euclidean", {}),
    ("l2", {}),
    ("manhattan", {}),
    ("taxicab", {}),
    ("cosine", {}),
    ("correlation", {}),
    ("sqeuclidean", {}),
    ("chebyshev", {}),
    ("canberra", {}),
    ("braycurtis", {}),
    ("minkowski", {}),
    ("minkowski", {"p": 1.0}),
    ("minkowski", {"p": 3.0}),
    ("minkowski", {"p": np.inf}),
    ("minkowski", {"p": 1.0, "w": W}),
    ("minkowski", {"p": 2.0, "w": W}),
    ("minkowski", {"p": 1.5, "w": W}),
    ("seuclidean", {"V": np.diag(V).tolist()}),
    ("mahalanobis", {"VI": np.linalg.inv(V).tolist()}),
    ("mahalanobis", {"V": V.tolist()}),
]
OF_SCIPY = {"l2": "euclidean", "manhattan": "cityblock", "taxicab": "cityblock"}


def by_scipy(a, b, metric, kwds):
    kwds = {name: value if name == "p" else np.asarray(value) for name, value in kwds.items()}
    if metric == "mahalanobis" and "V" in kwds:
        kwds = {"VI": np.linalg.inv(kwds["V"])}
    return cdist(a, b, OF_SCIPY.get(metric, metric), **kwds)


@pytest.mark.parametrize(("metric", "kwds"), WITH_KWDS)
def test_pairs_and_all_pairs_are_as_scipy_has_them(metric, kwds):
    a, b = RNG.random((9, D)) + 0.1, RNG.random((9, D))
    expected = by_scipy(a, b, metric, kwds)
    np.testing.assert_allclose(pair_distances(a, b, metric, kwds), np.diag(expected), rtol=1e-9, atol=1e-12)
    space = space_of(metric, kwds)
    if space is not None:
        coordinates = space.of_rows(a), space.of_rows(b)
        found = space.factor * cdist(*coordinates, OF_SCIPY.get(space.metric, space.metric))
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-9)
    elif metric != "sqeuclidean":
        np.testing.assert_allclose(matrix_of(metric, kwds)(a, b), expected, rtol=1e-9)


@pytest.mark.parametrize("metric", ["hellinger", "correlation", "cosine"])
def test_rows_without_a_direction_are_far_from_all_but_each_other(metric):
    from pynndescent.distances import named_distances

    rows = np.vstack([np.zeros((2, D)), RNG.random((3, D))]).astype(np.float32)
    pairs = [(i, j) for i in range(5) for j in range(5)]
    expected = [named_distances[metric].py_func(rows[i], rows[j]) for i, j in pairs]
    found = pair_distances(rows[[i for i, _ in pairs]], rows[[j for _, j in pairs]], metric)
    np.testing.assert_allclose(found, expected, atol=1e-3 if metric == "hellinger" else 1e-6)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(BINARY), st.integers(0, 2**32 - 1), st.floats(0, 1))
def test_binary_metrics_are_those_of_scipy_or_pynndescent(metric, seed, density):
    from pynndescent.distances import named_distances

    rng = np.random.default_rng(seed)
    a, b = ((rng.random((4, 5)) < density) * rng.integers(-3, 9, (4, 5)) for _ in range(2))
    there = [(x != 0).astype(np.float64) for x in (a, b)]
    if metric in ("kulsinski", "matching", "sokalmichener"):
        expected = np.array([[named_distances[metric].py_func(x, y) for y in there[1]] for x in there[0]])
    else:
        with warnings.catch_warnings(), np.errstate(invalid="ignore"):
            warnings.simplefilter("ignore")
            expected = np.nan_to_num(cdist(*(x.astype(bool) for x in there), metric))
    np.testing.assert_allclose(matrix_of(metric)(a, b), expected, atol=1e-12)
    np.testing.assert_allclose(pair_distances(a, b, metric), np.diag(expected), atol=1e-12)


def test_a_function_is_called_as_it_is():
    numba = pytest.importorskip("numba")

    @numba.njit
    def last_column(x, y):
        return abs(x[-1] - y[-1])

    a, b = RNG.random((2, 7, D)).astype(np.float32)
    np.testing.assert_allclose(pair_distances(a, b, "m:f", function=last_column), abs(a - b)[:, -1], rtol=1e-6)
    plain = pair_distances(a, b, "m:f", function=lambda x, y: float(x[0]))
    np.testing.assert_allclose(plain, a[:, 0])


def test_what_cannot_be_compared_is_an_error():
    rows = np.array([[1.0, -1.0], [2.0, 1.0]])
    with pytest.raises(ValueError, match="negative"):
        pair_distances(rows, rows, "hellinger")
    with pytest.raises(ValueError, match="nosuch"):
        pair_distances(rows, rows, "nosuch")
