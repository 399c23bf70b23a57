"""Maps of cytometry cells from one first layout or another: seconds by stage, memory and what the map keeps.

python benchmarks/first_layouts.py [N ...] [--only NAME ...] [--pictures FOLDER]
python benchmarks/first_layouts.py whole [N ...]

Each map is made in a new process, from neighbours that are found once a size; "alone" is the first layout without
refinement, for which no neighbours are needed. `whole` goes from the representation to the refined map with
init="sample_place": its seconds and memory are those of the process, imports and reading counted. Kernels are in
numba's cache on disk before. Scores are of 5,000 cells, and of 20,000 pairs for the global correlation.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
from data import as_cells, cytometry, cytometry_labels
from optimizer import quality
from peers.peak import MIB, most, watch

import vicinal as vc
from vicinal._warmup import warmup
from vicinal.kernels.processors import available_threads

SIZES = (70_000, 200_000, 500_000, 929_685)
SEED, N_WARM = 0, 1000
ALONE = "sample_place alone"
FIRST_LAYOUTS: dict[str, dict[str, Any]] = {
    "spectral": {"init": "spectral"},
    "pca": {"init": "pca"},
    "random": {"init": "random"},
    "sample_place": {"init": "sample_place"},
    ALONE: {"init": "sample_place", "n_epochs": 0},
}
STAGES = ("knn", "graph", "init", "optimizer", "loss", "score")
SCORES = ("knn_recall_15", "trustworthiness", "global_correlation")


def subset(n: int) -> np.ndarray:
    """Return the indices of ``n`` cells, drawn at random from all."""
    total = len(cytometry_labels())
    return np.sort(np.random.default_rng(SEED).choice(total, n, replace=False))


def refine(rows_file: str, cells_file: str, out_file: str, name: str) -> None:
    """Make one map from stored neighbours, in this process."""
    vc.tl.embed(as_cells(cytometry(N_WARM)), **{"n_epochs": 5, **FIRST_LAYOUTS[name]})
    adata = as_cells(np.load(rows_file)) if name == ALONE else ad.read_h5ad(cells_file)
    held, start = watch(), (time.perf_counter(), time.process_time())
    vc.tl.embed(adata, **FIRST_LAYOUTS[name])
    seconds = {"wall": time.perf_counter() - start[0], "cpu": time.process_time() - start[1]}
    _hand_over(adata, out_file, {**seconds, "most": most(), "added": most() - held})


def map_whole(rows_file: str, out_file: str) -> None:
    """Make the map of some rows, in this process."""
    adata = as_cells(np.load(rows_file))
    vc.tl.embed(adata, init="sample_place")
    _hand_over(adata, out_file, {"most": most()})


def _hand_over(adata: ad.AnnData, out_file: str, measured: dict[str, float]) -> None:
    np.save(out_file, adata.obsm["X_umap"])
    print("RESULT", json.dumps({**adata.uns["umap"]["timings"], **measured}))


def in_new_process(*arguments: object) -> dict[str, float]:
    done = subprocess.run([sys.executable, __file__, *map(str, arguments)], capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith("RESULT")]
    if not lines:
        raise SystemExit(done.stderr)
    return json.loads(lines[0].removeprefix("RESULT"))


def compare(n: int, names: list[str], folder: Path, pictures: Path | None) -> None:
    chosen = subset(n)
    adata = as_cells(cytometry()[chosen])
    rows, rows_file, cells_file = adata.obsm["X_pca"], folder / "rows.npy", folder / "cells.h5ad"
    start = time.perf_counter()
    vc.pp.neighbors(adata, knn="ivf")
    report(n, "neighbours (ivf) of all below", {"wall": time.perf_counter() - start}, {})
    np.save(rows_file, rows)
    adata.write_h5ad(cells_file)
    for name in names:
        found = in_new_process("--refine", rows_file, cells_file, folder / "map.npy", name)
        adata.obsm[name] = np.load(folder / "map.npy")
        kept = quality(rows, adata.obsm[name], None, available_threads())
        report(n, name, found, kept)
    if pictures:
        gates = cytometry_labels()[chosen].astype(float)
        adata.obs["gate"] = np.where(gates > 0, gates, np.nan)
        adata.obs["gate"] = adata.obs["gate"].astype("Int64").astype("category")
        draw(adata, names, pictures / f"first_layouts_{n}.png")


def compare_whole(n: int, folder: Path) -> None:
    rows = np.ascontiguousarray(cytometry()[subset(n)])
    np.save(folder / "rows.npy", rows)
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    found = in_new_process("--map", folder / "rows.npy", folder / "map.npy")
    found["wall"], after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    found["cpu"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    report(n, "sample_place, whole", found, quality(rows, np.load(folder / "map.npy"), None, available_threads()))


def head() -> None:
    columns = ["cells", "first layout", *STAGES, "wall s", "CPU s", "MiB at most", "MiB added", *SCORES]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)


def report(n: int, name: str, found: dict[str, float], kept: dict[str, float]) -> None:
    seconds = [f"{found[stage]:.2f}" if stage in found else "" for stage in (*STAGES, "wall", "cpu")]
    memory = [f"{found[part] / MIB:.0f}" if part in found else "" for part in ("most", "added")]
    scores = [f"{kept[score]:.4f}" if score in kept else "" for score in SCORES]
    print(f"| {n:,} | {' | '.join([name, *seconds, *memory, *scores])} |", flush=True)


def draw(adata: ad.AnnData, names: list[str], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(names), figsize=(5 * len(names), 5), squeeze=False)
    for ax, name in zip(axes[0], names, strict=True):
        legend = "right margin" if name == names[-1] else "none"
        vc.pl.embedding(adata, name, color="gate", title=name, legend_loc=legend, ax=ax, show=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", metavar="N", default=[*map(str, SIZES)])
    parser.add_argument("--only", nargs="+", choices=FIRST_LAYOUTS, default=[*FIRST_LAYOUTS], metavar="NAME")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER")
    given = parser.parse_args()
    whole = given.sizes[:1] == ["whole"]
    sizes = list(map(int, given.sizes[whole:])) or SIZES
    warmup()
    print(f"cytometry, 8 columns, {available_threads()} threads\n")
    head()
    with tempfile.TemporaryDirectory() as folder:
        for n in sizes:
            if whole:
                compare_whole(n, Path(folder))
            else:
                compare(n, given.only, Path(folder), given.pictures)


if __name__ == "__main__":
    inner = {"--refine": refine, "--map": map_whole}.get(sys.argv[1] if sys.argv[1:] else "")
    if inner:
        inner(*sys.argv[2:])
    else:
        main()
