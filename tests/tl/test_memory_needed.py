"""A map that cannot fit into memory is an error before any work."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
import pytest

import vicinal as vc
from vicinal import _warmup
from vicinal.api import InputError
from vicinal.cli import main
from vicinal.pipeline import memory
from vicinal.pipeline.memory import Memory
from vicinal.pipeline.run import Run

MIB = 2**20


@pytest.fixture
def adata():
    draw = np.random.default_rng(0)
    return ad.AnnData(np.zeros((3000, 1), dtype=np.float32), obsm={"X_pca": draw.normal(size=(3000, 5))})


@pytest.fixture
def available(monkeypatch):
    def set_to(free, swap=0):
        found = None if free is None else Memory(int(free), int(swap))
        monkeypatch.setattr(memory, "available_memory", lambda: found)

    return set_to


@pytest.fixture
def nothing_runs(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("ran")

    monkeypatch.setattr(Run, "__init__", refuse)


def need(adata, **arguments):
    found = vc.tl.plan(adata, **arguments).forecast
    return found.peak - found.read


@pytest.mark.parametrize("function", [vc.tl.embed, vc.tl.start])
def test_an_error_says_what_is_needed_what_is_there_and_what_would_fit(adata, available, nothing_runs, function):
    arguments = {"n_neighbors": 2000, "init": "spectral"}
    available(160 * MIB)
    assert need(adata, **arguments) > 200 * MIB
    text = r"3,000 cells need about \d+ MiB more memory, 160 MiB are available; init='pca', n_neighbors=15 would fit, "
    with pytest.raises(InputError, match=f"{text}with about 1\\d\\d MiB"):
        function(adata, **arguments)
    assert not adata.obsm.keys() - {"X_pca"}


def test_what_it_names_does_fit(adata, available):
    available(160 * MIB)
    vc.tl.embed(adata, init="pca", n_neighbors=15, n_epochs=1)
    assert adata.obsm["X_umap"].shape == (3000, 2)


def test_placement_alone_is_the_last_resort(available, nothing_runs):
    cells = ad.AnnData(np.zeros((60_000, 1), dtype=np.float32), obsm={"X_pca": np.zeros((60_000, 3), np.float32)})
    placed = need(cells, init="sample_place", n_epochs=0, sample_size=500)
    smallest = need(cells, init="pca", n_neighbors=15)
    assert placed < smallest
    available((placed + smallest) / 2)
    with pytest.raises(InputError, match="init='sample_place', n_epochs=0, n_neighbors=None would fit"):
        vc.tl.embed(cells, n_neighbors=300, sample_size=500, init="sample_place")


def test_where_no_change_fits_it_says_how_many_cells_would(adata, available, nothing_runs):
    available(MIB)
    with pytest.raises(InputError, match=r"with these arguments about \d+ cells would fit"):
        vc.tl.embed(adata)


def test_what_a_forecast_may_be_off_is_no_error(adata, available, caplog):
    available(need(adata, n_epochs=1) / 1.2)
    with caplog.at_level(logging.WARNING, "vicinal"):
        vc.tl.embed(adata, n_epochs=1)
    assert "it may not suffice" in caplog.text
    assert "X_umap" in adata.obsm


def test_swap_counts_before_an_error(adata, available, caplog):
    available(need(adata, n_epochs=1) / 2, swap=need(adata, n_epochs=1))
    with caplog.at_level(logging.WARNING, "vicinal"):
        vc.tl.embed(adata, n_epochs=1)
    assert "it may not suffice" in caplog.text


@pytest.mark.parametrize("free", [None, 2**40])
def test_enough_or_not_known_is_no_matter(adata, available, caplog, free):
    available(free)
    with caplog.at_level(logging.WARNING, "vicinal"):
        vc.tl.embed(adata, n_epochs=1)
    assert "memory" not in caplog.text


def test_a_plan_is_shown_all_the_same(adata, available):
    available(0)
    assert "forecast: about" in str(vc.tl.plan(adata))


def test_the_command_line_says_it_in_one_line(adata, available, tmp_path, capsys):
    adata.write_h5ad(tmp_path / "in.h5ad")
    available(MIB)
    assert main(["embed", str(tmp_path / "in.h5ad"), str(tmp_path / "out.h5ad")]) == 2
    assert "3,000 cells need about" in capsys.readouterr().err
    assert not (tmp_path / "out.h5ad").exists()


class TestWarmup:
    @pytest.fixture(autouse=True)
    def _quick(self, monkeypatch):
        monkeypatch.setattr(_warmup, "warmup", lambda: 1.0)
        monkeypatch.setattr(_warmup, "calibrate", lambda: {"score": 1e-9})

    def test_it_keeps_what_it_measured(self, tmp_path, monkeypatch, capsys):
        monkeypatch.setenv("VICINAL_CACHE", str(tmp_path))
        assert main(["warmup"]) == 0
        assert str(tmp_path / "calibration.json") in capsys.readouterr().out
        assert (tmp_path / "calibration.json").exists()

    def test_nowhere_to_write_is_said_and_no_error(self, tmp_path, monkeypatch, capsys):
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("VICINAL_CACHE", str(tmp_path / "file"))
        assert main(["warmup"]) == 0
        shown = capsys.readouterr()
        assert "cached" in shown.out
        assert "plans cannot forecast their time" in shown.err

    def test_no_home_is_said_and_no_error(self, monkeypatch, capsys):
        def nowhere():
            raise RuntimeError("Could not determine home directory.")

        monkeypatch.setattr("vicinal.pipeline.calibration.calibration_path", nowhere)
        assert main(["warmup"]) == 0
        assert "Could not determine home" in capsys.readouterr().err
