"""Nearest neighbours, ours and the peers': seconds, CPU seconds and recall.

python benchmarks/neighbors.py [fashion|cytometry|words] [n_threads ...] [--only NAME ...]
python benchmarks/neighbors.py binary|wide

The latter: jaccard neighbours of binary rows by `exact` and pynndescent, and Euclidean ones of thousands of columns by
`exact` and `ivf`; wall and CPU seconds of the second call in a process.

15 neighbours, the cell itself counted. Recall is of the other 14, on 2,000 sampled rows against comparing all pairs by
direct differences. Each runs in a process of its own, in which kernels have been used before unless it says cold; the
peers run with the Python that VICINAL_PEERS names, and those not installed there are left out.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from data import cytometry, fashion, words
from peers.peak import MIB, most, watch

from vicinal.api import KnnRequest
from vicinal.kernels.knn import Reference, nearest_rows
from vicinal.kernels.processors import available_threads
from vicinal.plugin.manager import get_manager

DATA = {"fashion": fashion, "cytometry": cytometry, "words": words}
OURS = {"vicinal exact": ("exact", {}), "vicinal ivf": ("ivf", {})} | {
    f"vicinal ivf, n_probe {n}": ("ivf", {"n_probe": n}) for n in (8, 16, 64)
}
PEERS = ("pynndescent cold", "pynndescent", "manifolds-rs kmknn", "manifolds-rs nndescent", "faiss flat", "faiss ivf")
SCRIPT = Path(__file__).with_name("peers") / "run_neighbors.py"
K, N_SAMPLE, N_WARM = 14, 2000, 12_000


def find(rows: np.ndarray, backend: str, params: dict[str, int], n_jobs: int) -> np.ndarray:
    entry = get_manager().resolve("knn", backend)
    made = get_manager().load(entry)(entry.spec.params(**params))
    request = KnnRequest(representation=rows, k=K, n_obs=len(rows), n_jobs=n_jobs)
    return made.build(request).neighbors().indices


def run_ours(rows_file: str, out_file: str, name: str, n_jobs: int) -> None:
    rows = np.load(rows_file)
    find(rows[:N_WARM], *OURS[name], n_jobs)
    held = watch()
    start = time.perf_counter(), time.process_time()
    found = find(rows, *OURS[name], n_jobs)
    seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    added = most() - held
    np.save(out_file, found)
    print("RESULT", *seconds, added // MIB)


def run(name: str, rows_file: str, out_file: str, n_jobs: int) -> list[float] | None:
    python = [sys.executable, __file__, "--run"]
    if name in PEERS:
        python = [os.environ.get("VICINAL_PEERS", ""), str(SCRIPT)]
    if not python[0]:
        return None
    command = [*python, rows_file, out_file, name, str(n_jobs)]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "OMP_NUM_THREADS": str(n_jobs)})
    lines = [line.split() for line in done.stdout.splitlines() if line.startswith("RESULT")]
    if not lines:
        last = done.stderr.strip().splitlines()
        print(f"| {name} | {n_jobs} | {last[-1] if last else 'nothing said'} |")
        return None
    return [float(number) for number in lines[0][1:]]


def recall(found: np.ndarray, true: np.ndarray) -> float:
    return float((found[:, :, None] == true[:, None, :]).any(axis=1).mean())


def compare(data: str, threads: list[int], names: list[str]) -> None:
    rows = DATA[data]()
    sample = np.sort(np.random.default_rng(0).choice(len(rows), N_SAMPLE, replace=False))
    true, _ = nearest_rows(Reference.pack(rows, "euclidean"), rows[sample], K, own=sample, n_jobs=available_threads())
    print(f"{data}, {len(rows):,} x {rows.shape[1]}\n")
    print("| | threads | seconds | CPU seconds | MiB added | recall |\n|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        rows_file, out_file = os.path.join(folder, "rows.npy"), os.path.join(folder, "found.npy")
        np.save(rows_file, rows)
        del rows
        for n_jobs in threads:
            for name in names:
                seconds = run(name, rows_file, out_file, n_jobs)
                if seconds:
                    reached = recall(np.load(out_file)[sample], true)
                    wall, cpu, mib = seconds
                    print(f"| {name} | {n_jobs} | {wall:.2f} | {cpu:.2f} | {mib:.0f} | {reached:.4f} |", flush=True)


BINARY = ((1_000, 8_000, 0.02), (4_000, 2_000, 0.2), (16_000, 2_000, 0.02), (16_000, 2_000, 0.2))
WIDE = ((16_000, 2_000), (5_000, 20_000))


def timed(rows: np.ndarray, backend: str, metric: str) -> tuple[float, float]:
    entry = get_manager().resolve("knn", backend)
    made = get_manager().load(entry)(entry.spec.params())
    request = KnnRequest(representation=rows, k=K, n_obs=len(rows), metric=metric, n_jobs=available_threads())
    start = time.perf_counter(), time.process_time()
    made.build(request).neighbors()
    return time.perf_counter() - start[0], time.process_time() - start[1]


def compare_binary() -> None:
    for n_rows, n_columns, there in BINARY:
        rows = (np.random.default_rng(0).random((n_rows, n_columns), dtype=np.float32) < there).astype(np.float32)
        for backend in ("exact", "pynndescent"):
            timed(rows[:500], backend, "jaccard")
            wall, cpu = timed(rows, backend, "jaccard")
            print(f"| {n_rows:,} x {n_columns:,} | {there} | {backend} | {wall:.2f} | {cpu:.2f} |", flush=True)


def compare_wide() -> None:
    rng = np.random.default_rng(0)
    for n_rows, n_columns in WIDE:
        centers = rng.standard_normal((20, n_columns))[rng.integers(0, 20, n_rows)]
        rows = (0.5 * centers + rng.standard_normal((n_rows, n_columns))).astype(np.float32)
        for backend in ("exact", "ivf"):
            timed(rows[:1500], backend, "euclidean")
            wall, cpu = timed(rows, backend, "euclidean")
            print(f"| {n_rows:,} x {n_columns:,} | {backend} | {wall:.2f} | {cpu:.2f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="?", choices=DATA, default="fashion")
    parser.add_argument("threads", nargs="*", type=int, default=[1, available_threads()])
    parser.add_argument("--only", nargs="+", choices=[*OURS, *PEERS], default=[*OURS, *PEERS])
    given = parser.parse_args()
    compare(given.data, given.threads, given.only)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--run"]:
        run_ours(*sys.argv[2:5], int(sys.argv[5]))
    elif sys.argv[1:] == ["binary"]:
        compare_binary()
    elif sys.argv[1:] == ["wide"]:
        compare_wide()
    else:
        main()
