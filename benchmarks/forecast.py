"""What `vc.tl.plan` forecasts beside what `vc.tl.embed` takes, each map in a process of its own.

Run `vicinal warmup` before. Memory is the most a process holds beyond what it held with the cells read and planned for.
Seconds are those of `embed`, loading compiled code included; on a machine with other work its processor seconds, beside
the forecast for one thread, tell more. The formulas and their constants
are the table `COSTS` of `src/vicinal/pipeline/forecast.py`. `python benchmarks/forecast.py` runs all, `python
benchmarks/forecast.py fashion 70000 '{"n_neighbors": 50}'` one.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import numpy as np
from data import as_cells, cytometry, fashion
from peers.peak import MIB, most, watch

import vicinal as vc

MAPS = (
    ("fashion", 20_000, {}),
    ("fashion", 70_000, {}),
    ("groups", 200_000, {}),
    ("fashion", 70_000, {"n_neighbors": 50, "metric": "cosine"}),
    ("cytometry", 300_000, {"init": "spectral"}),
    ("cytometry", 300_000, {"init": "sample_place", "n_epochs": 0}),
    ("cytometry", 929_685, {"knn": "ivf", "init": "pca"}),
)


def groups(n: int) -> np.ndarray:
    """Thirty groups of cells in 50 dimensions, generated."""
    draw = np.random.default_rng(0)
    values = draw.normal(size=(n, 50)).astype(np.float32)
    values += draw.normal(scale=3, size=(30, 50)).astype(np.float32)[draw.integers(30, size=n)]
    return values


def measure(name: str, n: int, arguments: dict) -> None:
    adata = as_cells({"fashion": fashion, "cytometry": cytometry, "groups": groups}[name](n))
    plan, alone = (vc.tl.plan(adata, **{**arguments, **given}).forecast for given in ({}, {"n_jobs": 1}))
    held, start, used = watch(), time.perf_counter(), time.process_time()
    vc.tl.embed(adata, **arguments)
    added, seconds, used = most() - held, time.perf_counter() - start, time.process_time() - used
    print(f"{name} {n:,} {arguments or ''}")
    _compare("MiB", plan.peak / MIB, added / MIB)
    if plan.seconds is not None:
        _compare("seconds", plan.seconds, seconds)
        _compare("processor seconds", alone.seconds, used)
        stages = adata.uns["umap"]["timings"]
        print("  by stage:", ", ".join(f"{s} {t:.2f} ({stages.get(s, 0):.2f})" for s, t in plan.stage_seconds.items()))


def _compare(what: str, forecast: float, measured: float) -> None:
    print(
        f"  {what:<18}forecast {forecast:7.1f}  measured {measured:7.1f}  ratio {forecast / measured:.2f}", flush=True
    )


if __name__ == "__main__":
    if sys.argv[1:]:
        given = [*sys.argv[1:], "{}"]
        measure(given[0], int(given[1]), json.loads(given[2]))
    else:
        for name, n, arguments in MAPS:
            subprocess.run([sys.executable, __file__, name, str(n), json.dumps(arguments)], check=True)
