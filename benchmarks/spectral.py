"""Spectral initialisation alone: ours, umap-learn's and scipy's exact answer, on the fuzzy graph of 15 neighbours.

python benchmarks/spectral.py [fashion|cytometry] [n_cells]

umap-learn (in the test environment) runs once, with its default settings, and up to 100,000 cells only.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
from data import cytometry, fashion
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import eigsh
from threadpoolctl import threadpool_limits

from vicinal.api import Graph, GraphRequest, InitRequest, KnnRequest
from vicinal.backends.init.linear_algebra import one_blas_thread
from vicinal.backends.init.spectral import slowest_modes
from vicinal.kernels.processors import available_threads
from vicinal.plugin.manager import get_manager

REPEATS = 3
PEER_UP_TO = 100_000


def backend(stage: str, name: str):  # type: ignore[no-untyped-def]
    entry = get_manager().resolve(stage, name)
    return get_manager().load(entry)(entry.spec.params())


def fuzzy_graph(rows: np.ndarray, knn: str, threads: int) -> Graph:
    request = KnnRequest(representation=rows, k=14, n_obs=len(rows), n_jobs=threads)
    found = backend("knn", knn).build(request).neighbors()
    return backend("graph", "fuzzy").build(GraphRequest(n_obs=len(rows), neighbors=found, n_jobs=threads))


def timed(run: Callable[[], np.ndarray], repeats: int) -> tuple[float, float, np.ndarray]:
    """Return the least wall and CPU seconds, and the last result."""
    wall, cpu, result = np.inf, np.inf, np.empty(0)
    for _ in range(repeats):
        start = time.perf_counter(), time.process_time()
        result = run()
        wall, cpu = min(wall, time.perf_counter() - start[0]), min(cpu, time.process_time() - start[1])
    return wall, cpu, result


def truth(matrix: sparse.csr_matrix) -> np.ndarray:
    """The first two modes of a connected graph, by Lanczos to machine precision with room to spare."""
    matrix = matrix.astype(np.float64)
    root = np.sqrt(np.asarray(matrix.sum(axis=1)).ravel())
    normalised = sparse.diags(1 / root) @ matrix @ sparse.diags(1 / root)
    values, vectors = eigsh(normalised, k=10, ncv=80, tol=1e-13, which="LA", v0=np.arange(len(root)) % 7 - 2.5)
    return vectors[:, np.argsort(-values)[1:3]] / root[:, None]


def angle(modes: np.ndarray, expected: np.ndarray, matrix: sparse.csr_matrix) -> float:
    """Degrees between the spaces the columns span, vertices counted by their degrees, the constant left out."""
    degrees = np.asarray(matrix.sum(axis=1), dtype=np.float64)
    modes = modes - (degrees * modes).sum(axis=0) / degrees.sum()
    one, other = (np.linalg.qr(np.sqrt(degrees) * m)[0] for m in (modes, expected))
    return float(np.degrees(np.arcsin(min(np.linalg.norm(one - other @ (other.T @ one), 2), 1.0))))


def main(data: str = "fashion", n: str = "") -> None:
    threads = available_threads()
    rows, knn = (fashion(), "exact") if data == "fashion" else (cytometry(), "pynndescent")
    if n:
        rows = rows[np.random.default_rng(0).permutation(len(rows))[: int(n)]]
    graph = fuzzy_graph(rows, knn, threads)
    matrix = graph.to_scipy()
    print(f"{data}: {graph.n_obs:,} cells, {len(graph.weights):,} edges")
    connected = connected_components(matrix)[0] == 1
    expected = truth(matrix) if connected else None

    def report(name: str, wall: float, cpu: float, modes: np.ndarray) -> None:
        shown = "" if expected is None else f", {angle(modes, expected, matrix):.4f} degrees from the truth"
        print(f"{name:<22} {wall:7.2f} s, CPU {cpu:7.2f} s{shown}")

    least = np.inf
    for n_jobs in sorted({1, threads}):
        request = InitRequest(graph=graph, n_components=2, representation=rows, n_jobs=n_jobs)
        backend("init", "spectral").place(request)  # compiles
        wall, cpu, layout = timed(lambda: backend("init", "spectral").place(request), REPEATS)  # noqa: B023
        report(f"vicinal, {n_jobs} threads", wall, cpu, layout.astype(np.float64))
        least = min(least, wall)
    if connected:
        with one_blas_thread():
            report("its modes in float64", *timed(lambda: slowest_modes(matrix, 2), 1))
    if graph.n_obs <= PEER_UP_TO:
        from umap.spectral import spectral_layout

        with threadpool_limits(threads):
            peer = timed(lambda: spectral_layout(rows, matrix.tocoo(), 2, np.random.RandomState(0)), 1)
        # It gives the normalised Laplacian's eigenvectors as they are: ours times the roots of the degrees.
        roots = np.sqrt(np.asarray(matrix.sum(axis=1), dtype=np.float64))
        report("umap-learn", *peer[:2], peer[2] / roots)
        print(f"umap-learn takes {peer[0] / least:.1f} times as long")


if __name__ == "__main__":
    main(*sys.argv[1:])
