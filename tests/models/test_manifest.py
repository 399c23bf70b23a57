from __future__ import annotations

import json
import math

import anndata as ad
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vicinal.api import ModelError
from vicinal.models import manifest as m
from vicinal.models.store import handle_of

REUSABLE = {
    "kind": "landmarks",
    "method": "umap",
    "backends": {"knn": "exact@vicinal"},
    "versions": {"vicinal": "0.1.0"},
    "params": {"min_dist": np.float32(0.5), "n_epochs": np.int64(500), "far": math.inf, "names": ("a", "b")},
    "representation": {"name": "X_pca", "n_features": 50, "n_pcs": None},
    "metric": "euclidean",
    "n_neighbors": 15,
}


def edited(change) -> str:
    """A manifest changed by hand, with a fingerprint that fits again."""
    record = json.loads(handle_of(REUSABLE, "X_umap")["manifest"])
    change(record)
    record["fingerprint"] = m._fingerprint(record)
    return json.dumps(record)


def test_handle_says_what_the_map_was_made_from():
    manifest = m.parse_handle(handle_of(REUSABLE, "X_umap"))
    assert manifest.kind == "landmarks"
    assert manifest.basis == "X_umap"
    assert manifest.representation == {"name": "X_pca", "n_features": 50, "n_pcs": None, "metric": "euclidean"}
    assert manifest.placement == {"rule": "kernel_median", "n_neighbors": 15, "n_steps": 10}
    assert manifest.params == {"min_dist": 0.5, "n_epochs": 500, "far": "inf", "names": ["a", "b"]}
    assert manifest.arrays == {}
    assert manifest.features is None


def test_handle_of_a_graph_alone_has_no_representation():
    assert m.parse_handle(handle_of({**REUSABLE, "representation": None}, "X_umap")).representation is None


@pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
@pytest.mark.filterwarnings("ignore:Writing zarr v2")
def test_handle_survives_the_file(tmp_path, suffix):
    handle = handle_of({**REUSABLE, "params": {"organ": "Kopfsalat–ß"}}, "X_umap")
    adata = ad.AnnData(np.zeros((2, 2), np.float32), uns={"umap": {"model": handle}})
    path = tmp_path / f"a.{suffix}"
    if suffix == "h5ad":
        adata.write_h5ad(path)
        back = ad.read_h5ad(path)
    else:
        adata.write_zarr(path)
        back = ad.read_zarr(path)
    assert back.uns["umap"]["model"] == handle
    assert m.parse_handle(back.uns["umap"]["model"]) == m.parse_handle(handle)


def test_text_is_strict_json():
    text = handle_of(REUSABLE, "X_umap")["manifest"]
    assert json.loads(text, parse_constant=pytest.fail)["schema"] == 1


def test_fields_of_later_versions_are_kept():
    manifest = m.parse_manifest(edited(lambda r: r.update(loadings={"file": "x"})))
    assert manifest.extra == {"loadings": {"file": "x"}}
    assert m.parse_manifest(manifest.to_json()) == manifest


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        (b"\xff\xfe\x00", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[1]", "does not describe a vicinal model"),
        ("{}", "does not describe a vicinal model"),
        (edited(lambda r: r.update(format="other")), "does not describe a vicinal model"),
        (edited(lambda r: r.update(schema=2)), "schema 2, this version reads up to 1; run: pip install --upgrade"),
        (edited(lambda r: r.update(schema="1")), "schema '1'"),
        (edited(lambda r: r.update(schema=True)), "schema True"),
        (edited(lambda r: r.pop("params")), "lacks 'params'"),
        (edited(lambda r: r.update(kind=3)), "'kind' is a int"),
        (edited(lambda r: r.update(n_obs_reference=True)), "'n_obs_reference' is a bool"),
        (edited(lambda r: r["representation"].pop("metric")), r"lacks representation\['metric'\]"),
        (edited(lambda r: r["representation"].update(n_features=0)), "is 0; expected at least 1"),
        (edited(lambda r: r["representation"].update(n_pcs=-3)), "is -3; expected at least 1"),
        (edited(lambda r: r["placement"].update(n_neighbors=0)), "is 0; expected at least 1"),
        (edited(lambda r: r["placement"].update(n_neighbors=2.5)), "is a float"),
        (edited(lambda r: r.update(arrays={"a": 3})), "is a int, expected an object"),
        (edited(lambda r: r.update(arrays={"a": {"file": "a.npy"}})), "lacks arrays"),
        (
            edited(lambda r: r.update(arrays={"a": {"file": "", "dtype": "", "sha256": "", "shape": [-1]}})),
            "not negative",
        ),
    ],
)
def test_refuses(text, says):
    with pytest.raises(ModelError, match=says):
        m.parse_manifest(text)


def test_edited_text_is_noticed():
    text = handle_of(REUSABLE, "X_umap")["manifest"].replace('"n_neighbors": 15', '"n_neighbors": 16')
    with pytest.raises(ModelError, match="altered"):
        m.parse_manifest(text)


@pytest.mark.parametrize("handle", [{}, {"manifest": 3}, "text", None])
def test_handle_without_text(handle):
    with pytest.raises(ModelError, match="holds no manifest"):
        m.parse_handle(handle)


numbers = st.integers() | st.floats() | st.booleans() | st.none() | st.text()
scalars = numbers | st.floats(width=32).map(np.float32) | st.integers(-(2**63), 2**63 - 1).map(np.int64)
nested = st.recursive(scalars, lambda s: st.lists(s) | st.dictionaries(st.text(), s) | st.tuples(s, s), max_leaves=8)


@given(params=st.dictionaries(st.text(), nested, max_size=4))
def test_any_parameter_comes_back_as_plain_data(params):
    manifest = m.parse_handle(handle_of({**REUSABLE, "params": params}, "X_umap"))
    assert manifest.params == m.plain(params)
    assert m.plain(manifest.params) == manifest.params
