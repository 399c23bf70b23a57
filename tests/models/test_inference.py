from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.api import InputError, ModelError
from vicinal.models.inference import place
from vicinal.models.manifest import parse_handle
from vicinal.models.store import from_reference, handle_of

METRICS = ("euclidean", "cosine", "manhattan", "correlation", "chebyshev")


def model_of(reference, layout, *, metric="euclidean", n_neighbors=5):
    reusable = {
        "kind": "landmarks",
        "method": "umap",
        "backends": {},
        "versions": {},
        "params": {},
        "representation": {"name": "X_pca", "n_features": reference.shape[1], "n_pcs": None},
        "metric": metric,
        "n_neighbors": n_neighbors,
    }
    return from_reference(
        parse_handle(handle_of(reusable, "X_umap")), reference.astype(np.float32), layout.astype(np.float32)
    )


def digest(model) -> str:
    text = model.manifest.to_json().encode()
    return hashlib.sha256(text + b"".join(a.tobytes() for a in model.arrays.values())).hexdigest()


def test_equals_the_definition(make_model, rng):
    model = make_model(n=40, n_neighbors=6)
    reference, layout = model.arrays["reference"], model.arrays["layout"]
    for row in rng.normal(size=(5, 5)).astype(np.float32):
        distances = np.linalg.norm(reference.astype(float) - row, axis=1)
        near = np.argsort(distances)[:6]
        excess = distances[near] - distances[near[0]]
        sigmas = np.geomspace(1e-3, 1e3, 200_001)
        sums = sum(np.exp(-e / sigmas) for e in excess)
        sigma = sigmas[np.argmin(abs(sums - np.log2(7)))]
        expected = np.average(layout[near], axis=0, weights=np.exp(-excess / sigma))
        np.testing.assert_allclose(place(model, row[None])[0], expected, atol=1e-3)


@pytest.mark.parametrize("metric", METRICS)
def test_pure_function_of_the_row(make_model, rng, metric):
    model = make_model(n=300, n_features=7, metric=metric)
    rows = rng.normal(size=(1500, 7)).astype(np.float32)
    rows[::10] = model.arrays["reference"][rng.integers(0, 300, 150)]
    before = digest(model)
    together = place(model, rows, n_jobs=1)
    order = rng.permutation(len(rows))
    np.testing.assert_array_equal(place(model, rows[order], n_jobs=2), together[order])
    np.testing.assert_array_equal(place(model, rows, n_jobs=3), together)
    few = order[:25]
    np.testing.assert_array_equal(np.vstack([place(model, rows[[i]]) for i in few]), together[few])
    assert digest(model) == before


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    m=st.integers(1, 30),
    n=st.integers(1, 12),
    n_features=st.integers(1, 6),
    n_components=st.integers(1, 4),
    n_neighbors=st.integers(1, 20),
    scale=st.sampled_from([1e-6, 1.0, 1e6]),
    n_distinct=st.integers(1, 30),
)
def test_every_shape_is_finite_inside_and_pure(seed, m, n, n_features, n_components, n_neighbors, scale, n_distinct):
    rng = np.random.default_rng(seed)
    reference = rng.normal(size=(m, n_features))[rng.integers(0, n_distinct, m) % m] * scale
    model = model_of(reference, rng.normal(size=(m, n_components)), n_neighbors=n_neighbors)
    rows = (rng.normal(size=(n, n_features)) * scale).astype(np.float32)
    places, layout = place(model, rows), model.arrays["layout"]
    assert places.shape == (n, n_components)
    assert places.dtype == np.float32
    assert ((places >= layout.min(axis=0) - 1e-5) & (places <= layout.max(axis=0) + 1e-5)).all()
    np.testing.assert_array_equal(np.vstack([place(model, row[None]) for row in rows]), places)


@pytest.mark.parametrize("metric", METRICS)
def test_reference_cells_land_on_their_own_place(make_model, metric):
    model = make_model(n=80, metric=metric)
    np.testing.assert_array_equal(place(model, model.arrays["reference"]), model.arrays["layout"])


def test_scaled_copies_keep_their_own_places_under_cosine(rng):
    reference = rng.normal(size=(10, 4))
    reference[1] = 2 * reference[0]
    model = model_of(reference, rng.normal(size=(10, 2)), metric="cosine")
    layout = model.arrays["layout"]
    np.testing.assert_array_equal(place(model, model.arrays["reference"]), layout)
    between = place(model, 4 * model.arrays["reference"][:1])
    np.testing.assert_allclose(between[0], layout[:2].mean(axis=0), rtol=1e-5)


@pytest.mark.parametrize("n_twins", [2, 40])
def test_coincident_cells_share_the_mean_of_them_all(rng, n_twins):
    reference = rng.normal(size=(60, 3))
    reference[:n_twins] = [0.0, 1.0, 2.0]
    model = model_of(reference, rng.normal(size=(60, 2)), n_neighbors=5)
    got = place(model, np.array([[-0.0, 1, 2]], np.float32))
    np.testing.assert_allclose(got[0], model.arrays["layout"][:n_twins].mean(axis=0), rtol=1e-5, atol=1e-6)


def test_fewer_reference_cells_than_neighbours(rng):
    model = model_of(rng.normal(size=(1, 3)), np.array([[4.0, 5.0]]), n_neighbors=15)
    np.testing.assert_array_equal(place(model, rng.normal(size=(4, 3)).astype(np.float32)), [[4, 5]] * 4)


def test_read_only_and_fortran_ordered_rows(make_model, rng):
    model, rows = make_model(), rng.normal(size=(9, 5)).astype(np.float32)
    expected = place(model, rows)
    rows.flags.writeable = False
    np.testing.assert_array_equal(place(model, rows), expected)
    np.testing.assert_array_equal(place(model, np.asfortranarray(rows)), expected)


def test_beyond_float32(make_model):
    far = np.zeros((3, 5), np.float32)
    far[1] = 1e30
    with pytest.raises(InputError, match="1 cells are at no finite distance from the reference; the first is row 1"):
        place(make_model(), far)


def test_metric_that_nobody_has(make_model, rng):
    with pytest.raises(ModelError, match="cannot be placed in this map: metric='warp'"):
        place(make_model(metric="warp"), rng.normal(size=(2, 5)).astype(np.float32))


def test_placement_of_a_later_version(make_model):
    model = make_model()
    model.manifest.placement["rule"] = "gravity"
    with pytest.raises(ModelError, match="'gravity'; this version knows 'kernel_mean'"):
        place(model, np.zeros((1, 5), np.float32))
