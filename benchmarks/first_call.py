"""CPU seconds of the first `vc.tl.embed` on pbmc3k in a new process, beyond importing anndata: cold and warm cache."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import anndata as ad
from data import FOLDER

import vicinal as vc

SCRIPT = """
import sys, time
import anndata as ad
adata = ad.read_h5ad(sys.argv[1])
start = time.process_time(), time.perf_counter()
import vicinal as vc
vc.tl.embed(adata)
print(time.process_time() - start[0], time.perf_counter() - start[1])
"""


def seconds(cells: Path, cache: Path) -> tuple[float, float]:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(cells)],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "NUMBA_CACHE_DIR": str(cache)},
    )
    cpu, wall = map(float, done.stdout.split())
    return cpu, wall


def main(repeats: int = 5) -> None:
    with tempfile.TemporaryDirectory() as folder:
        cells, cache = Path(folder) / "cells.h5ad", Path(folder) / "cache"
        adata = ad.read_h5ad(FOLDER / "pbmc3k.h5ad")
        vc.pp.neighbors(adata)
        adata.write_h5ad(cells)
        cold = seconds(cells, cache)
        warm = [seconds(cells, cache) for _ in range(repeats)]
    cpu, wall = (statistics.median(column) for column in zip(*warm, strict=True))
    print(f"never run here: {cold[0]:.1f} s CPU, {cold[1]:.1f} s wall")
    print(f"warm cache: {cpu:.2f} s CPU, {wall:.2f} s wall (medians of {repeats})")


if __name__ == "__main__":
    main()
