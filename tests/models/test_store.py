from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import pickle
import re
import subprocess
import sys
import warnings
import zipfile

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from vicinal import models
from vicinal.api import InputError, ModelError
from vicinal.models import manifest as m
from vicinal.models import store


@pytest.fixture
def model(make_model):
    return make_model()


def parts_of(path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rezip(path, parts, method=zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, data in parts.items():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                archive.writestr(name, data)


def npy(array) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=True)
    return buffer.getvalue()


def restated(parts, **arrays) -> dict[str, bytes]:
    """Exchange arrays and make the manifest state them, as a careful forger would."""
    record = json.loads(parts["model.json"])
    parts = dict(parts)
    for name, array in arrays.items():
        data = parts[f"{name}.npy"] = array if isinstance(array, bytes) else npy(array)
        entry = record["arrays"].setdefault(name, {"file": f"{name}.npy", "dtype": "<f4", "shape": [1]})
        if not isinstance(array, bytes):
            entry |= {"dtype": array.dtype.str, "shape": list(array.shape)}
        entry["sha256"] = hashlib.sha256(data).hexdigest()
    return {**parts, "model.json": sealed(record)}


def sealed(record) -> bytes:
    record["fingerprint"] = m._fingerprint(record)
    return json.dumps(record).encode()


def edited(parts, change) -> dict[str, bytes]:
    record = json.loads(parts["model.json"])
    change(record)
    return {**parts, "model.json": sealed(record)}


def refused(path, says) -> None:
    with pytest.raises(ModelError, match=says) as caught:
        models.load(path)
    assert repr(os.fspath(path)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_comes_back_equal(model, tmp_path):
    path = tmp_path / "a.vicinal"
    models.save(model, path)
    back = models.load(path)
    assert back.manifest == model.manifest
    assert set(back.arrays) == {"reference", "layout"}
    for name, array in model.arrays.items():
        np.testing.assert_array_equal(back.arrays[name], array)
        assert back.arrays[name].dtype == np.float32
    assert repr(back) == "Model(umap: 60 cells, 'X_pca' (5 columns, euclidean) to 2 dimensions, placed by 8 neighbours)"
    assert (back.method, back.n_components, back.n_landmarks) == ("umap", 2, 60)


def test_same_model_same_bytes(model, tmp_path, monkeypatch):
    model.save(tmp_path / "a")
    monkeypatch.setenv("TZ", "Pacific/Apia")
    models.save(models.load(tmp_path / "a"), str(tmp_path / "b"))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    with zipfile.ZipFile(tmp_path / "a") as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_is_a_zip_of_json_and_plain_arrays(model, tmp_path):
    model.save(tmp_path / "a")
    parts = parts_of(tmp_path / "a")
    assert list(parts) == ["model.json", "reference.npy", "layout.npy"]
    record = json.loads(parts["model.json"])
    assert (record["format"], record["schema"], record["kind"]) == ("vicinal-model", 1, "landmarks")
    for name, entry in record["arrays"].items():
        data = parts[entry["file"]]
        assert hashlib.sha256(data).hexdigest() == entry["sha256"]
        np.testing.assert_array_equal(np.load(io.BytesIO(data), allow_pickle=False), model.arrays[name])


def test_a_fresh_process_without_pickle_reads_it(model, tmp_path):
    model.save(tmp_path / "a")
    script = """
import encodings.cp437, hashlib, pickle, sys
import vicinal
def trap(*args, **kwargs):
    raise SystemExit("pickle was used")
pickle.load = pickle.loads = pickle.Unpickler = pickle._Unpickler = trap
before = set(sys.modules)
model = vicinal.models.load(sys.argv[1])
assert set(sys.modules) == before, set(sys.modules) - before
print(hashlib.sha256(model.arrays["reference"].tobytes() + model.arrays["layout"].tobytes()).hexdigest())
"""
    done = subprocess.run([sys.executable, "-c", script, tmp_path / "a"], capture_output=True, text=True)
    expected = hashlib.sha256(model.arrays["reference"].tobytes() + model.arrays["layout"].tobytes()).hexdigest()
    assert (done.returncode, done.stdout.strip()) == (0, expected), done.stderr


def test_a_large_map_is_sampled_and_says_so(make_model):
    model, again, full = make_model(max_landmarks=20), make_model(max_landmarks=20), make_model()
    assert model.n_landmarks == 20
    assert model.manifest.n_obs_reference == 60
    assert model.manifest.landmarks == {"choice": "spread", "seed": 0, "n_uniform": 5}
    assert full.manifest.landmarks == {"choice": "all"}
    assert "20 of 60 cells" in repr(model)
    np.testing.assert_array_equal(model.arrays["reference"], again.arrays["reference"])
    rows = {row.tobytes(): place.tobytes() for row, place in zip(*full.arrays.values(), strict=True)}
    assert all(rows[r.tobytes()] == p.tobytes() for r, p in zip(*model.arrays.values(), strict=True))


def test_the_model_does_not_share_memory_with_its_source(make_model):
    handle = make_model().manifest
    reference, layout = np.ones((4, 5), np.float32), np.ones((4, 2), np.float32)
    model = store.from_reference(handle, reference, layout)
    reference[:], layout[:] = 7, 7
    assert (model.arrays["reference"] == 1).all()
    assert (model.arrays["layout"] == 1).all()


def test_a_failure_harms_nothing(model, make_model, tmp_path, monkeypatch):
    path = tmp_path / "a"
    model.save(path)
    good = path.read_bytes()

    def full_disk(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space"):
        make_model(seed=1).save(path)
    assert path.read_bytes() == good
    assert os.listdir(tmp_path) == ["a"]


def test_replaces_a_file_and_follows_a_link(model, make_model, tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real").touch()
    make_model(seed=1).save(tmp_path / "link")
    model.save(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert models.load(tmp_path / "real").manifest == model.manifest


def test_the_file_has_the_permissions_of_any_new_file(model, tmp_path):
    (tmp_path / "other").write_text("")
    model.save(tmp_path / "a")
    assert (tmp_path / "a").stat().st_mode == (tmp_path / "other").stat().st_mode


def test_nowhere_to_write(model, tmp_path):
    with pytest.raises(ModelError, match="there is no folder"):
        model.save(tmp_path / "missing" / "a")
    with pytest.raises(ModelError, match="is a folder; name a file"):
        model.save(tmp_path)


@pytest.mark.parametrize("path", [3, True, None, "", b"model", 1.5, ["model"]])
def test_what_is_no_path(model, path):
    for use in (model.save, models.load, lambda path: models.save(model, path)):
        with pytest.raises(InputError, match=f"path={re.escape(repr(path))} is not allowed; give the path of a file"):
            use(path)


def test_what_is_no_model(tmp_path):
    with pytest.raises(InputError, match="adata_or_model=3 is not allowed; give the AnnData with the map, or a Model"):
        models.save(3, tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_arrays_changed_in_memory_are_saved_as_they_are(model, tmp_path):
    model.arrays["layout"][0] = 9
    model.save(tmp_path / "a")
    assert (models.load(tmp_path / "a").arrays["layout"][0] == 9).all()
    model.arrays["layout"][0] = np.nan
    with pytest.raises(ModelError, match="2 values that are NaN"):
        model.save(tmp_path / "a")
    assert (models.load(tmp_path / "a").arrays["layout"][0] == 9).all()


def test_a_checkpoint_is_no_model(model, tmp_path):
    manifest = dataclasses.replace(model.manifest, kind=store.CHECKPOINT)
    checkpoint = store.Model(manifest, model.arrays)
    checkpoint.save(tmp_path / "a")
    refused(tmp_path / "a", "it is the checkpoint of a run")
    assert store.load(tmp_path / "a").manifest.kind == "checkpoint"
    assert "checkpoint" in repr(checkpoint)


@pytest.mark.parametrize("array", [np.array(3, np.uint64), np.zeros((0, 2), np.int64), np.arange(4).astype(">i4")])
def test_arrays_of_a_checkpoint_keep_shape_and_dtype(model, tmp_path, array):
    arrays = {"state": array}
    manifest = dataclasses.replace(model.manifest, kind=store.CHECKPOINT, arrays=store.describe(arrays))
    little = {"state": array.astype(array.dtype.newbyteorder("<"))}
    store.save(store.Model(manifest, little), tmp_path / "a")
    back = store.load(tmp_path / "a").arrays["state"]
    assert (back.shape, back.dtype) == (array.shape, array.dtype.newbyteorder("<"))
    np.testing.assert_array_equal(back, array)


# The gallery of bad files: each is refused in one line that names the file.


def test_no_file(tmp_path):
    refused(tmp_path / "a", "there is no such file")


def test_a_folder(tmp_path):
    refused(tmp_path, "this is a folder")


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"hello", pickle.dumps({"a": 1}), b"\x89HDF\r\n", b'{"format": "vicinal-model"}']
)
def test_not_a_zip(tmp_path, content):
    (tmp_path / "a").write_bytes(content)
    refused(tmp_path / "a", "not a zip file")


def test_a_zip_of_something_else(tmp_path):
    rezip(tmp_path / "a", {})
    refused(tmp_path / "a", "not a zip file|without model.json")
    rezip(tmp_path / "a", {"x.npy": npy(np.zeros(3))})
    refused(tmp_path / "a", "without model.json")
    rezip(tmp_path / "a", {"archive/data.pkl": pickle.dumps(1)})
    refused(tmp_path / "a", "name is not allowed")


@pytest.mark.parametrize("share", [0.01, 0.3, 0.9, 0.999])
def test_truncated(model, tmp_path, share):
    model.save(tmp_path / "a")
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(data[: int(len(data) * share)])
    refused(tmp_path / "a", "truncated or damaged")


def test_a_damaged_part(model, tmp_path):
    model.save(tmp_path / "a")
    data = bytearray((tmp_path / "a").read_bytes())
    data[data.index(model.arrays["layout"].tobytes()) + 3] ^= 1
    (tmp_path / "a").write_bytes(data)
    refused(tmp_path / "a", "'layout.npy' is truncated or damaged")


FORGERIES = {
    "no JSON": (lambda p: {**p, "model.json": b"{"}, "not JSON"),
    "other JSON": (lambda p: {**p, "model.json": b"{}"}, "does not describe a vicinal model"),
    "other format": (lambda p: edited(p, lambda r: r.update(format="scvi")), "does not describe a vicinal model"),
    "newer schema": (lambda p: edited(p, lambda r: r.update(schema=2)), "schema 2, this version reads up to 1"),
    "newer kind": (lambda p: edited(p, lambda r: r.update(kind="diffusion")), "kind 'diffusion'; known are"),
    "edited JSON": (
        lambda p: {**p, "model.json": p["model.json"].replace(b'"umap"', b'"tsne"')},
        "model.json was altered",
    ),
    "array missing": (lambda p: {k: v for k, v in p.items() if k != "layout.npy"}, "missing from it: 'layout.npy'"),
    "array altered": (
        lambda p: {**p, "layout.npy": npy(np.zeros((60, 2), np.float32))},
        "'layout' was altered: its SHA-256",
    ),
    "extra member": (lambda p: {**p, "more.npy": b"x"}, "not stated: 'more.npy'"),
    "extra pickle": (lambda p: {**p, "data.pkl": pickle.dumps(1)}, "'data.pkl', whose name is not allowed"),
    "climbing": (lambda p: {**p, "../../etc/x.npy": b"x"}, "'../../etc/x.npy', whose name is not allowed"),
    "absolute": (lambda p: {**p, "/etc/x.npy": b"x"}, "'/etc/x.npy', whose name is not allowed"),
    "backslashes": (lambda p: {**p, "..\\x.npy": b"x"}, "whose name is not allowed"),
    "folder": (lambda p: {**p, "sub/": b""}, "'sub/', whose name is not allowed"),
    "climbing in the manifest": (
        lambda p: edited(p, lambda r: r["arrays"]["layout"].update(file="../layout.npy")),
        r"missing from it: '\.\./layout\.npy'",
    ),
    "one file twice": (
        lambda p: edited(
            {k: v for k, v in p.items() if k != "layout.npy"},
            lambda r: r["arrays"].update(layout=r["arrays"]["reference"]),
        ),
        "not what its model.json states",
    ),
    "manifest as array": (
        lambda p: edited(p, lambda r: r["arrays"]["layout"].update(file="model.json")),
        "not what its model.json states",
    ),
    "pickled array": (
        lambda p: restated(p, layout=np.array([{"a": 1}] * 60, dtype=object)),
        "dtype '|O'; allowed are",
    ),
    "pickle under a numeric header": (
        lambda p: restated(p, layout=npy(np.array([["a"] * 2] * 60, dtype=object)).ljust(600)),
        r"'layout' cannot be read \(its header says \|O and",
    ),
    "unknown dtype": (
        lambda p: edited(p, lambda r: r["arrays"]["layout"].update(dtype="os.system")),
        "dtype 'os.system'; allowed are",
    ),
    "array of text": (lambda p: restated(p, layout=np.array([["a", "b"]] * 60)), "dtype '<U1'; allowed are"),
    "shape too large for the bytes": (
        lambda p: edited(p, lambda r: r["arrays"]["layout"].update(shape=[10**9, 10**9])),
        "its stated shape",
    ),
    "shape too small for the bytes": (
        lambda p: restated(edited(p, dict), layout=npy(np.zeros((90_000, 2), np.float32))),
        "its stated shape",
    ),
    "shape of another order": (
        lambda p: edited(p, lambda r: r["arrays"]["layout"].update(shape=[2, 60])),
        r"its header says <f4 and \(60, 2\), stated are <f4 and \(2, 60\)",
    ),
    "header too large for the bytes": (
        lambda p: restated(p, layout=p["layout.npy"].replace(b"(60, 2), }          ", b"(60000000000, 2), } ")),
        r"its header says <f4 and \(60000000000, 2\)",
    ),
    "header of other columns": (
        lambda p: restated(p, layout=npy(np.asfortranarray(np.zeros((60, 2), np.float32)))),
        "'layout' cannot be read",
    ),
    "bytes after the end": (lambda p: restated(p, layout=p["layout.npy"] + b"more"), "its length is not what"),
    "no npy": (lambda p: restated(p, layout=b"x" * 700), "'layout' cannot be read"),
    "rows that do not fit": (lambda p: restated(p, layout=np.zeros((59, 2), np.float32)), "60 rows and 'layout' 59"),
    "columns that do not fit": (
        lambda p: restated(p, reference=np.zeros((60, 4), np.float32)),
        "'reference' has 4 columns; the manifest states 5",
    ),
    "names that do not fit": (lambda p: edited(p, lambda r: r.update(features=["a"])), "names 1 features for 5"),
    "double precision": (lambda p: restated(p, layout=np.zeros((60, 2))), "expected float32"),
    "one dimension": (lambda p: restated(p, layout=np.zeros(60, np.float32)), "expected float32 rows and columns"),
    "no cells": (
        lambda p: restated(p, layout=np.zeros((0, 2), np.float32), reference=np.zeros((0, 5), np.float32)),
        "expected float32 rows and columns",
    ),
    "NaN": (lambda p: restated(p, layout=np.full((60, 2), np.nan, np.float32)), "120 values that are NaN or infinite"),
    "infinity": (lambda p: restated(p, reference=np.full((60, 5), np.inf, np.float32)), "300 values that are NaN"),
    "array too many": (lambda p: restated(p, bonus=np.zeros(3, np.float32)), "a landmark model holds"),
    "no representation": (lambda p: edited(p, lambda r: r.update(representation=None)), "states no representation"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_forged(model, tmp_path, name):
    forge, says = FORGERIES[name]
    model.save(tmp_path / "a")
    rezip(tmp_path / "a", forge(parts_of(tmp_path / "a")))
    refused(tmp_path / "a", says)


def test_zip_bombs(model, tmp_path):
    path = tmp_path / "a"
    model.save(path)
    parts = parts_of(path)
    bomb = restated(parts, layout=npy(np.zeros((4_000_000, 2), np.float32)))
    rezip(path, bomb, zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 100_000
    refused(path, "compressed or encrypted")
    # A header that promises more than there is.
    model.save(path)
    data = bytearray(path.read_bytes())
    with zipfile.ZipFile(path) as archive:
        size = archive.getinfo("layout.npy").file_size
    at = data.rindex(b"layout.npy") - 46 + 24  # uncompressed size in the central directory
    assert data[at : at + 4] == size.to_bytes(4, "little")
    data[at : at + 4] = (2**31).to_bytes(4, "little")
    path.write_bytes(data)
    refused(path, "compressed or encrypted")


def test_a_manifest_too_large_to_be_one(model, tmp_path, monkeypatch):
    model.save(tmp_path / "a")
    monkeypatch.setattr(store, "MAX_MANIFEST_BYTES", 100)
    refused(tmp_path / "a", "model.json is larger than 100 bytes")


def test_repeated_member(model, tmp_path):
    model.save(tmp_path / "a")
    with zipfile.ZipFile(tmp_path / "a", "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
        archive.writestr("layout.npy", b"other")
    refused(tmp_path / "a", "holds 'layout.npy' twice")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(position=st.floats(0, 1, exclude_max=True), value=st.integers(1, 255), cut=st.booleans())
def test_no_damage_goes_unnoticed(model, tmp_path, position, value, cut):
    """Whatever byte is changed, loading gives the model as it was, or a ModelError."""
    path = tmp_path / "a"
    path.unlink(missing_ok=True)
    model.save(path)
    data = bytearray(path.read_bytes())
    at = int(position * len(data))
    data = data[:at] if cut else data
    if not cut:
        data[at] ^= value
    path.write_bytes(data)
    try:
        back = models.load(path)
    except ModelError:
        return
    assert back.manifest == model.manifest
    assert all(np.array_equal(back.arrays[name], array) for name, array in model.arrays.items())
