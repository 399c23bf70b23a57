"""Distances given as a matrix."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy import sparse
from scipy.spatial.distance import cdist

import vicinal as vc
from vicinal.contract.errors import InputError, VicinalError

X = np.random.default_rng(0).normal(size=(120, 8)).astype(np.float32)
D = cdist(X, X).astype(np.float32)


def cells(distances: object = D, slot: str = "obsp") -> ad.AnnData:
    if slot == "X":
        return ad.AnnData(distances)
    made = ad.AnnData(X.copy())
    getattr(made, slot)["d"] = distances
    return made


@pytest.mark.parametrize("slot", ["obsp", "obsm", "X"])
@pytest.mark.parametrize("of", [np.asarray, sparse.csr_matrix, lambda d: d.astype(np.float64)])
def test_the_map_is_that_of_the_neighbors(slot: str, of: object) -> None:
    made, expected = cells(of(D), slot), cells()  # type: ignore[operator]
    vc.tl.embed(made, metric="precomputed", use_rep="X" if slot == "X" else "d", n_epochs=20)
    near = np.argsort(D, axis=1, kind="stable")[:, :15]
    vc.tl.embed(expected, knn=(near, np.take_along_axis(D, near, axis=1)), init="spectral", n_epochs=20)
    np.testing.assert_array_equal(made.obsm["X_umap"], expected.obsm["X_umap"])
    assert made.uns["umap"]["params"]["metric"] == "precomputed"
    assert made.uns["umap"]["score"] == {}


@pytest.mark.parametrize("method", ["umap", "tsne"])
def test_every_method_that_needs_neighbors_alone(method: str) -> None:
    made = cells()
    vc.tl.embed(made, method=method, metric="precomputed", use_rep="d", n_epochs=5)
    assert np.isfinite(made.obsm[f"X_{method}"]).all()
    with pytest.raises(VicinalError):
        vc.tl.project(ad.AnnData(X[:5]), made)
    vc.tl.rerun(made, method)
    assert made.uns[f"{method}_rerun"]["rerun_of"]["equal"]


def test_neighbors_of_distances() -> None:
    made = cells()
    vc.pp.neighbors(made, metric="precomputed", use_rep="d", n_neighbors=6)
    stored = made.obsp["distances"].toarray()
    np.testing.assert_allclose(np.sort(stored, axis=1)[:, -5:], np.sort(D, axis=1)[:, 1:6], rtol=1e-6)


def test_rounding_errors_are_no_negative_distances() -> None:
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    unit[1] = unit[0]
    distances = 1 - unit @ unit.T
    distances[0, 1] = -2e-7
    made = cells(distances)
    vc.tl.embed(made, metric="precomputed", use_rep="d", n_epochs=5)
    near = np.argsort(distances, axis=1)[:, :15]
    vc.tl.embed(made, knn=(near, np.take_along_axis(distances, near, axis=1)), n_epochs=5)
    distances[0, 1] = -1e-3
    with pytest.raises(InputError, match="1 distances are negative"):
        vc.tl.embed(cells(distances), metric="precomputed", use_rep="d")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "use_rep must name a matrix of distances .*square ones are 'd'"),
        ({"use_rep": "e"}, "use_rep='e' must name"),
        ({"use_rep": "X"}, r"'X' has shape \(120, 8\); expected \(120, 120\)"),
        ({"use_rep": "d", "init": "pca"}, "init='pca' is not allowed"),
        ({"use_rep": "d", "n_pcs": 3}, "n_pcs=3 is not allowed"),
        ({"use_rep": "d", "n_neighbors": 120}, "n_neighbors=120 is not allowed"),
    ],
)
def test_what_is_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        vc.tl.embed(cells(), metric="precomputed", **options)


@pytest.mark.parametrize("form", ["csr", "csc"])
@pytest.mark.parametrize("is_view", [False, True])
def test_a_broken_sparse_matrix_is_refused(form: str, is_view: bool) -> None:
    matrix = sparse.csr_matrix(D).asformat(form)
    matrix.indices[[5, -1]] = 10**6, -(2**31)
    made = cells(matrix)
    with pytest.raises(InputError, match="indices of"):
        vc.tl.embed(made[::2] if is_view else made, metric="precomputed", use_rep="d", n_epochs=2)
