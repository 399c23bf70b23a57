"""What a new process waits for, and what it does where it may not write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

EMBED = """
import logging, sys
import numba.core.event as event

class Count(event.Listener):
    compiled = 0
    def on_start(self, found):
        Count.compiled += found.data["dispatcher"].py_func.__module__.startswith("vicinal")
    def on_end(self, found): ...

event.register("numba:compile", Count())
logging.basicConfig(level="INFO")
import hashlib
import vicinal as vc
adata = vc.datasets.pbmc68k_reduced()
vc.tl.embed(adata, n_epochs=3)
stored = adata.obsm["X_umap"].tobytes()
vc.tl.embed(adata, n_epochs=3, use_rep="X_pca", n_neighbors=10)
vc.tl.project(adata[:50].copy(), adata)
print(Count.compiled, hashlib.sha256(stored + adata.obsm["X_umap"].tobytes()).hexdigest())
"""


def start(code: list[str], **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, *code],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **environment},
    )


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    out, log = process.communicate(timeout=300)
    assert process.returncode == 0, log
    return int(out.split()[0]), out.split()[1], log


def embed(**environment: str) -> tuple[int, str, str]:
    return finish(start(["-c", EMBED], **environment))


def test_kernels_are_compiled_once_for_a_machine_and_a_line_says_so(tmp_path: Path) -> None:
    compiled, first, log = embed(NUMBA_CACHE_DIR=str(tmp_path))
    assert compiled > 10 and log.count("Compiling kernels") == 1 and "vicinal warmup" in log
    compiled, second, log = embed(NUMBA_CACHE_DIR=str(tmp_path))
    assert compiled == 0 and "Compiling" not in log and second == first


def test_after_warmup_nothing_is_left_to_compile(tmp_path: Path) -> None:
    process = start(["-m", "vicinal", "warmup"], NUMBA_CACHE_DIR=str(tmp_path))
    out, log = process.communicate(timeout=300)
    assert process.returncode == 0 and "cached" in out, log
    assert embed(NUMBA_CACHE_DIR=str(tmp_path))[0] == 0


NOWHERE = """
from numba.core import caching

def refuse(self):
    raise OSError("read-only")

caching._CacheLocator.ensure_cache_path = refuse
"""


def test_without_any_folder_to_write_to_it_only_takes_longer() -> None:
    # scanpy itself cannot be imported there, so the cells are made by hand.
    made = "ad.AnnData(obsm={'X_pca': np.random.default_rng(0).normal(size=(90, 5))})"
    by_hand = EMBED.replace("vc.datasets.pbmc68k_reduced()", made)
    code = f"import numpy as np, anndata as ad{NOWHERE}{by_hand}"
    compiled, _, log = finish(start(["-c", code], HOME="/nonexistent"))
    assert compiled > 10 and log.count("no folder is writable, set NUMBA_CACHE_DIR") == 1


@pytest.mark.parametrize("folder", ["/proc/nowhere", __file__])
def test_a_cache_folder_that_is_none_is_no_error(folder: str) -> None:
    embed(NUMBA_CACHE_DIR=folder)


@pytest.mark.slow
def test_eight_processes_at_once_on_an_empty_cache(tmp_path: Path) -> None:
    processes = [start(["-c", EMBED], NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(8)]
    assert len({finish(process)[1] for process in processes}) == 1
