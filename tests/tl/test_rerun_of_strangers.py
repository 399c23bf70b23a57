"""What a record in a stranger's file may make `rerun` do."""

from __future__ import annotations

import json
import os

import anndata as ad
import numpy as np
import pytest

import vicinal as vc
from vicinal.api import InputError
from vicinal.pipeline.local import is_local, sorted_by_trust


@pytest.fixture(scope="module")
def made():
    adata = ad.AnnData(np.zeros((60, 1), np.float32))
    adata.obsm["X_pca"] = np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)
    vc.tl.embed(adata, n_epochs=3, n_neighbors=5)
    return adata


def test_paths_of_a_record_are_not_written(made, tmp_path):
    adata = made.copy()
    record = json.loads(adata.uns["umap"]["arguments"])
    record["kept"] |= {"checkpoint": os.fspath(tmp_path / "taken"), "checkpoint_every": 1, "logger": True}
    adata.uns["umap"]["arguments"] = json.dumps(record)
    vc.tl.rerun(adata)
    assert adata.uns["umap_rerun"]["rerun_of"]["equal"]
    assert os.listdir(tmp_path) == []


def test_a_model_to_go_on_from_has_to_be_given_again(made):
    adata = made.copy()
    record = json.loads(adata.uns["umap"]["arguments"])
    record["kept"] |= {"optimizer__continue_from": "/home/reader/model"}
    adata.uns["umap"]["arguments"] = json.dumps(record)
    with pytest.raises(InputError, match="continue_from was '/home/reader/model'"):
        vc.tl.rerun(adata)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("checkpoint", "a"),
        ("optimizer__trainer_params", {}),
        ("weights_path", "a"),
        ("weights", "/etc/passwd"),
        ("weights", ["~/a"]),
        ("sample_params", {"checkpoint": "a"}),
        ("sample_params", {"deep": [{"log_dir": "a"}]}),
    ],
)
def test_of_the_machine(name, value):
    assert is_local(name, value)
    assert sorted_by_trust({name: value}) == ({}, {name: value})


@pytest.mark.parametrize(
    ("name", "value"), [("width", 20), ("solver", "fast"), ("rates", [0.1, 0.2]), ("labels", "a/b")]
)
def test_values_that_decide_the_map_are_taken(name, value):
    assert sorted_by_trust({name: value}) == ({name: value}, {})


NESTED = json.loads("[" * 90 + "]" * 90)
CHANGES = {
    "arguments that are no JSON": {"arguments": "{"},
    "arguments that are a list": {"arguments": "[]"},
    "arguments nested deeply": {"arguments": json.dumps({"kept": {}, "again": {}, "a": NESTED})},
    "backends that are no mapping": {"backends": 3},
    "versions that are no text": {"versions": {"a": [1]}},
    "inputs that are text": {"inputs": "sha"},
    "params that are none": {"params": "x"},
    "an array of arguments": {"arguments": np.arange(3)},
}


@pytest.mark.parametrize("case", CHANGES)
def test_a_record_that_is_none(made, case):
    adata = made.copy()
    adata.uns["umap"] = {**adata.uns["umap"], **CHANGES[case]}
    with pytest.raises(InputError, match="uns"):
        vc.tl.rerun(adata)


@pytest.mark.parametrize("value", [["X_pca"], {"a": 1}, 3])
def test_a_representation_that_is_no_name(made, value):
    adata = made.copy()
    record = json.loads(adata.uns["umap"]["arguments"])
    record["kept"]["use_rep"] = value
    adata.uns["umap"]["arguments"] = json.dumps(record)
    with pytest.raises(InputError, match="use_rep"):
        vc.tl.rerun(adata)


def test_an_epoch_that_was_not_kept(made):
    adata = made.copy()
    adata.uns["umap"]["params"]["layout_epoch"] = 2
    with pytest.raises(InputError, match="layout_epoch=2 is not allowed"):
        vc.tl.rerun(adata)


def test_losses_that_are_none(made):
    for change in ({"loss": "x"}, {"loss_parts": 3}, {"loss": [1.0]}, {"loss_epoch": np.zeros((2, 2))}):
        adata = made.copy()
        adata.uns["umap"] = {**adata.uns["umap"], **change}
        with pytest.raises(InputError, match="uns"):
            vc.pl.loss(adata)
