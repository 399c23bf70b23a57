"""Every backend that declares `deterministic`: the same bits for any number of threads and any order of rows."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import forms_for_tests
import maps_by_backend

STAGES = ("knn", "graph", "init", "objective", "optimizer")
# Threads of vicinal and the order of rows; a process each for few and many threads of numba and BLAS.
PROCESSES = {"1": ["1", "0", "2", "1"], "4": ["3", "2", "8", "3"]}


def in_a_process(folder: Path, threads: str, pairs: list[str]) -> list[dict[str, Any]]:
    """Return what `maps_by_backend` prints."""
    helpers = Path(maps_by_backend.__file__)
    path = os.pathsep.join([str(folder), str(helpers.parent), *filter(None, [os.environ.get("PYTHONPATH")])])
    names = ("NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, threads), "PYTHONPATH": path}
    command = [sys.executable, str(helpers), *pairs]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_threads_and_orders_of_rows(tmp_path: Path) -> None:
    forms_for_tests.install(tmp_path)
    maps = [made for threads, pairs in PROCESSES.items() for made in in_a_process(tmp_path, threads, pairs)]
    used = {backend for made in maps[0].values() for backend in made["backends"]}
    declared = {f"{stage} {spec.name}@vicinal" for stage in STAGES for spec in maps_by_backend.deterministic(stage)}
    assert declared | {"objective cauchy@forms-for-tests"} <= used
    expected, *others = [{name: made["digest"] for name, made in found.items()} for found in maps]
    for found in others:
        assert found == expected
