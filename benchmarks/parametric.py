"""Parametric maps: ours and umap-learn's ParametricUMAP, one process a map, in turn.

python benchmarks/parametric.py [n_seeds] [--rows N] [--new M] [--cells fashion|cytometry]
                                [--ours NAME ...] [--with JSON ...] [--peers NAME ...]

Fashion-MNIST, the first 20,000 rows of 50 principal components; new are the 10,000 from row 60,000 on. Of cytometry
cells both are drawn at random. 15 neighbours, min_dist 0.1, everything else as each has it by default. Ours goes from
the representation to the map, neighbours and scores included, then places the new rows. --ours names sets of
arguments, each --with is one more, as JSON. The peers run with the Python that VICINAL_TF names (make peers-tf);
--peers alone leaves them out.

"fit" and "place" are seconds in the process without importing or reading; "process" and CPU are those of the whole
process. Before, each maps some rows, so that compiled code is in its cache on disk. MiB are what the process held at
most (VmHWM: ru_maxrss would count what its parent held when it forked). Seconds and MiB are medians over seeds,
"times ours" their ratio to those of the first row. Scores are means, of 5,000 cells; those of new cells are among the
new alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from data import cytometry, fashion, fashion_labels
from optimizer import COLUMNS, Failed, quality
from peers.peak import MIB

from vicinal._warmup import warmup
from vicinal.kernels.processors import available_threads

FOLDER = Path(__file__).parent
SCRIPT = FOLDER / "run_parametric.py"
OURS: dict[str, dict[str, Any]] = {
    "default": {},
    "umap_learn": {"objective": "umap_learn"},
    "residual": {"encoder": "residual"},
    "warm_start_alone": {"n_training_epochs": 0},
    "short": {"n_training_epochs": 2},
    "long": {"n_training_epochs": 30},
    "adam": {"torch_optimizer": "Adam"},
    "cold": {"warm_start_steps": 0},
    "batch_512": {"batch_size": 512},
    "batch_4096": {"batch_size": 4096},
    "uniform": {"negatives": "uniform"},
    "free": {"parametric": False},
    "umap": {"method": "umap", "min_dist": 0.1},
}
PEERS = {"umap-learn": FOLDER / "peers" / "parametric_umap_learn.py"}
FIRST_NEW = 60_000  # Fashion-MNIST's own test images
N_WARM, FEW_EPOCHS = 12_000, 10
SAID = ("SECONDS", "MEMORY", "STAGES")


class Cells(NamedTuple):
    """Rows to make a map of, and new ones."""

    rows: np.ndarray
    new: np.ndarray
    labels: np.ndarray | None = None
    new_labels: np.ndarray | None = None


class Took(NamedTuple):
    """Seconds and bytes of a process."""

    fit: float
    place: float
    process: float
    cpu: float
    held: float
    most: float
    stages: dict[str, float]


class Run(NamedTuple):
    """What a map took, and what it keeps of old and new cells."""

    took: Took
    train: dict[str, float]
    new: dict[str, float]


def fashion_cells(n_rows: int | None, n_new: int) -> Cells:
    rows, labels = fashion(), fashion_labels()
    train, new = slice(min(n_rows or FIRST_NEW, FIRST_NEW)), slice(FIRST_NEW, FIRST_NEW + n_new)
    return Cells(rows[train], rows[new], labels[train], labels[new])


def cytometry_cells(n_rows: int | None, n_new: int) -> Cells:
    rows = cytometry()
    order = np.random.default_rng(0).permutation(len(rows))
    new, train = np.split(order, [n_new])
    return Cells(rows[np.sort(train[:n_rows])], rows[np.sort(new)])


CELLS = {"fashion": fashion_cells, "cytometry": cytometry_cells}


def command(name: str, sets: dict[str, dict[str, Any]], *, few: bool = False) -> list[str]:
    """Return how a program is started, with its last arguments apart."""
    if name in PEERS:
        return [os.environ["VICINAL_TF"], str(PEERS[name]), *([str(FEW_EPOCHS)] if few else [])]
    arguments = sets[name] | ({"n_training_epochs": 1} if few and "method" not in sets[name] else {})
    return [sys.executable, str(SCRIPT), json.dumps(arguments)]


def in_new_process(program: list[str], given: Path, out: Path, seed: int) -> Took:
    python, script, *last = program
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    try:
        done = subprocess.run([python, script, given, out, str(seed), *last], capture_output=True, text=True)
    except OSError as error:
        raise Failed(str(error)) from error
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    said = dict(line.split(maxsplit=1) for line in done.stdout.splitlines() if line.startswith(SAID))
    if done.returncode or not said:
        raise Failed((done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1])
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    (fit, place), (held, most) = (map(float, said[part].split()) for part in ("SECONDS", "MEMORY"))
    return Took(fit, place, wall, cpu, held, most, json.loads(said.get("STAGES", "{}")))


def save(cells: Cells, path: Path, n_rows: int | None = None) -> Path:
    np.savez(path, rows=cells.rows[:n_rows], new=cells.new[:n_rows])
    return path


def warm_up(names: list[str], sets: dict[str, dict[str, Any]], cells: Cells, folder: Path) -> None:
    """Let each program compile, and keep, what it can; all of ours use the same. Who fails says so when it is run."""
    warmup()
    few = save(cells, folder / "few.npz", N_WARM)
    for name in [names[0], *(name for name in names if name in PEERS)]:
        with contextlib.suppress(Failed):
            in_new_process(command(name, sets, few=True), few, folder / "out.npz", 0)


def run(program: list[str], cells: Cells, folder: Path, seed: int) -> Run:
    out = folder / "out.npz"
    took = in_new_process(program, folder / "cells.npz", out, seed)
    made, threads = np.load(out), available_threads()
    train = quality(cells.rows, made["train"], cells.labels, threads)
    new = quality(cells.new, made["new"], cells.new_labels, threads) if len(cells.new) else {}
    return Run(took, train, new)


def compare(names: list[str], sets: dict[str, dict[str, Any]], cells: Cells, n_seeds: int) -> dict[str, list[Run]]:
    """Return the runs by name; who fails is named, and left out from then on, but for the first of ours."""
    runs: dict[str, list[Run]] = {name: [] for name in names}
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        warm_up(names, sets, cells, folder)
        save(cells, folder / "cells.npz")
        for seed in range(n_seeds):
            for name in list(runs):
                try:
                    runs[name].append(run(command(name, sets), cells, folder, seed))
                except Failed as error:
                    if name == names[0]:
                        raise SystemExit(f"{name} did not run: {error}") from error
                    print(f"{name} did not run: {error}", flush=True)
                    del runs[name]
                    continue
                print(f"seed {seed}, {name}: {shown(runs[name][-1])}", flush=True)
    return runs


def shown(done: Run) -> str:
    took, kept = done.took, [*values(done.train), *values(done.new)]
    seconds = f"fit {took.fit:.2f} s, place {took.place:.3f} s, process {took.process:.2f} s, CPU {took.cpu:.2f} s"
    return f"{seconds}, {took.most / MIB:.0f} MiB; {' '.join(kept)}"


def values(scores: dict[str, float]) -> list[str]:
    return [f"{scores[column]:.4f}" if column in scores else "" for column in COLUMNS]


def means(scores: list[dict[str, float]]) -> dict[str, float]:
    return {column: float(np.mean([each[column] for each in scores])) for column in scores[0]}


def median(runs: list[Run], field: str) -> float:
    return statistics.median(getattr(each.took, field) for each in runs)


def table(runs: dict[str, list[Run]]) -> None:
    parts = ["fit s", "times ours", "place s", "process s", "times ours", "CPU s", "MiB"]
    columns = ["", *parts, *COLUMNS, *(f"new: {column}" for column in COLUMNS)]
    print(f"\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    own = next(iter(runs.values()))
    for name, each in runs.items():
        fit, process = (median(each, field) for field in ("fit", "process"))
        seconds = [f"{fit:.2f}", f"{fit / median(own, 'fit'):.2f}", f"{median(each, 'place'):.3f}"]
        seconds += [f"{process:.2f}", f"{process / median(own, 'process'):.2f}", f"{median(each, 'cpu'):.2f}"]
        scores = [*values(means([r.train for r in each])), *values(means([r.new for r in each]))]
        most = f"{median(each, 'most') / MIB:.0f}"
        print(f"| {' | '.join([name, *seconds, most, *scores])} |", flush=True)


def main(n_seeds: int, rows: int, new: int, cells: str, names: list[str], sets: dict[str, dict[str, Any]]) -> None:
    chosen = CELLS[cells](rows, new)
    sizes = f"{len(chosen.rows):,} x {chosen.rows.shape[1]}, {len(chosen.new):,} new"
    print(f"{cells}: {sizes}, {available_threads()} threads, {n_seeds} seeds", flush=True)
    table(compare(names, sets, chosen, n_seeds))


def add_programs(parser: argparse.ArgumentParser, peers: list[str]) -> None:
    """Add the arguments that say what is compared."""
    parser.add_argument("--ours", nargs="*", choices=OURS, default=["default"], metavar="NAME", help=", ".join(OURS))
    parser.add_argument("--with", dest="also", nargs="+", default=[], metavar="JSON", help="arguments of embed")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=peers, metavar="NAME", help=", ".join(PEERS))


def programs(given: argparse.Namespace, parser: argparse.ArgumentParser) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Return what is compared, by name, and the arguments of those that are ours."""
    if given.peers and "VICINAL_TF" not in os.environ:
        parser.error("VICINAL_TF must name the Python of their environment (make peers-tf); or give --peers alone")
    names = [*given.ours, *given.also]
    if not names:
        parser.error("--ours or --with must name one of ours: the peers are compared with the first")
    return [*names, *given.peers], OURS | {text: json.loads(text) for text in given.also}


def arguments() -> dict[str, Any]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("n_seeds", nargs="?", type=int, default=3)
    parser.add_argument("--rows", type=int, default=20_000, metavar="N", help="of Fashion-MNIST at most 60,000")
    parser.add_argument("--new", type=int, default=10_000, metavar="M")
    parser.add_argument("--cells", choices=CELLS, default="fashion")
    add_programs(parser, [*PEERS])
    given = parser.parse_args()
    names, sets = programs(given, parser)
    sizes = {name: getattr(given, name) for name in ("n_seeds", "rows", "new", "cells")}
    return {**sizes, "names": names, "sets": sets}


if __name__ == "__main__":
    main(**arguments())
