"""Models that are networks: in and out of files and AnnData, applied without the library they were trained in."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from types import SimpleNamespace

import anndata as ad
import numpy as np
import pytest
import trainer_for_tests
from networks_for_tests import a_fitted_model, by_numpy

import vicinal as vc
from vicinal.api import InputError, ModelError
from vicinal.models import store
from vicinal.models.inference import place
from vicinal.models.manifest import parse_handle, plain
from vicinal.models.network import flatten, unflatten

REUSABLE = {
    "kind": "network",
    "method": "parametric",
    "backends": {"optimizer": "trainer@plugin"},
    "versions": {"vicinal": "0.1.0"},
    "params": {"min_dist": 0.1},
    "representation": {"name": "X_pca", "n_features": 5, "n_pcs": None},
    "metric": "euclidean",
    "n_neighbors": 15,
}


def handle(fitted, **changes):
    return store.handle_of({**REUSABLE, "fitted": fitted, **changes}, "X_parametric")


def model_of(fitted, **changes) -> store.Model:
    kept = handle(fitted, **changes)
    return store.from_handle(parse_handle(kept), kept["arrays"])


def cells(n=20, seed=0) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    made = ad.AnnData(np.zeros((n, 1), dtype=np.float32))
    made.obs_names = [f"cell{i}" for i in range(n)]
    made.obsm["X_pca"] = rng.normal(size=(n, 5)).astype(np.float32)
    return made


def same(fitted, other) -> None:
    assert fitted.networks.keys() == other.networks.keys()
    for role, network in fitted.networks.items():
        assert plain(other.networks[role].record()) == plain(network.record())
        assert_arrays(network.arrays, other.networks[role].arrays)
    assert_arrays(fitted.training, other.training)


def assert_arrays(arrays, others) -> None:
    assert list(arrays) == list(others)
    for name, array in arrays.items():
        np.testing.assert_array_equal(others[name], array, strict=True)


@pytest.fixture
def model() -> store.Model:
    return model_of(a_fitted_model())


class TestRoundTrips:
    @pytest.mark.parametrize("options", [{}, {"decoder": False}, {"layered": False}, {"builder": None}])
    def test_flat_and_back(self, options):
        fitted = a_fitted_model(**options)
        _, arrays = flatten(fitted)
        assert all(name.replace("_", "").isalnum() for name in arrays), "a file has no other names"
        made = model_of(fitted)
        same(fitted, unflatten(made.manifest, made.arrays))

    def test_through_a_file(self, model, tmp_path):
        model.save(tmp_path / "a")
        back = vc.models.load(tmp_path / "a")
        assert back.manifest == model.manifest
        same(model.fitted, back.fitted)
        back.save(tmp_path / "b")
        assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    @pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
    @pytest.mark.filterwarnings("ignore:Writing zarr v2")
    def test_through_an_anndata(self, tmp_path, suffix):
        adata, fitted = cells(), a_fitted_model()
        adata.obsm["X_parametric"] = np.zeros((20, 2), np.float32)
        adata.uns["parametric"] = {"model": handle(fitted)}
        getattr(adata, f"write_{suffix}")(tmp_path / f"a.{suffix}")
        back = getattr(ad, f"read_{suffix}")(tmp_path / f"a.{suffix}")
        vc.models.save(back, tmp_path / "model")
        same(fitted, vc.models.load(tmp_path / "model").fitted)
        vc.models.save(adata, tmp_path / "before")
        assert (tmp_path / "model").read_bytes() == (tmp_path / "before").read_bytes()
        expected = vc.tl.project(cells(9, 1), adata, copy=True).obsm["X_parametric"]
        np.testing.assert_array_equal(vc.tl.project(cells(9, 1), back, copy=True).obsm["X_parametric"], expected)

    def test_arrays_in_memory_are_its_own(self):
        kept = handle(a_fitted_model())
        made = store.from_handle(parse_handle(kept), kept["arrays"])
        before = place(made, cells().obsm["X_pca"])
        kept["arrays"]["encoder_0"][:] = 0
        np.testing.assert_array_equal(place(made, cells().obsm["X_pca"]), before)

    def test_tells_what_it_is(self, model):
        assert repr(model) == "Model(parametric: mlp@plugin, 'X_pca' (5,) to (2,))"
        assert "the user's own network" in repr(model_of(a_fitted_model(builder=None)))
        assert (model.n_components, model.n_landmarks, model.method) == (2, 0, "parametric")


class TestApplied:
    def test_cells_go_where_the_layers_say(self, model):
        new, encoder = cells(), model.fitted.encoder
        assert vc.tl.project(new, model) is None
        places = new.obsm["X_parametric"]
        assert places.dtype == np.float32
        np.testing.assert_allclose(places, by_numpy(encoder.layers, encoder.arrays, new.obsm["X_pca"]), atol=1e-4)
        origin = json.loads(new.uns["parametric"]["projected_from"])
        assert (origin["kind"], origin["fingerprint"]) == ("network", model.manifest.fingerprint)

    def test_bits_do_not_depend_on_batch_order_or_threads(self, model):
        rows = cells(600).obsm["X_pca"]
        whole, order = place(model, rows, n_jobs=1), np.random.default_rng(0).permutation(600)
        np.testing.assert_array_equal(place(model, rows[order], n_jobs=3), whole[order])
        np.testing.assert_array_equal(np.vstack([place(model, rows[[i]]) for i in range(5)]), whole[:5])

    def test_a_fresh_process_needs_no_torch(self, model, tmp_path):
        model.save(tmp_path / "model")
        new = cells()
        new.write_h5ad(tmp_path / "new.h5ad")
        script = """
import sys, anndata, numpy
sys.modules["torch"] = None  # whoever imports it fails
import vicinal as vc
new = anndata.read_h5ad(sys.argv[2])
vc.tl.project(new, sys.argv[1])
numpy.save(sys.argv[3], new.obsm["X_parametric"])
"""
        paths = [tmp_path / name for name in ("model", "new.h5ad", "placed.npy")]
        done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        np.testing.assert_array_equal(np.load(paths[2]), place(model, new.obsm["X_pca"]))

    def test_columns_that_do_not_fit(self, model):
        new = cells()
        new.obsm["X_pca"] = new.obsm["X_pca"][:, :4]
        with pytest.raises(InputError, match="was made from 5"):
            vc.tl.project(new, model)
        assert not new.uns

    def test_rows_in_other_units_are_told(self, model):
        new = cells()
        new.obsm["X_pca"][3] = 3e38
        with np.errstate(all="ignore"), pytest.raises(InputError, match="NaN or infinity of 1 cells.* row 3.*units"):
            vc.tl.project(new, model)
        assert not new.uns

    def test_a_network_given_to_a_model_that_is_none(self, make_model):
        with pytest.raises(InputError, match="encoder is given, but the model is not a network"):
            place(make_model(), np.zeros((1, 5), np.float32), module=object())


def without(name):
    return lambda arrays: {key: array for key, array in arrays.items() if key != name}


def other(name, change):
    return lambda arrays: {**arrays, name: change(arrays[name])}


ARRAYS = {
    "missing weight": (without("encoder_0"), r"cannot be read \(KeyError: 'encoder_0'\)"),
    "missing bias of the decoder": (without("decoder_1"), r"cannot be read \(KeyError: 'decoder_1'\)"),
    "wrong shape": (other("encoder_0", lambda a: a[:, :4].copy()), "layers of its network do not fit.*4, 6"),
    "another number of dimensions": (other("encoder_0", lambda a: a[None]), "do not fit together.*2 dimensions"),
    "narrow bias": (other("encoder_1", lambda a: a[:1].copy()), "layers of its network do not fit together"),
    "NaN": (other("encoder_0", lambda a: a * np.nan), "'encoder_0' holds values that are NaN"),
    "infinity in what it is trained with": (other("training_rate", lambda a: a / 0), "'training_rate' holds values"),
    "another decoder": (other("decoder_6", lambda a: np.ones((4, 6), np.float32)), "layers of its network do not fit"),
}


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.filterwarnings("ignore:divide by zero")
def test_arrays_that_cannot_be(model, name):
    change, says = ARRAYS[name]
    arrays = change(model.arrays)
    manifest = dataclasses.replace(model.manifest, arrays=store.describe(arrays))
    refused(manifest, arrays, says)


def refused(manifest, arrays, says) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        store.Model(manifest, arrays)
    assert "\n" not in str(caught.value)


def a_layer(**changes):
    def change(networks):
        first = {**networks["encoder"]["layers"][0], **changes}
        networks["encoder"]["layers"] = [first, *networks["encoder"]["layers"][1:]]

    return change


def nested(networks, depth=5000):
    block = {"op": "sigmoid"}
    for _ in range(depth):
        block = {"op": "residual", "layers": [block]}
    networks["encoder"]["layers"] = [block, *networks["encoder"]["layers"]]


RECORDS = {
    "unknown op": (a_layer(op="conv"), "do not fit together .*unknown layer 'conv'"),
    "unknown activation": (a_layer(activation="gelu"), "do not fit together .*unknown activation 'gelu'"),
    "array of no name": (a_layer(weight="elsewhere"), "do not fit together .*'elsewhere'"),
    "layers that are text": (lambda n: n["encoder"].update(layers="relu"), "do not fit together"),
    "layers that are none": (lambda n: n["encoder"].update(layers=None), r"cannot be read \(TypeError"),
    "layers without end": (nested, "do not fit together"),
    "fewer layers": (lambda n: n["encoder"]["layers"].pop(), "makes 6 numbers of a row; stated are"),
    "no encoder": (lambda n: n.pop("encoder"), "cannot be read"),
    "no parameters": (lambda n: n["encoder"].pop("params"), r"cannot be read \(KeyError: 'params'\)"),
    "other columns": (lambda n: n["encoder"].update(input_dims=[4]), "takes 4 columns; the manifest states 5"),
    "negative columns": (lambda n: n["encoder"].update(input_dims=[-5, -1]), r"rows of shape \(-5, -1\)"),
    "other places": (lambda n: n["encoder"].update(output_dims=[3]), "makes 2 numbers of a row; stated are"),
    "nothing comes out": (lambda n: n["encoder"].update(output_dims=[0]), r"rows of shape \(0,\)"),
    "no dimensions": (lambda n: n["decoder"].update(output_dims=[]), r"rows of shape \(\)"),
    "a decoder of others": (
        lambda n: n["decoder"].update(input_dims=[3], layers=[]),
        r"its decoder takes \(3,\); its encoder makes \(2,\)",
    ),
}


@pytest.mark.parametrize("name", RECORDS)
def test_records_that_cannot_be(model, name):
    forge, says = RECORDS[name]
    networks = json.loads(json.dumps(model.manifest.extra["networks"]))
    forge(networks)
    manifest = dataclasses.replace(model.manifest, extra={**model.manifest.extra, "networks": networks})
    refused(manifest, model.arrays, says)


@pytest.mark.parametrize("networks", [None, [], "encoder", {"encoder": 3}, {"encoder": []}])
def test_no_record_at_all(model, networks):
    refused(dataclasses.replace(model.manifest, extra={"networks": networks}), model.arrays, "cannot be read")
    refused(dataclasses.replace(model.manifest, extra={}), model.arrays, "cannot be read")


def test_no_representation(model):
    refused(dataclasses.replace(model.manifest, representation=None), model.arrays, "states no representation")


def test_a_forged_file_is_refused_by_its_name(model, tmp_path):
    arrays = other("encoder_0", lambda a: a * np.nan)(model.arrays)
    forged = SimpleNamespace(
        manifest=dataclasses.replace(model.manifest, arrays=store.describe(arrays)),
        arrays=arrays,
    )
    with open(tmp_path / "a", "wb") as file:
        store._write(forged, file)
    with pytest.raises(ModelError, match=r"^Model file '.*': array 'encoder_0' holds values that are NaN or infinite$"):
        vc.models.load(tmp_path / "a")


@pytest.fixture
def installed():
    with trainer_for_tests.installed():
        yield


class TestWithoutLayers:
    """Networks that only their own library can apply."""

    def test_built_again_and_applied_by_the_optimizer(self, installed):
        made = model_of(a_fitted_model(layered=False, builder="wide@plugin"))
        rows = cells().obsm["X_pca"]
        np.testing.assert_array_equal(place(made, rows), 6 * 5 * rows[:, :2])

    def test_the_users_own_is_asked_for(self, installed):
        made = model_of(a_fitted_model(layered=False, builder=None))
        with pytest.raises(ModelError, match="a network of the user's own; give it again: encoder=module"):
            vc.tl.project(cells(), made)
        new = cells()
        vc.tl.project(new, made, encoder=3)
        np.testing.assert_array_equal(new.obsm["X_parametric"], 3 * new.obsm["X_pca"][:, :2])
        with pytest.raises(ModelError, match="new cells cannot be mapped by this model: the encoder does not fit"):
            vc.tl.project(cells(), made, encoder="other")

    def test_parameters_that_its_builder_does_not_have(self, installed):
        made = model_of(a_fitted_model(layered=False, builder="plain@plugin"))
        with pytest.raises(ModelError, match="needs the network 'plain@plugin', which cannot be had here: .*'width'"):
            place(made, cells().obsm["X_pca"])

    def test_an_optimizer_that_applies_none(self):
        made = model_of(a_fitted_model(layered=False), backends={"optimizer": "numba_sgd@vicinal"})
        with pytest.raises(ModelError, match="applied by its optimizer, and 'numba_sgd@vicinal' applies none"):
            place(made, cells().obsm["X_pca"])

    @pytest.mark.parametrize("backends", [{}, {"optimizer": ""}, {"optimizer": "trainer@gone"}])
    def test_a_plugin_that_is_not_installed(self, backends):
        made = model_of(a_fitted_model(layered=False), backends=backends)
        with pytest.raises(ModelError, match="the model needs the optimizer .*, which cannot be had here") as caught:
            place(made, cells().obsm["X_pca"])
        assert "\n" not in str(caught.value)

    def test_a_builder_that_is_not_installed(self, installed):
        made = model_of(a_fitted_model(layered=False, builder="other@gone"))
        with pytest.raises(ModelError, match="needs the network 'other@gone', which cannot be had here"):
            place(made, cells().obsm["X_pca"])
