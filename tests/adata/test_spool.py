"""Large representations go into a temporary file: the same maps, nothing left behind, no surprise when it is full."""

from __future__ import annotations

import errno
import gc
import os
import sys
import tempfile
import tracemalloc
from collections import namedtuple
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
from scipy import sparse

import vicinal as vc
from vicinal.adata import pieces, read
from vicinal.adata.dense import dense_rows
from vicinal.api import InputError
from vicinal.contract.options import EmbedOptions
from vicinal.pipeline import memory, rows, spool
from vicinal.pipeline.memory import Memory
from vicinal.pipeline.run import Run

N, D = 300, 12
FEW = {"n_epochs": 10, "use_rep": "X"}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """Keep temporary files where nobody else has any."""
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


@pytest.fixture
def spooled(monkeypatch):
    monkeypatch.setattr(spool, "SPOOL_BYTES", 1000)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 1000)
    monkeypatch.setattr(rows, "SORTED_AT_ONCE", 70)


@pytest.fixture
def room(monkeypatch):
    def set_to(free):
        usage = namedtuple("usage", "total used free")(10**12, 0, free)
        monkeypatch.setattr("shutil.disk_usage", lambda _: usage)

    return set_to


@pytest.fixture
def nothing_runs(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("ran")

    monkeypatch.setattr(Run, "__init__", refuse)
    monkeypatch.setattr("vicinal.adata.dense.pieces", refuse)


def cells(n=N, *, in_order=True, form=np.asarray, dtype=np.float64):
    rng = np.random.default_rng(3)
    values = np.where(rng.random((n, D)) < 0.3, 0, rng.normal(size=(n, D))).astype(dtype)
    adata = ad.AnnData(form(values))
    adata.obs_names = [f"cell{i:06}" for i in (range(n) if in_order else rng.permutation(n))]
    adata.var_names = [f"gene{i}" for i in range(D)]
    return adata


def on_disk(adata, path):
    adata.write_h5ad(path)
    return ad.read_h5ad(path, backed="r")


def mapped(folder):
    """Return how many files of a folder this process has mapped, those without a name included."""
    if not sys.platform.startswith("linux"):
        pytest.skip("what a process has mapped can be read on Linux only")
    gc.collect()
    return sum(str(folder) in line for line in Path("/proc/self/maps").read_text().splitlines())


@pytest.mark.parametrize("in_order", [True, False])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
@pytest.mark.parametrize("more", [{}, {"n_pcs": 7, "init": "sample_place", "sample_size": 100}], ids=["all", "some"])
def test_a_map_of_a_file_has_the_same_bits(tmp_path, folder, request, in_order, form, more):
    adata = cells(in_order=in_order, form=form)
    vc.tl.embed(adata, **FEW, **more)
    request.getfixturevalue("spooled")
    backed = on_disk(cells(in_order=in_order, form=form), tmp_path / "cells.h5ad")
    vc.tl.embed(backed, **FEW, **more)
    assert np.array_equal(backed.obsm["X_umap"], adata.obsm["X_umap"])
    for name in ("score", "loss"):
        np.testing.assert_array_equal(backed.uns["umap"][name], adata.uns["umap"][name])
    assert vc.tl.score(backed) == adata.uns["umap"]["score"]
    assert mapped(folder) == 0 and not any(folder.iterdir())


def test_so_have_neighbors_models_and_projections(tmp_path, folder, request):
    adata, new = cells(in_order=False), cells(50)[:, ::-1].copy()
    for verb in (vc.pp.neighbors, vc.tl.embed):
        verb(adata, use_rep="X")
    vc.models.save(adata, tmp_path / "model")
    vc.tl.project(new, tmp_path / "model")
    request.getfixturevalue("spooled")
    backed, backed_new = on_disk(cells(in_order=False), tmp_path / "a.h5ad"), on_disk(new, tmp_path / "new.h5ad")
    for verb in (vc.pp.neighbors, vc.tl.embed):
        verb(backed, use_rep="X")
    assert (backed.obsp["connectivities"] != adata.obsp["connectivities"]).nnz == 0
    vc.tl.project(backed_new, backed, key_added="again")
    assert np.array_equal(backed_new.obsm["again"], new.obsm["X_umap"])
    assert mapped(folder) == 0 and not any(folder.iterdir())


@pytest.mark.usefixtures("spooled")
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix, sparse.csc_matrix])
def test_new_cells_from_a_file(tmp_path, form):
    reference, new = cells(), cells(60, form=form)[:, ::-1].copy()
    vc.tl.embed(reference, **FEW)
    placed = vc.tl.project(on_disk(new, tmp_path / "new.h5ad"), reference, copy=True)
    assert np.array_equal(placed.obsm["X_umap"], vc.tl.project(new, reference, copy=True).obsm["X_umap"])


@pytest.mark.usefixtures("spooled")
def test_the_file_is_there_as_long_as_the_rows(folder):
    values = spool.new_rows((N, D), "X")
    part = values[5:]
    part[:] = 1
    assert type(values) is np.ndarray and mapped(folder) == 1
    del values
    assert mapped(folder) == 1 and part.sum() == (N - 5) * D
    del part
    assert mapped(folder) == 0 and not any(folder.iterdir())


def test_few_rows_are_in_memory(folder):
    values = spool.new_rows((N, D), "X")
    assert values.base is None and mapped(folder) == 0


@pytest.mark.usefixtures("spooled")
def test_rows_that_are_ready_are_shared():
    adata = cells(dtype=np.float32)
    found = read.read_representation(adata, EmbedOptions(use_rep="X"), None)[0]
    assert found.shared and not found.spooled and np.shares_memory(found.values, adata.X)


@pytest.mark.usefixtures("spooled")
def test_a_mapped_array_of_the_user_is_shared(tmp_path):
    own = np.memmap(tmp_path / "own", dtype=np.float32, mode="w+", shape=(N, D))
    adata = ad.AnnData(np.zeros((N, 1), np.float32), obsm={"own": own})
    found = read.read_representation(adata, EmbedOptions(use_rep="own"), None)[0]
    assert found.shared and not found.spooled and np.shares_memory(found.values, own)


def test_neither_file_nor_rows_are_held_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(spool, "SPOOL_BYTES", 1000)
    monkeypatch.setattr(pieces, "PIECE_BYTES", 2**18)
    backed = on_disk(cells(100_000, in_order=False), tmp_path / "cells.h5ad")
    options = EmbedOptions(use_rep="X")
    order = rows.RowOrder(backed.obs_names.to_numpy())
    tracemalloc.start()
    found = read.read_representation(backed, options, None)[0]
    found = order.sort_representation(found)
    held, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found.values.nbytes == 4_800_000 and found.spooled
    assert held < 100_000 and most < 3_000_000


class TestForecast:
    def test_spooled_rows_are_not_counted(self, monkeypatch):
        adata = cells(20_000, in_order=False)
        in_memory = vc.tl.plan(adata, use_rep="X").forecast
        monkeypatch.setattr(spool, "SPOOL_BYTES", 1000)
        spooled = vc.tl.plan(adata, use_rep="X").forecast
        n_bytes = 20_000 * D * 4
        assert (in_memory.read, spooled.read) == (n_bytes, 0)
        for stage, peak in in_memory.stage_peaks.items():
            assert peak - spooled.stage_peaks[stage] == 2 * n_bytes

    def test_what_would_fit_is_found_without_reading_again(self, monkeypatch):
        reads = []
        monkeypatch.setattr(memory, "available_memory", lambda: Memory(2**20))
        monkeypatch.setattr(read, "dense_rows", lambda *a, **k: reads.append(a) or dense_rows(*a, **k))
        with pytest.raises(InputError, match="cells would fit"):
            vc.tl.embed(cells(3000), use_rep="X", n_neighbors=100)
        assert len(reads) == 1


@pytest.mark.usefixtures("spooled", "nothing_runs")
class TestFullDisk:
    @pytest.mark.parametrize(("in_order", "needed"), [(True, 1), (False, 2)])
    @pytest.mark.parametrize("verb", [vc.tl.embed, vc.tl.start, vc.tl.plan, vc.pp.neighbors])
    def test_it_says_what_to_do_before_any_work(self, room, folder, verb, in_order, needed):
        room(needed * N * D * 4 - 1)
        text = r"'X' with shape \(300, 12\) needs 0 MiB in temporary files, and '.*temporary' has 0 MiB free; "
        with pytest.raises(InputError, match=text + r"run sc.pp.pca\(adata\) and use that, or start .* TMPDIR"):
            verb(cells(in_order=in_order), use_rep="X")

    @pytest.mark.parametrize(("in_order", "needed"), [(True, 1), (False, 2)])
    def test_with_just_enough_it_goes_on(self, room, in_order, needed):
        room(needed * N * D * 4)
        with pytest.raises(AssertionError, match="ran"):
            vc.tl.embed(cells(in_order=in_order), **FEW)

    def test_neither_are_rows_that_are_shared(self, room):
        room(0)
        vc.tl.plan(cells(dtype=np.float32), use_rep="X")

    def test_room_that_others_take_meanwhile(self, monkeypatch):
        def full(*_):
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
        with pytest.raises(InputError, match="in temporary files"):
            vc.tl.plan(cells(), use_rep="X")


@pytest.mark.usefixtures("spooled")
@pytest.mark.parametrize("fails", [True, False])
def test_a_system_that_cannot_reserve(monkeypatch, fails):
    def unsupported(*_):
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    if fails:
        monkeypatch.setattr(os, "posix_fallocate", unsupported, raising=False)
    else:
        monkeypatch.delattr(os, "posix_fallocate", raising=False)
    adata = cells()
    vc.tl.embed(adata, **FEW)
    assert np.isfinite(adata.obsm["X_umap"]).all()
