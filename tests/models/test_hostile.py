"""Model files of strangers: a clear error or a right result, whatever they state."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from vicinal.api import ModelError, VicinalError
from vicinal.models import load
from vicinal.models import manifest as m
from vicinal.models.layers import MOST_LAYERS, check_layers
from vicinal.models.write import remove_unfinished, write_whole


def altered(model, **changes):
    """Return the text of a manifest with other fields, and the fingerprint that belongs to it."""
    record = {**model.manifest.record(), **changes}
    return json.dumps({**record, "fingerprint": m._fingerprint(record)})


NOT_ALLOWED = {
    "a list for a name": ({"method": ["umap"]}, "'method' is a list, expected text"),
    "a character that files cannot hold": ({"method": "a\0b"}, "'method' is 'a.x00b'"),
    "a key with folders": ({"basis": "X/y"}, "no key can be"),
    "half a character": ({"versions": {"a": "\ud800"}}, "no valid Unicode"),
    "half a character for a name": ({"later": {"\udfff": 1}}, "no valid Unicode"),
    "an integer of no file": ({"n_obs_reference": 2**64}, "expected at most"),
    "an integer of no float": ({"later": 10**400}, "beyond all bounds"),
    "infinity": ({"params": {"a": float("inf")}}, "no finite number"),
    "deep nesting": ({"later": json.loads("[" * 80 + "]" * 80)}, "nested more than 64 deep"),
    "a negative step": ({"placement": {"n_neighbors": 5, "n_steps": -1}}, "n_steps"),
}


@pytest.mark.parametrize("case", NOT_ALLOWED)
def test_a_manifest_that_is_not_allowed(make_model, case):
    changes, says = NOT_ALLOWED[case]
    with pytest.raises(ModelError, match=says):
        m.parse_manifest(altered(make_model(), **changes))


def test_a_manifest_of_more_parts_than_a_model_has():
    with pytest.raises(ModelError, match="lists and objects"):
        m.parse_manifest("[" + "[]," * 500_000 + "0]")


def test_layers_are_bounded():
    deep = {"op": "sigmoid"}
    for _ in range(20_000):
        deep = {"op": "residual", "layers": [deep]}
    dense = {"op": "dense", "weight": "w", "bias": "b", "activation": "none"}
    for layers in ([deep], [{"op": "sigmoid"}] * (MOST_LAYERS + 1), [dense, dense], ["sigmoid"]):
        with pytest.raises(ModelError, match="do not fit together"):
            check_layers(layers)
    check_layers([{"op": "residual", "layers": [dense]}, {**dense, "weight": "v", "bias": "c"}])


@pytest.mark.parametrize("metric", ["haversine", "no metric"])
def test_a_metric_that_the_rows_do_not_have(make_model, metric):
    from vicinal.models.inference import place
    from vicinal.models.store import Model

    model = make_model()
    seen = {**model.manifest.representation, "metric": metric}
    model = Model(dataclasses.replace(model.manifest, representation=seen), model.arrays)
    with pytest.raises(VicinalError):
        place(model, model.arrays["reference"][:3] + 1)


def test_what_a_killed_writer_left_is_removed_by_the_next(make_model, tmp_path):
    path = tmp_path / "model"
    script = f"""
import os, signal
from vicinal.models.write import write_whole
write_whole({os.fspath(path)!r}, lambda file: (file.write(b"half"), os.kill(os.getpid(), signal.SIGKILL)))
"""
    done = subprocess.run([sys.executable, "-c", script], check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(os.listdir(tmp_path)) == 1
    make_model().save(path)
    assert os.listdir(tmp_path) == ["model"]
    load(path)


def test_a_file_that_is_being_written_is_left_alone(tmp_path):
    def write(file):
        file.write(b"all")
        remove_unfinished(tmp_path / "model")

    write_whole(tmp_path / "model", write)
    assert (tmp_path / "model").read_bytes() == b"all"


def test_a_full_disk_is_told(make_model, tmp_path, monkeypatch):
    def full(fd):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ModelError, match="cannot be written: No space left on device. What was there is unchanged"):
        make_model().save(tmp_path / "model")
    assert os.listdir(tmp_path) == []


def test_a_handle_of_no_arrays(make_model):
    from vicinal.models.store import from_handle

    for arrays in (
        [1],
        {"layout": json.loads("[" * 80 + "]" * 80)},
        {"layout": np.array([{}], dtype=object)},
        {"layout": "text"},
        {"layout": np.array(["a"])},
    ):
        with pytest.raises(ModelError):
            from_handle(make_model().manifest, arrays)


def joint(model):
    import anndata as ad

    rows = np.concatenate([model.arrays["reference"], model.arrays["reference"][:20] + 1])
    adata = ad.AnnData(np.zeros((len(rows), 1), dtype=np.float32))
    adata.obsm["X_pca"] = rows
    return adata


@pytest.mark.parametrize("n_neighbors", [{"a": 1}, [3], "text", None, -4])
def test_an_update_of_a_record_that_is_none(make_model, n_neighbors):
    import vicinal as vc
    from vicinal.models.store import Model

    model = make_model()
    params = {**model.manifest.params, "n_neighbors": n_neighbors}
    model = Model(dataclasses.replace(model.manifest, params=params), model.arrays)
    with pytest.raises(ModelError, match="n_neighbors"):
        vc.tl.update(joint(model), model, n_epochs=2)


def test_an_update_of_a_map_in_one_place(make_model):
    import vicinal as vc
    from vicinal.models.store import Model

    model = make_model()
    manifest = dataclasses.replace(model.manifest, params={"n_neighbors": 8})
    model = Model(manifest, {**model.arrays, "layout": np.zeros_like(model.arrays["layout"])})
    adata = joint(model)
    vc.tl.update(adata, model, n_epochs=2)
    assert np.isfinite(adata.obsm["X_umap"]).all()
    assert adata.uns["umap"]["update"]["spread"] == 0 and np.isnan(adata.uns["umap"]["update"]["drift_max_share"])
