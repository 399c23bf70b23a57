"""From representation to map in a new process, imports counted: ours and the peers', in turn.

python benchmarks/whole.py [n_rounds] [--method umap|tsne] [--cells N] [--init NAME] [--peers NAME ...]

Fashion-MNIST, 70,000 x 50. UMAP: 15 neighbours, min_dist 0.1, everything else as each has it by default, but for
manifolds-rs: ann="nndescent", n_epochs=200. t-SNE: as each has it by default, but for manifolds-rs: approx="fft",
"fft_3k", or its default "barnes_hut". Seconds are of the whole process, from starting Python to the map on disk; before
them, each maps 12,000 rows once, so that what can be cached on disk is. Ours scores its map as well, as it does by
default. The peers run with the Python that VICINAL_PEERS names. Scores are of 5,000 cells, means of all rounds.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from data import fashion, fashion_labels
from optimizer import COLUMNS, quality

from vicinal._warmup import warmup
from vicinal.kernels.processors import available_threads

OURS = """
import sys
import anndata as ad, numpy as np
import vicinal as vc
rows = np.load(sys.argv[1])
adata = ad.AnnData(np.zeros((len(rows), 1), dtype=np.float32), obsm={"X_pca": rows})
method, init = sys.argv[3:]
vc.tl.embed(adata, method, init=init, **({"min_dist": 0.1} if method == "umap" else {}))
np.save(sys.argv[2], adata.obsm[f"X_{method}"])
"""
PEERS = {
    "umap": ("umap-learn", "manifolds-rs"),
    "tsne": ("manifolds-rs", "manifolds-rs, fft_3k", "manifolds-rs, barnes_hut"),
}
SCRIPT = Path(__file__).with_name("peers") / "run_whole.py"
N_WARM = 12_000


class Took(NamedTuple):
    """Seconds of a process."""

    wall: float
    cpu: float


def run(command: list[str]) -> Took:
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:3])} failed: {done.stderr[-2000:]}")
    return Took(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def command(name: str, method: str, rows_file: str, out_file: str, init: str) -> list[str]:
    if name in PEERS[method]:
        return [os.environ["VICINAL_PEERS"], str(SCRIPT), name, method, rows_file, out_file]
    return [sys.executable, "-c", OURS, rows_file, out_file, method, init]


def main(n_rounds: int, method: str, cells: int, init: str, peers: list[str]) -> None:
    rows, labels = fashion(cells), fashion_labels(cells)
    names = ["vicinal", *peers]
    took: dict[str, list[Took]] = {name: [] for name in names}
    kept: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as folder:
        few, all_rows, out = (f"{folder}/{file}.npy" for file in ("few", "rows", "map"))
        np.save(few, rows[:N_WARM])
        np.save(all_rows, rows)
        warmup()
        for name in names:
            run(command(name, method, few, out, init))
        shape = f"{len(rows):,} x {rows.shape[1]}"
        print(f"{method}, {shape}, {available_threads()} threads, {n_rounds} rounds", flush=True)
        for _ in range(n_rounds):
            for name in names:
                took[name].append(run(command(name, method, all_rows, out, init)))
                kept[name].append(quality(rows, np.load(out), labels, available_threads()))
                print(f"  {name}: {took[name][-1].wall:.2f} s", flush=True)
    for name in names:
        report(name, took, kept[name])


def report(name: str, took: dict[str, list[Took]], kept: list[dict[str, float]]) -> None:
    wall, cpu = map(statistics.median, zip(*took[name], strict=True))
    ratio = statistics.median(a.wall / b.wall for a, b in zip(took[name], took["vicinal"], strict=True))
    scores = ", ".join(f"{column} {np.mean([scores[column] for scores in kept]):.4f}" for column in COLUMNS)
    print(f"{name:<20} {wall:7.2f} s, {ratio:5.1f} x ours, CPU {cpu:7.2f} s; {scores}")


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("n_rounds", nargs="?", type=int, default=3)
    parser.add_argument("--method", choices=PEERS, default="umap")
    parser.add_argument("--cells", type=int, default=70_000)
    parser.add_argument("--init", default="auto", help="our first layout")
    parser.add_argument("--peers", nargs="*", metavar="NAME")
    found = parser.parse_args()
    can = PEERS[found.method]
    found.peers = [*can] if found.peers is None else found.peers
    if not set(found.peers) <= set(can):
        parser.error(f"--peers of {found.method}: {', '.join(can)}")
    if found.peers and "VICINAL_PEERS" not in os.environ:
        parser.error("VICINAL_PEERS must name the Python of the peers' environment (make peers); or give --peers alone")
    return found


if __name__ == "__main__":
    main(**vars(arguments()))
