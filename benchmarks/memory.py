"""What `vc.tl.embed` adds to the memory of a process that holds the cytometry cells with their neighbours.

After a call on 1,000 cells, so that compiled code is not counted. Run with the stage `prepare FILE` once, which writes
the cells with neighbours and a first layout; then with `measure FILE [N_EPOCHS]`. With VICINAL_PEERS, which names the
peers' Python, also what umap-learn's optimiser adds to the same, in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import anndata as ad
import numpy as np
from data import as_cells, cytometry
from peers.peak import MIB, most, watch

import vicinal as vc

PEER = Path(__file__).parent / "peers" / "umap_learn_memory.py"


def prepare(path: str) -> None:
    adata = as_cells(cytometry())
    vc.pp.neighbors(adata, knn="pynndescent")
    rng = np.random.default_rng(0)
    adata.obsm["X_first"] = rng.uniform(0, 10, size=(adata.n_obs, 2)).astype(np.float32)
    adata.write_h5ad(path)


def measure(path: str, n_epochs: int = 20) -> None:
    few = as_cells(cytometry(1000))
    few.obsm["X_first"] = few.obsm["X_pca"][:, :2].copy()
    vc.pp.neighbors(few)
    vc.tl.embed(few, init="X_first", n_epochs=5)
    adata = ad.read_h5ad(path)
    held, start = watch(), time.perf_counter()
    vc.tl.embed(adata, init="X_first", n_epochs=n_epochs)
    seconds, added = time.perf_counter() - start, most() - held
    print(f"{adata.n_obs:,} cells, {adata.obsp['connectivities'].nnz:,} edges, {n_epochs} epochs")
    _report("vicinal", seconds, held, added)
    timings = adata.uns["umap"]["timings"]
    print("  seconds:", ", ".join(f"{stage} {taken:.1f}" for stage, taken in timings.items()), flush=True)
    if "VICINAL_PEERS" in os.environ:
        theirs = _peer(path, n_epochs)
        _report("umap-learn", theirs["SECONDS"], theirs["HELD"], theirs["ADDED"])
        print(f"umap-learn adds {theirs['ADDED'] / added:.1f} x what we add")


def _report(name: str, seconds: float, held: float, added: float) -> None:
    print(f"{name}: {seconds:.1f} s; held before {held / MIB:.0f} MiB, added at most {added / MIB:.0f} MiB", flush=True)


def _peer(path: str, n_epochs: int) -> dict[str, float]:
    command = [os.environ["VICINAL_PEERS"], str(PEER), path, str(n_epochs)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name: float(value) for name, value in map(str.split, done.stdout.splitlines())}


if __name__ == "__main__":
    stage, file, *counts = sys.argv[1:]
    {"prepare": prepare, "measure": measure}[stage](file, *map(int, counts))
