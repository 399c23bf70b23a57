"""Seconds of placing new rows in a map: warm, and the first call of a new process.

python benchmarks/project.py [--rows N] [--new M] [--maps NAME ...] [--repeats N]

Maps of the first 20,000 rows of Fashion-MNIST x 50; placed are 10,000 others, and one. Trained for one epoch: what a
network has learned does not change how long it takes. "array" is `vicinal.models.inference.place`; "project" is
`vc.tl.project` with a model, a model file, or the AnnData with the map; medians of 20 calls. The first call counts
importing vicinal and reading the model file, not importing anndata; "process" is all of it; medians of 5. `umap` is not
parametric: it places by neighbours among the 20,000.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
from data import as_cells, fashion
from parametric import FIRST_NEW

import vicinal as vc
from vicinal.kernels.processors import available_threads
from vicinal.models.inference import place

MAPS: dict[str, dict[str, Any]] = {
    "mlp": {"method": "parametric_umap", "n_training_epochs": 1},
    "residual": {"method": "parametric_umap", "n_training_epochs": 1, "encoder": "residual"},
    "umap": {"method": "umap", "min_dist": 0.1, "n_epochs": 1},
}
KEY, N_PROCESSES = "map", 5
FIRST_CALL = """
import sys, time
import anndata as ad, numpy as np
rows = np.load(sys.argv[1])
adata = ad.AnnData(np.zeros((len(rows), 1), dtype=np.float32), obsm={"X_pca": rows})
start = time.perf_counter()
import vicinal as vc
vc.tl.project(adata, sys.argv[2], key_added="map")
print(time.perf_counter() - start, "torch" in sys.modules)
"""


def warm_seconds(call: Callable[[], object], repeats: int) -> float:
    call()
    taken = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def calls(mapped: ad.AnnData, model_file: str, rows: np.ndarray, n_jobs: int) -> dict[str, Callable[[], object]]:
    model, cells = vc.models.load(model_file), as_cells(rows)
    given = {"key_added": KEY, "n_jobs": n_jobs}
    return {
        "array": lambda: place(model, rows, n_jobs=n_jobs),
        "project, model": lambda: vc.tl.project(cells, model, **given),
        "project, file": lambda: vc.tl.project(cells, model_file, **given),
        "project, AnnData": lambda: vc.tl.project(cells, mapped, key=KEY, **given),
    }


def first_call(model_file: str, rows_file: str) -> tuple[float, float, bool]:
    """Return seconds of the call and of the process, and whether torch was imported."""
    taken = []
    for _ in range(N_PROCESSES):
        start = time.perf_counter()
        command = [sys.executable, "-c", FIRST_CALL, rows_file, model_file]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        seconds, has_torch = done.stdout.split()
        taken.append((float(seconds), time.perf_counter() - start))
    call, process = map(statistics.median, zip(*taken, strict=True))
    return call, process, has_torch == "True"


def measure(name: str, rows: np.ndarray, new: np.ndarray, folder: Path, repeats: int) -> None:
    mapped, model_file, rows_file = as_cells(rows), str(folder / f"{name}.vicinal"), str(folder / "new.npy")
    vc.tl.embed(mapped, key_added=KEY, **MAPS[name])
    vc.models.save(mapped, model_file, key=KEY)
    threads = sorted({1, available_threads()})
    for placed in (new, new[:1]):
        for n_jobs in threads:
            for how, call in calls(mapped, model_file, placed, n_jobs).items():
                report(name, len(placed), how, str(n_jobs), warm_seconds(call, repeats))
        np.save(rows_file, placed)
        call_seconds, process, has_torch = first_call(model_file, rows_file)
        how = f"first call, {'torch' if has_torch else 'torch not'} imported"
        report(name, len(placed), how, str(threads[-1]), call_seconds)
        report(name, len(placed), "its process", str(threads[-1]), process)


def report(name: str, n_rows: int, how: str, n_jobs: str, seconds: float) -> None:
    print(f"| {name} | {n_rows:,} | {how} | {n_jobs} | {1000 * seconds:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, metavar="N")
    parser.add_argument("--new", type=int, default=10_000, metavar="M")
    parser.add_argument("--maps", nargs="+", choices=MAPS, default=["mlp"], metavar="NAME", help=", ".join(MAPS))
    parser.add_argument("--repeats", type=int, default=20, metavar="N")
    given = parser.parse_args()
    rows = fashion()
    train, new = rows[: min(given.rows, FIRST_NEW)], rows[FIRST_NEW : FIRST_NEW + given.new]
    print(f"{len(train):,} x {train.shape[1]}\n\n| map | rows | | threads | ms |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name in given.maps:
            measure(name, train, new, Path(folder), given.repeats)


if __name__ == "__main__":
    main()
