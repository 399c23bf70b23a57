"""The fuzzy graph alone: ours and umap-learn's from the same 15 neighbours, both compiled, in turn.

python benchmarks/graph.py [fashion|cytometry]

umap-learn is the test environment's. The symmetric graphs are compared weight by weight.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from data import cytometry, fashion
from scipy import sparse

from vicinal.api import GraphRequest, KnnRequest, Neighbors
from vicinal.kernels.processors import available_threads
from vicinal.plugin.manager import get_manager

REPEATS = 7


def backend(stage: str, name: str):  # type: ignore[no-untyped-def]
    entry = get_manager().resolve(stage, name)
    return get_manager().load(entry)(entry.spec.params())


def ours(found: Neighbors, threads: int) -> sparse.csr_matrix:
    return backend("graph", "fuzzy").build(GraphRequest(n_obs=found.n_obs, neighbors=found, n_jobs=threads)).to_scipy()


def peer(found: Neighbors) -> sparse.csr_matrix:
    from umap.umap_ import fuzzy_simplicial_set

    indices = np.column_stack([np.arange(found.n_obs, dtype=np.int32), found.indices])
    distances = np.column_stack([np.zeros(found.n_obs, np.float32), found.distances])
    rows = np.empty((found.n_obs, 1), np.float32)
    state = np.random.RandomState(0)
    return fuzzy_simplicial_set(rows, 15, state, "euclidean", knn_indices=indices, knn_dists=distances)[0]


def main(data: str = "fashion") -> None:
    threads = available_threads()
    rows, knn = (fashion(), "exact") if data == "fashion" else (cytometry(), "pynndescent")
    request = KnnRequest(representation=rows, k=14, n_obs=len(rows), n_jobs=threads)
    found = backend("knn", knn).build(request).neighbors()
    runs: dict[str, Callable[[], sparse.csr_matrix]] = {
        f"vicinal, {n_jobs} threads": lambda n_jobs=n_jobs: ours(found, n_jobs) for n_jobs in sorted({1, threads})
    }
    runs["umap-learn"] = lambda: peer(found)
    graphs = {name: run() for name, run in runs.items()}
    wall, cpu = dict.fromkeys(runs, np.inf), dict.fromkeys(runs, np.inf)
    for _ in range(REPEATS):
        for name, run in runs.items():
            start = time.perf_counter(), time.process_time()
            run()
            wall[name] = min(wall[name], time.perf_counter() - start[0])
            cpu[name] = min(cpu[name], time.process_time() - start[1])
    print(f"{data}: {len(rows):,} cells, {graphs['umap-learn'].nnz:,} edges, least of {REPEATS}")
    for name in runs:
        difference = abs(graphs[name] - graphs["umap-learn"]).max()
        ratio = wall["umap-learn"] / wall[name]
        print(
            f"{name:<20} {wall[name]:6.3f} s, CPU {cpu[name]:6.3f} s; umap-learn takes {ratio:4.1f} times as long; "
            f"largest difference of a weight {difference:.1e}"
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
