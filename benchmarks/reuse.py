"""New cells in an existing map: what is kept, how long it takes, and whether a cell's place depends on its batch.

python benchmarks/reuse.py [pbmc3k kang fashion] [--reference N] [--new M] [--split SEED] [--tools TOOL ...]
                           [--seed SEED] [--embed JSON]

Each tool fits a map of the reference (not timed) in a process of its own and places the new cells: in the first call of
the process (cold) and in the second (warm). Tools that can be given a map place into the others' as well. pbmc3k is cut
in halves by chance; of kang the stimulated cells are placed in the map of the controls, whose principal components all
have; fashion has 60,000 and 10,000 images, or as many as are named. Every map of UMAP has min_dist 0.1, 15 neighbours
and Euclidean distances; --embed gives ours other arguments than the default ones of `vc.tl.embed`, such as
'{"n_epochs": 500}', and --seed is the random state of all. Needs umap-learn, openTSNE and scanpy, which the tests need
too; VICINAL_PEERS names a Python that has them, if it is not this one.

recall: the share of a new cell's 15 nearest among its 15 nearest in the map, new cells alone, and among the
reference. labels: of new cells, told by the majority of these. move: see `largest_move` of peers/run_reuse.py.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

import anndata as ad
import numpy as np
from data import FOLDER, fashion, fashion_labels

from vicinal.backends.score.label_accuracy import _majority
from vicinal.kernels.knn import Reference, nearest_rows
from vicinal.kernels.processors import available_threads

SCRIPT = Path(__file__).with_name("peers") / "run_reuse.py"
FIRST_NEW, K = 60_000, 15
OWN, OWN_TSNE = "vicinal", "vicinal_tsne"
TOOLS = ("umap_learn", "opentsne", "ingest", OWN, OWN_TSNE)


class Cells(NamedTuple):
    """Reference and new cells, and their labels where somebody gave them."""

    reference: np.ndarray
    new: np.ndarray
    labels: np.ndarray | None = None
    new_labels: np.ndarray | None = None


def pbmc3k(given: argparse.Namespace) -> Cells:
    cells = ad.read_h5ad(FOLDER / "pbmc3k.h5ad")
    rows = np.asarray(cells.obsm["X_pca"], np.float32)
    labels = cells.obs["louvain"].cat.codes.to_numpy(np.int64)
    order = np.random.default_rng(given.split).permutation(len(rows))
    first, second = np.array_split(order, 2)
    return Cells(rows[first], rows[second], labels[first], labels[second])


def kang(given: argparse.Namespace) -> Cells:
    """Its labels are clusters that were computed: they say nothing here."""
    import scanpy as sc

    cells = ad.read_h5ad(FOLDER / "kang_pbmc_stim_2k.h5ad")
    sc.pp.normalize_total(cells, target_sum=1e4)
    sc.pp.log1p(cells)
    control = (cells.obs["condition"] == "ctrl").to_numpy()
    reference, new = cells[control].copy(), cells[~control]
    sc.pp.highly_variable_genes(reference, n_top_genes=2000)
    varied = reference.var["highly_variable"].to_numpy()
    values, others = reference.X[:, varied].toarray(), new.X[:, varied].toarray()
    mean = values.mean(axis=0)
    axes = np.linalg.svd(values - mean, full_matrices=False)[2][:50].T
    return Cells(*(np.ascontiguousarray((x - mean) @ axes, np.float32) for x in (values, others)))


def images(given: argparse.Namespace) -> Cells:
    rows, labels = fashion(), fashion_labels()
    old, new = slice(given.reference), slice(FIRST_NEW, FIRST_NEW + given.new)
    return Cells(rows[old], rows[new], labels[old], labels[new])


DATA = {"pbmc3k": pbmc3k, "kang": kang, "fashion": images}


def run(tool: str, cells: Path, folder: Path, maps: list[Path]) -> dict[str, np.ndarray] | str:
    """Return what a tool did, or the last thing it said before it failed."""
    python = sys.executable if tool in (OWN, OWN_TSNE) else os.environ.get("VICINAL_PEERS", sys.executable)
    out = folder / f"{tool}.npz"
    command = [python, SCRIPT, tool, cells, out, *maps]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if done.returncode:
        return (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    return dict(np.load(out))


class Judge:
    """Scores places of the new cells of one data set."""

    def __init__(self, cells: Cells) -> None:
        self.cells, n = cells, len(cells.new)
        self.among_new = nearest(cells.new, cells.new, own=np.arange(n))
        self.in_reference = nearest(cells.reference, cells.new)

    def scores(self, layout: np.ndarray, places: np.ndarray) -> list[float]:
        among_new = nearest(places, places, own=np.arange(len(places)))
        in_reference = nearest(layout, places)
        found = [shared(among_new, self.among_new), shared(in_reference, self.in_reference)]
        if self.cells.new_labels is not None and self.cells.labels is not None:
            truth = self.cells.new_labels
            found.append(float((_majority(truth[among_new]) == truth).mean()))
            found.append(float((_majority(self.cells.labels[in_reference]) == truth).mean()))
        return found


def nearest(rows: np.ndarray, queries: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
    packed = Reference.pack(rows.astype(np.float32), "euclidean")
    return nearest_rows(packed, queries.astype(np.float32), K, own=own, n_jobs=available_threads())[0]


def shared(one: np.ndarray, other: np.ndarray) -> float:
    both = np.sort(np.hstack([one, other]), axis=1)
    return float((both[:, 1:] == both[:, :-1]).sum() / one.size)


def line(whose: str, by: str, cold: str, warm: float, scores: list[float], move: str) -> None:
    shown = [f"{score:.4f}" for score in scores] + [""] * (4 - len(scores))
    print(f"| {whose} | {by} | {cold} | {warm:.2f} | {' | '.join(shown)} | {move} |", flush=True)


def compare(name: str, cells: Cells, asked: argparse.Namespace) -> None:
    print(f"\n{name}: {len(cells.reference):,} and {len(cells.new):,} x {cells.new.shape[1]}\n")
    print(
        "| map of | placed by | cold s | warm s | recall, new | recall, reference | labels, new | labels, reference |",
        end="",
    )
    print(" move |\n|---|---|---|---|---|---|---|---|---|", flush=True)
    judge = Judge(cells)
    with tempfile.TemporaryDirectory() as folder:
        given = Path(folder) / "cells.npz"
        options = {"seed": asked.seed, "embed": json.dumps(asked.embed)}
        np.savez(given, reference=cells.reference, new=cells.new, **options)
        done: dict[str, dict[str, np.ndarray]] = {}
        for tool in asked.tools:
            maps = [Path(folder) / f"{other}.npz" for other in done if tool != OWN_TSNE]
            found = run(tool, given, Path(folder), maps)
            if isinstance(found, str):
                print(f"| {tool} | {tool} | did not run: {found} |||||||", flush=True)
                continue
            report(judge, tool, found, done)
            done[tool] = found
        if OWN in done and "umap_learn" in done:
            found = run("umap_learn", given, Path(folder), [Path(folder) / f"{OWN}.npz"])
            assert not isinstance(found, str)
            line(
                OWN, "umap_learn", "", float(found["warm_1"]), judge.scores(done[OWN]["layout"], found["places_1"]), ""
            )


def report(judge: Judge, tool: str, found: dict[str, np.ndarray], done: dict[str, dict[str, np.ndarray]]) -> None:
    own = judge.scores(found["layout"], found["places"])
    line(tool, tool, f"{float(found['cold']):.2f}", float(found["warm"]), own, f"{float(found['move']):.4f}")
    if "places_also" in found:
        scores = judge.scores(found["layout"], found["places_also"])
        line(tool, f"{tool}, median", "", float(found["warm_also"]), scores, "")
    for i, (other, theirs) in enumerate(done.items(), 1):
        if f"places_{i}" in found:
            scores = judge.scores(theirs["layout"], found[f"places_{i}"])
            line(other, tool, "", float(found[f"warm_{i}"]), scores, "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", default=[*DATA], metavar="DATA", help=", ".join(DATA))
    parser.add_argument("--reference", type=int, default=FIRST_NEW, metavar="N")
    parser.add_argument("--new", type=int, default=10_000, metavar="M")
    parser.add_argument("--split", type=int, default=0, metavar="SEED", help="which halves of pbmc3k")
    parser.add_argument("--tools", nargs="+", choices=TOOLS, default=[*TOOLS], metavar="TOOL", help=", ".join(TOOLS))
    parser.add_argument("--seed", type=int, default=0, help="random state of the maps")
    parser.add_argument("--embed", type=json.loads, default={}, metavar="JSON", help="arguments of vc.tl.embed")
    given = parser.parse_args()
    if unknown := set(given.data) - set(DATA):
        parser.error(f"no data set {', '.join(sorted(unknown))}; there are {', '.join(DATA)}")
    for name in given.data:
        compare(name, DATA[name](given), given)


if __name__ == "__main__":
    main()
