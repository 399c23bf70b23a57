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


def test_without_logging_set_up_the_wait_is_one_line(tmp_path: Path) -> None:
    code = EMBED.replace('logging.basicConfig(level="INFO")', "")
    for n_lines in (1, 0):
        _, _, log = finish(start(["-c", code], NUMBA_CACHE_DIR=str(tmp_path)))
        assert log.count("Compiling kernels, once per machine: about 15 s") == n_lines


TWICE = """
from vicinal.kernels.compile import kernel

@kernel
def twice(x):
    return 2 * x

print(twice(21), len(twice.stats.cache_hits))
"""
FULL = """
import errno
from numba.core import caching

def full(self, name, data):
    raise OSError(errno.ENOSPC, "No space left on device")

caching.IndexDataCacheFile._save_data = full
"""


def test_on_a_full_disk_it_goes_on_without_a_cache_and_mends_what_is_left(tmp_path: Path) -> None:
    file, environment = tmp_path / "twice.py", {"NUMBA_CACHE_DIR": str(tmp_path / "cache")}

    def answer(code: str) -> tuple[str, str]:
        file.write_text(TWICE)
        process = start(
            ["-c", f"{code}\nimport sys; sys.path.insert(0, {str(tmp_path)!r}); import twice"], **environment
        )
        out, log = process.communicate(timeout=120)
        assert process.returncode == 0, log
        return out.split()[0], log

    found, log = answer(FULL)
    assert found == "42" and log.count("Compiled kernels cannot be cached: [Errno 28] No space left") == 1
    assert answer("")[0] == "42"
    for kept in (tmp_path / "cache").rglob("*.nb[ic]"):
        kept.write_bytes(kept.read_bytes()[:-10])
    assert answer("")[0] == "42"


@pytest.mark.slow
def test_eight_processes_at_once_on_an_empty_cache(tmp_path: Path) -> None:
    processes = [start(["-c", EMBED], NUMBA_CACHE_DIR=str(tmp_path)) for _ in range(8)]
    assert len({finish(process)[1] for process in processes}) == 1
