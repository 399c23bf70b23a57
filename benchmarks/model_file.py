"""Size of the model file of 70,000 cells, and how long it takes to load.

python benchmarks/model_file.py [--rows N] [--random]

A map of Fashion-MNIST, 70,000 x 50, or of normal rows of that shape where the data is missing or --random is given;
mapped for one epoch, since neither size nor time depends on where cells are. Loading checks every part of the file. In
this process: median of 20 calls. In new processes: medians of 7, of the first call, and of importing and calling;
neither counts starting Python. The file was just written, so reading it is from the system's memory.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from data import FOLDER, as_cells, fashion
from project import warm_seconds

import vicinal as vc

N_CALLS, N_PROCESSES, N_COLUMNS = 20, 7, 50
FIRST_CALL = """
import sys, time
start = time.perf_counter()
import vicinal as vc
imported = time.perf_counter()
vc.models.load(sys.argv[1])
print(time.perf_counter() - imported, time.perf_counter() - start)
"""


def rows_of(given: argparse.Namespace) -> tuple[str, np.ndarray]:
    """Return what the rows are, and the rows."""
    if given.random or not (FOLDER / "fashion_mnist_pca50.npz").exists():
        return "random", np.random.default_rng(0).normal(size=(given.rows, N_COLUMNS)).astype(np.float32)
    return "Fashion-MNIST", fashion(given.rows)


def in_new_processes(path: Path) -> tuple[float, float]:
    """Return seconds of the first call, and of the import with it."""
    command = [sys.executable, "-c", FIRST_CALL, str(path)]
    said = [subprocess.run(command, capture_output=True, text=True, check=True).stdout for _ in range(N_PROCESSES)]
    call, both = zip(*(map(float, line.split()) for line in said), strict=True)
    return statistics.median(call), statistics.median(both)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=70_000, metavar="N")
    parser.add_argument("--random", action="store_true")
    name, rows = rows_of(parser.parse_args())
    cells = as_cells(rows)
    vc.tl.embed(cells, n_epochs=1, init="pca")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.vicinal"
        vc.models.save(cells, path)
        here = warm_seconds(lambda: vc.models.load(path), N_CALLS)
        call, both = in_new_processes(path)
        print("| cells | MB | load ms | in a new process | importing vicinal too |\n|---|---|---|---|---|")
        print(f"| {name}, {len(rows):,} x {rows.shape[1]} | {path.stat().st_size / 1e6:.2f} |", end="")
        print(f" {1000 * here:.1f} | {1000 * call:.1f} | {1000 * both:.1f} |")


if __name__ == "__main__":
    main()
