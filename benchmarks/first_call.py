"""CPU seconds of the first map in a new process: ours beyond importing anndata, umap-learn's beyond numpy and scipy.

Ours on pbmc3k with neighbours stored, and on the first 1,000 rows of its principal components, as umap-learn's; with an
empty and a warm cache. umap-learn runs with the Python that VICINAL_PEERS names, and is left out without it.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import anndata as ad
import numpy as np
from data import FOLDER, as_cells

import vicinal as vc

PEER = Path(__file__).parent / "peers" / "umap_learn_first_call.py"
SCRIPT = """
import sys, time
import anndata as ad
adata = ad.read_h5ad(sys.argv[1])
start = time.process_time(), time.perf_counter()
import vicinal as vc
vc.tl.embed(adata)
print(time.process_time() - start[0], time.perf_counter() - start[1])
"""


def seconds(command: list[str], cache: Path) -> list[float]:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return [float(number) for number in done.stdout.split()]


def commands(folder: Path) -> dict[str, list[str]]:
    adata = ad.read_h5ad(FOLDER / "pbmc3k.h5ad")
    rows = np.ascontiguousarray(adata.obsm["X_pca"][:1000], dtype=np.float32)
    vc.pp.neighbors(adata)
    adata.write_h5ad(folder / "cells.h5ad")
    as_cells(rows).write_h5ad(folder / "rows.h5ad")
    np.save(folder / "rows.npy", rows)
    found = {
        "vicinal, pbmc3k with neighbours": [sys.executable, "-c", SCRIPT, str(folder / "cells.h5ad")],
        "vicinal, 1,000 rows": [sys.executable, "-c", SCRIPT, str(folder / "rows.h5ad")],
    }
    if "VICINAL_PEERS" in os.environ:
        found["umap-learn, 1,000 rows"] = [os.environ["VICINAL_PEERS"], str(PEER), str(folder / "rows.npy")]
    return found


def main(repeats: int = 5) -> None:
    warm: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case, (shown, command) in enumerate(commands(folder).items()):
            cold = seconds(command, folder / f"cache{case}")
            runs = [seconds(command, folder / f"cache{case}") for _ in range(repeats)]
            warm[shown] = [statistics.median(column) for column in zip(*runs, strict=True)]
            cpu, wall, *_ = warm[shown]
            print(f"{shown}: cache empty {cold[0]:.1f} s CPU, {cold[1]:.1f} s wall;", end=" ")
            print(f"warm {cpu:.2f} s CPU, {wall:.2f} s wall (medians of {repeats})", flush=True)
    if "umap-learn, 1,000 rows" in warm:
        theirs, own = warm["umap-learn, 1,000 rows"], warm["vicinal, 1,000 rows"][0]
        print(f"warm, 1,000 rows: umap-learn takes {theirs[0] / own:.1f} x our CPU seconds,", end=" ")
        print(f"{theirs[2] / own:.1f} x without counting its import ({theirs[2]:.2f} s)")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
