from __future__ import annotations

import dataclasses
import hashlib

import anndata as ad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vicinal as vc
from vicinal.adata.model import model_from_adata
from vicinal.api import InputError, ModelError
from vicinal.kernels.knn import Reference, nearest_rows
from vicinal.kernels.pruned import clusters_pay
from vicinal.models.inference import place
from vicinal.models.manifest import parse_handle
from vicinal.models.store import Model, from_reference, handle_of

METRICS = ("euclidean", "cosine", "manhattan", "correlation", "chebyshev")


CURVE = {"a": 1.577, "b": 0.895, "repulsion_strength": 1.0, "negative_sample_rate": 5}


def model_of(reference, layout, *, metric="euclidean", n_neighbors=5, params=CURVE):
    reusable = {
        "kind": "landmarks",
        "method": "umap",
        "backends": {},
        "versions": {},
        "params": params,
        "representation": {"name": "X_pca", "n_features": reference.shape[1], "n_pcs": None},
        "metric": metric,
        "n_neighbors": n_neighbors,
    }
    return from_reference(
        parse_handle(handle_of(reusable, "X_umap")), reference.astype(np.float32), layout.astype(np.float32)
    )


def with_rule(model, **placement):
    manifest = dataclasses.replace(model.manifest, placement={**model.manifest.placement, **placement})
    return Model(manifest, model.arrays)


def digest(model) -> str:
    text = model.manifest.to_json().encode()
    return hashlib.sha256(text + b"".join(a.tobytes() for a in model.arrays.values())).hexdigest()


def near_and_weights(model, row, k):
    distances = np.linalg.norm(model.arrays["reference"].astype(float) - row, axis=1)
    near = np.argsort(distances)[:k]
    excess = distances[near] - distances[near[0]]
    sigmas = np.geomspace(1e-3, 1e3, 200_001)
    sums = sum(np.exp(-e / sigmas) for e in excess)
    sigma = sigmas[np.argmin(abs(sums - np.log2(k + 1)))]
    return model.arrays["layout"][near].astype(float), np.exp(-excess / sigma)


def test_the_rule_of_the_mean_equals_its_definition(make_model, rng):
    model = with_rule(make_model(n=40, n_neighbors=6), rule="kernel_mean")
    for row in rng.normal(size=(5, 5)).astype(np.float32):
        places, weights = near_and_weights(model, row, 6)
        np.testing.assert_allclose(place(model, row[None])[0], np.average(places, axis=0, weights=weights), atol=1e-3)


def test_without_a_curve_places_are_medians(make_model, rng):
    model = make_model(n=40, n_neighbors=6)  # states no a and b
    assert not {"a", "b"} & set(model.manifest.params)
    for row in rng.normal(size=(5, 5)).astype(np.float32):
        places, weights = near_and_weights(model, row, 6)
        got = place(model, row[None])[0]

        def total(point, places=places, weights=weights):
            return weights @ np.linalg.norm(places - point, axis=1)

        assert total(got) <= min(total(point) for point in [*places, places.mean(axis=0)]) + 0.01
        assert total(got) <= min(total(got + step) for step in 0.1 * rng.normal(size=(50, 2))) + 0.01


def test_steps_go_down_the_objective(rng):
    """Of each row: the loss of its edges, weighted, and of all cells it keeps away from."""
    reference, layout = rng.normal(size=(200, 5)), 2 * rng.normal(size=(200, 2))
    model, rows = model_of(reference, layout, n_neighbors=8), rng.normal(size=(60, 5)).astype(np.float32)
    a, b = CURVE["a"], CURVE["b"]

    def loss(point, places, weights):
        near = ((places - point) ** 2).sum(axis=1)
        everyone = ((model.arrays["layout"] - point) ** 2).sum(axis=1) + 1e-3
        kept_apart = np.log1p(1 / (a * everyone**b))
        return weights @ np.log1p(a * near**b) + 5 * weights.sum() * kept_apart.mean()

    totals = [
        sum(loss(point, *near_and_weights(model, row, 8)) for row, point in zip(rows, places, strict=True))
        for places in (place(with_rule(model, n_steps=n), rows) for n in (0, 10, 200))
    ]
    assert totals[0] > totals[1] > totals[2]


def test_no_steps_and_no_curve_are_the_same(rng):
    reference, layout = rng.normal(size=(50, 4)), rng.normal(size=(50, 2))
    rows = rng.normal(size=(20, 4)).astype(np.float32)
    still = place(with_rule(model_of(reference, layout), n_steps=0), rows)
    np.testing.assert_array_equal(place(model_of(reference, layout, params={}), rows), still)
    assert (place(model_of(reference, layout), rows) != still).any(axis=1).all()
    repelled = model_of(reference, layout, params={**CURVE, "negative_sample_rate": 50})
    assert (place(repelled, rows) != place(model_of(reference, layout), rows)).any()


@pytest.mark.parametrize("n_steps", [None, -1, 2.0, True, "10", 10**9])
def test_steps_that_cannot_be(rng, n_steps):
    model = with_rule(model_of(rng.normal(size=(9, 3)), rng.normal(size=(9, 2))), n_steps=n_steps)
    with pytest.raises(ModelError, match="n_steps=.* of its placement; expected an integer from 0 to 1000"):
        place(model, np.zeros((1, 3), np.float32))


@pytest.mark.parametrize("value", ["1.5", -1.0, np.inf, True, [1.0]])
def test_a_curve_that_cannot_be(rng, value):
    model = model_of(rng.normal(size=(9, 3)), rng.normal(size=(9, 2)), params={**CURVE, "b": value})
    with pytest.raises(ModelError, match="states b=.* of its objective; expected a number of at least 0"):
        place(model, np.zeros((1, 3), np.float32))


@pytest.mark.parametrize("metric", METRICS)
def test_pure_function_of_the_row(make_model, rng, metric):
    model = make_model(n=300, n_features=7, metric=metric)
    model = model_of(*model.arrays.values(), metric=metric, n_neighbors=15)
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
def test_every_shape_is_finite_and_pure_and_inside_before_it_steps(
    seed, m, n, n_features, n_components, n_neighbors, scale, n_distinct
):
    rng = np.random.default_rng(seed)
    reference = rng.normal(size=(m, n_features))[rng.integers(0, n_distinct, m) % m] * scale
    model = model_of(reference, rng.normal(size=(m, n_components)), n_neighbors=n_neighbors)
    rows = (rng.normal(size=(n, n_features)) * scale).astype(np.float32)
    places, layout = place(model, rows), model.arrays["layout"]
    assert places.shape == (n, n_components)
    assert places.dtype == np.float32
    assert np.isfinite(places).all()
    still = place(with_rule(model, n_steps=0), rows)
    assert ((still >= layout.min(axis=0) - 1e-5) & (still <= layout.max(axis=0) + 1e-5)).all()
    np.testing.assert_array_equal(np.vstack([place(model, row[None]) for row in rows]), places)


@pytest.mark.parametrize("n_components", [2, 3])
@pytest.mark.parametrize("metric", METRICS)
def test_reference_cells_land_on_their_own_place(make_model, metric, n_components):
    model = make_model(n=80, metric=metric, n_components=n_components)
    model = model_of(*model.arrays.values(), metric=metric)
    np.testing.assert_array_equal(place(model, model.arrays["reference"]), model.arrays["layout"])


def test_reference_cells_computed_anew_land_on_their_own_place(rng):
    model = model_of(rng.normal(size=(80, 5)), rng.normal(size=(80, 2)))
    rows = model.arrays["reference"] * (1 + np.float32(1e-6)) + np.float32(1e-6)
    assert (rows != model.arrays["reference"]).any(axis=1).all()
    np.testing.assert_array_equal(place(model, rows), model.arrays["layout"])


@pytest.mark.parametrize("kind", ["pbmc3k", "paul15"])
def test_real_cells_land_on_their_own_place_and_others_near_their_neighbours(data_dir, kind):
    cells = ad.read_h5ad(data_dir / f"{kind}.h5ad")
    rows = np.ascontiguousarray(cells.obsm["X_pca"], np.float32)
    reference, new = rows[::2], rows[1::2]
    mapped = ad.AnnData(np.zeros((len(reference), 1), np.float32), obsm={"X_pca": reference})
    vc.tl.embed(mapped, n_epochs=100)
    model = model_from_adata(mapped)
    np.testing.assert_array_equal(place(model, reference), mapped.obsm["X_umap"])
    # In the map as among the features: more of their neighbours than by the mean.
    kept = {}
    for rule in ("kernel_median", "kernel_mean"):
        places = place(with_rule(model, rule=rule), new)
        there = nearest_rows(Reference.pack(mapped.obsm["X_umap"], "euclidean"), places, 15)[0]
        true = nearest_rows(Reference.pack(reference, "euclidean"), new, 15)[0]
        kept[rule] = np.mean([len(set(a) & set(b)) / 15 for a, b in zip(there, true, strict=True)])
    assert kept["kernel_median"] > kept["kernel_mean"] + 0.01


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


@pytest.mark.parametrize("n", [1, 2, 5])
def test_fewer_reference_cells_than_neighbours(rng, n):
    reference, layout = rng.normal(size=(n, 3)), rng.normal(size=(n, 2)) + [4, 5]
    model, rows = model_of(reference, layout, n_neighbors=15), rng.normal(size=(4, 3)).astype(np.float32)
    still, places = place(with_rule(model, n_steps=0), rows), place(model, rows)
    np.testing.assert_array_equal(place(model, model.arrays["reference"]), model.arrays["layout"])
    assert (abs(still - [4, 5]) < 5).all() and (places != still).any() == (n > 1)
    assert np.linalg.norm(places - still, axis=1).max() < 1  # what pushes is near, and there is nothing else
    if n == 1:
        np.testing.assert_array_equal(still, model.arrays["layout"].repeat(4, axis=0))


def test_many_rows_at_once_have_the_bits_of_few(rng):
    """More than 2,000 rows among more than 10,000 cells are searched in clusters."""
    model = model_of(rng.normal(size=(10_500, 4)), rng.normal(size=(10_500, 2)), n_neighbors=15)
    rows = rng.normal(size=(2100, 4)).astype(np.float32)
    assert clusters_pay(10_500, 2100, "euclidean") and not clusters_pay(10_500, 1000, "euclidean")
    together = place(model, rows)
    np.testing.assert_array_equal(np.vstack([place(model, rows[:1000]), place(model, rows[1000:])]), together)


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
    with pytest.raises(ModelError, match="'gravity'; this version knows 'kernel_mean', 'kernel_median'"):
        place(model, np.zeros((1, 5), np.float32))
