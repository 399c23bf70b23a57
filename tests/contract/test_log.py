"""What is said, and to whom."""

from __future__ import annotations

import logging
import subprocess
import sys
import types

import anndata as ad
import numpy as np
import pytest

import vicinal as vc
from vicinal.contract.log import scanpy_verbosity

logger = logging.getLogger("vicinal")


def cells() -> ad.AnnData:
    return ad.AnnData(obsm={"X_pca": np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)})


def test_each_call_ends_with_one_line_and_the_plan_is_for_debugging(caplog: pytest.LogCaptureFixture) -> None:
    adata = cells()
    for call, slot in [
        (lambda: vc.pp.neighbors(adata), r"obsp['distances'], obsp['connectivities']"),
        (lambda: vc.tl.embed(adata, n_epochs=2), "obsm['X_umap']"),
        (lambda: vc.tl.spectrum(adata, [2, 1], n_epochs=2), "obsm['X_spectrum']"),
        (lambda: vc.tl.project(cells(), adata, key="umap"), "obsm['X_umap']"),
        (lambda: vc.tl.rerun(adata, "umap", key_added="again"), "obsm['again']"),
    ]:
        caplog.clear()
        with caplog.at_level("INFO", logger="vicinal"):
            call()
        last = [record.getMessage() for record in caplog.records if record.getMessage().startswith("added")]
        assert len(last) == 1 and last[0].startswith(f"added {slot}, 60 cells, ") and last[0].endswith(" s")
        assert not any("Plan" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize(
    ("verbosity", "shown"),
    [
        (0, {"ERROR"}),
        (1, {"ERROR", "WARNING"}),
        (2, {"ERROR", "WARNING", "INFO"}),
        (4, {*"DEBUG INFO WARNING ERROR".split()}),
    ],
)
def test_scanpys_verbosity_is_heeded_where_scanpy_is_loaded(
    verbosity: int, shown: set[str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    scanpy = types.SimpleNamespace(settings=types.SimpleNamespace(verbosity=verbosity))
    monkeypatch.setitem(sys.modules, "scanpy", scanpy)
    for level in ("DEBUG", "INFO", "WARNING", "ERROR"):
        logger.log(getattr(logging, level), "said")
    assert {record.levelname for record in caplog.records} == shown


def test_who_sets_a_level_is_not_overruled(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    scanpy = types.SimpleNamespace(settings=types.SimpleNamespace(verbosity=4))
    monkeypatch.setitem(sys.modules, "scanpy", scanpy)
    with caplog.at_level("ERROR", logger="vicinal"):
        logger.warning("not said")
    assert not caplog.records


@pytest.mark.parametrize("found", [None, "loud", 7])
def test_a_verbosity_of_another_kind_is_no_error(found: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "scanpy", types.SimpleNamespace(settings=types.SimpleNamespace(verbosity=found)))
    assert scanpy_verbosity() == (4 if found == 7 else None)


def test_without_handlers_it_goes_to_stderr_as_scanpy_has_it() -> None:
    code = """
import logging, sys, types
import vicinal
assert "scanpy" not in sys.modules
said = logging.getLogger("vicinal")
said.info("too quiet")
sys.modules["scanpy"] = types.SimpleNamespace(settings=types.SimpleNamespace(verbosity=3))
said.info("added")
assert not said.handlers and said.level == logging.NOTSET and not logging.root.handlers
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "added\n")
