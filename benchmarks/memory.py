"""What `vc.tl.embed` adds to the memory of a process that holds the cytometry cells with their neighbours.

After a call on 1,000 cells, so that compiled code is not counted. Run with the stage `prepare FILE` once, which writes
the cells with neighbours and a first layout; then with `measure FILE`.
"""

from __future__ import annotations

import sys
import threading
import time
from pathlib import Path

import anndata as ad
import numpy as np
from data import as_cells, cytometry

import vicinal as vc

MIB = 2**20


def prepare(path: str) -> None:
    adata = as_cells(cytometry())
    vc.pp.neighbors(adata, knn="pynndescent")
    rng = np.random.default_rng(0)
    adata.obsm["X_first"] = rng.uniform(0, 10, size=(adata.n_obs, 2)).astype(np.float32)
    adata.write_h5ad(path)


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096


def measure(path: str, n_epochs: int = 20) -> None:
    few = as_cells(cytometry(1000))
    few.obsm["X_first"] = few.obsm["X_pca"][:, :2].copy()
    vc.pp.neighbors(few)
    vc.tl.embed(few, init="X_first", n_epochs=5)
    adata = ad.read_h5ad(path)
    held, peak, done = resident(), [0], threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            peak[0] = max(peak[0], resident())

    watcher = threading.Thread(target=watch)
    watcher.start()
    start = time.perf_counter()
    vc.tl.embed(adata, init="X_first", n_epochs=n_epochs)
    seconds = time.perf_counter() - start
    done.set()
    watcher.join()
    print(f"{adata.n_obs:,} cells, {adata.obsp['connectivities'].nnz:,} edges, {n_epochs} epochs in {seconds:.1f} s")
    print(f"held before {held / MIB:.0f} MiB, added at most {(peak[0] - held) / MIB:.0f} MiB")
    timings = adata.uns["umap"]["timings"]
    print("seconds:", ", ".join(f"{stage} {taken:.1f}" for stage, taken in timings.items()))


if __name__ == "__main__":
    {"prepare": prepare, "measure": measure}[sys.argv[1]](*sys.argv[2:])
