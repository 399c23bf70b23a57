"""The kernels of large data come from the disk cache: in a new process nothing is compiled."""

from __future__ import annotations

import os
import subprocess
import sys

WARM_UP = "from vicinal import _warmup; _warmup._warm_up_clustered()"
USE = """
import numba.core.event as event

class Count(event.Listener):
    compiled = 0
    def on_start(self, found):
        name = found.data["dispatcher"].py_func.__module__
        Count.compiled += name.startswith("vicinal") and name != "vicinal.kernels.knn"  # small data warms that up
    def on_end(self, found): ...

event.register("numba:compile", Count())
import numpy as np
from vicinal.backends.knn import exact, ivf
from vicinal.contract.requests import KnnRequest
from vicinal.contract.spec import NoParams

rows = np.random.default_rng(0).normal(size=(12_000, 7)).astype(np.float32)
rows.setflags(write=False)
for metric in ("euclidean", "cosine"):
    for n_jobs in (1, 2):
        request = KnnRequest(representation=rows, k=9, n_obs=12_000, metric=metric, n_jobs=n_jobs)
        for index in (exact.Backend(NoParams()).build(request), ivf.Backend(ivf.Params()).build(request)):
            index.neighbors()
            index.query(rows[:50], 4)
print(Count.compiled)
"""


def run(code: str, cache: object) -> str:
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_after_warmup_nothing_is_left_to_compile(tmp_path):
    run(WARM_UP, tmp_path)
    assert run(USE, tmp_path) == "0\n"
