"""The bar of a run."""

from __future__ import annotations

import sys
import types
from typing import Any

import anndata as ad
import numpy as np
import pytest

import vicinal as vc
from vicinal.pipeline import progress


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A notebook; the list holds what its cell shows, as text, oldest first."""
    shown: list[str] = []

    def display(data: dict[str, str], **_: Any) -> Any:
        shown.append(data["text/plain"])
        return types.SimpleNamespace(update=lambda data, raw: shown.append(data["text/plain"]))

    ipython = types.ModuleType("IPython")
    ipython.get_ipython = lambda: types.SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    shells = types.ModuleType("IPython.display")
    shells.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", shells)
    monkeypatch.setattr(progress, "DELAY", 0)
    return shown


def embed(method: str, **options: Any) -> None:
    adata = ad.AnnData(obsm={"X_pca": np.random.default_rng(0).normal(size=(60, 5)).astype(np.float32)})
    vc.tl.embed(adata, method, n_epochs=20, **options)


@pytest.mark.parametrize("method", ["umap", "tsne"])
def test_a_notebook_keeps_a_finished_line_named_after_the_method(notebook: list[str], method: str) -> None:
    embed(method)
    assert notebook[-1].startswith(f"{method}: 100%") and "20/20" in notebook[-1]


def test_a_run_that_a_callback_ends_has_ended(notebook: list[str]) -> None:
    embed("umap", callbacks=lambda epoch, layout, loss: epoch >= 5)
    assert notebook[-1].startswith("umap: 100%")


def test_a_terminal_keeps_the_line_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(progress, "DELAY", 0)
    monkeypatch.setattr(progress, "_in_terminal", lambda: True)
    embed("umap")
    assert capsys.readouterr().err.rstrip().splitlines()[-1].lstrip("\r").rpartition("\r")[2].startswith("umap: 100%")


def test_nothing_is_shown_where_nobody_looks(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "DELAY", 0)
    embed("umap")
    assert capsys.readouterr().err == ""
