"""Large parametric maps: seconds by stage, memory, and what is kept of old and new cells; each in a new process.

python benchmarks/parametric_large.py [fashion|cytometry ...] [--cells N] [--new M] [--ours NAME ...] [--with JSON ...]
                                      [--peers NAME ...]

Fashion-MNIST, 60,000 x 50, new are the 10,000 rows after them; and 929,685 cytometry cells x 8, less the 10,000 drawn
to be new (--new 0 maps all). --cells takes fewer. One seed. Peers are left out unless named; they have no stages. What
seconds, MiB and the other arguments are, `parametric.py` says; "before" is what the process held when it began to map.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

from optimizer import COLUMNS, Failed
from parametric import CELLS, Cells, Run, add_programs, command, programs, run, save, values, warm_up
from peers.peak import MIB

from vicinal.kernels.processors import available_threads

STAGES = ("knn", "graph", "init", "optimizer", "score")
SEED = 0


def head() -> None:
    seconds = [f"{part} s" for part in (*STAGES, "fit", "place", "process", "CPU")]
    columns = ["cells", "", *seconds, "MiB before", "MiB at most", *COLUMNS, *(f"new: {column}" for column in COLUMNS)]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)


def report(label: str, name: str, done: Run) -> None:
    took = done.took
    stages = [f"{took.stages[stage]:.2f}" if stage in took.stages else "" for stage in STAGES]
    seconds = [f"{took.fit:.2f}", f"{took.place:.3f}", f"{took.process:.2f}", f"{took.cpu:.2f}"]
    memory = [f"{took.held / MIB:.0f}", f"{took.most / MIB:.0f}"]
    print(f"| {' | '.join([label, name, *stages, *seconds, *memory, *values(done.train), *values(done.new)])} |")


def measure(label: str, cells: Cells, names: list[str], sets: dict[str, dict[str, Any]], folder: Path) -> None:
    warm_up(names, sets, cells, folder)
    save(cells, folder / "cells.npz")
    for name in names:
        try:
            report(label, name, run(command(name, sets), cells, folder, SEED))
        except Failed as error:
            print(f"{label}: {name} did not run: {error}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="*", metavar="fashion|cytometry", default=[*CELLS])
    parser.add_argument("--cells", type=int, metavar="N")
    parser.add_argument("--new", type=int, default=10_000, metavar="M")
    add_programs(parser, [])
    given = parser.parse_args()
    names, sets = programs(given, parser)
    if unknown := set(given.data) - set(CELLS):
        parser.error(f"{', '.join(unknown)}: no such cells; give one of {', '.join(CELLS)}")
    print(f"{available_threads()} threads\n")
    head()
    for data in given.data:
        cells = CELLS[data](given.cells, given.new)
        label = f"{data}, {len(cells.rows):,} x {cells.rows.shape[1]}, {len(cells.new):,} new"
        with tempfile.TemporaryDirectory() as folder:
            measure(label, cells, names, sets, Path(folder))


if __name__ == "__main__":
    main()
