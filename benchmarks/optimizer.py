"""The optimiser alone against the peers': same neighbours, graph and first layout (principal components), alternating.

python benchmarks/optimizer.py [fashion|cytometry] [n_epochs] [n_seeds]

The peers run with the Python that VICINAL_PEERS names.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from data import cytometry, fashion, fashion_labels

from vicinal.api import Graph, GraphRequest, InitRequest, KnnRequest, OptimizeRequest
from vicinal.backends.objective.umap import UmapObjective, UmapParams
from vicinal.kernels.parallel import available_threads
from vicinal.pipeline.plan import plan_scores
from vicinal.pipeline.run import measure, score_request
from vicinal.plugin.manager import get_manager

PEERS = Path(__file__).with_name("peers")
COLUMNS = ("knn_recall_15", "label_accuracy", "global_correlation")
OBJECTIVE = UmapObjective(UmapParams(min_dist=0.1))


def backend(stage: str, name: str, **params: object):  # type: ignore[no-untyped-def]
    entry = get_manager().resolve(stage, name)
    return get_manager().load(entry)(entry.spec.params(**params))


def prepare(rows: np.ndarray, knn: str, threads: int) -> dict[str, np.ndarray]:
    found = (
        backend("knn", knn).build(KnnRequest(representation=rows, k=14, n_obs=len(rows), n_jobs=threads)).neighbors()
    )
    graph = backend("graph", "fuzzy").build(GraphRequest(n_obs=len(rows), neighbors=found, n_jobs=threads))
    first = backend("init", "pca").place(InitRequest(graph=graph, representation=rows, n_components=2))
    return {
        "rows": rows,
        "knn_indices": found.indices,
        "knn_distances": found.distances,
        "indptr": graph.indptr,
        "indices": graph.indices,
        "weights": graph.weights,
        "layout": OBJECTIVE.rescale(first),
        "curve": np.array([OBJECTIVE.a, OBJECTIVE.b]),
    }


def ours(given: dict[str, np.ndarray], seed: int, n_epochs: int, threads: int) -> tuple[float, np.ndarray]:
    graph = Graph(indptr=given["indptr"], indices=given["indices"], weights=given["weights"])
    request = OptimizeRequest(graph=graph, layout=given["layout"], objective=OBJECTIVE, seed=seed, n_jobs=threads)
    start = time.perf_counter()
    run = backend("optimizer", "numba_sgd", n_epochs=n_epochs).start(request)
    run.step(n_epochs)
    return time.perf_counter() - start, run.layout


def peer(script: str, given: Path, seed: int, n_epochs: int) -> tuple[float, np.ndarray]:
    out = given.with_suffix(".npy")
    command = [os.environ["VICINAL_PEERS"], PEERS / script, given, out, seed, n_epochs]
    log = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=True).stdout
    seconds = re.search(r"SECONDS ([\d.]+)|Optimised embedding in: ([\d.]+)s", log)
    assert seconds is not None, log[-500:]
    return float(seconds[1] or seconds[2]), np.load(out).astype(np.float32)


def quality(rows: np.ndarray, layout: np.ndarray, labels: np.ndarray | None, threads: int) -> dict[str, float]:
    layout = np.ascontiguousarray(layout, dtype=np.float32)
    request = score_request(rows, layout, metric="euclidean", seed=0, n_jobs=threads, labels=labels, n_sample=5000)
    scores: dict[str, float] = {}
    for choice in plan_scores(labels=labels is not None):
        scores |= measure(choice, request)
    return scores


def main(data: str = "fashion", n_epochs: int = 200, n_seeds: int = 3) -> None:
    threads, seeds = available_threads(), range(1, n_seeds + 1)
    rows, labels, knn = (
        (fashion(), fashion_labels(), "exact") if data == "fashion" else (cytometry(), None, "pynndescent")
    )
    given = prepare(rows, knn, threads)
    ours(given, 0, 1, threads)  # compiles
    seconds: dict[str, list[float]] = {}
    scores: dict[str, list[dict[str, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "given.npz"
        np.savez(path, **given)
        scripts = {"umap-learn": "umap_learn.py", "manifolds-rs": "manifolds.py"}
        for seed in seeds:
            runs = {"vicinal": lambda seed=seed: ours(given, seed, n_epochs, threads)}
            runs |= {
                name: lambda s=script, seed=seed: peer(s, path, seed, n_epochs) for name, script in scripts.items()
            }
            for name, run in runs.items():
                taken, layout = run()
                seconds.setdefault(name, []).append(taken)
                scores.setdefault(name, []).append(quality(rows, layout, labels, threads))
    print(f"{data}: {len(rows):,} x {rows.shape[1]}, {n_epochs} epochs, {threads} threads, seeds {seeds}")
    for name, taken in seconds.items():
        ratio = statistics.median(theirs / own for theirs, own in zip(taken, seconds["vicinal"], strict=True))
        means = {c: np.mean([s[c] for s in scores[name]]) for c in COLUMNS if c in scores[name][0]}
        shown = ", ".join(f"{column} {value:.4f}" for column, value in means.items())
        print(f"{name:<13} {statistics.median(taken):7.2f} s, {ratio:5.1f} x ours; {shown}")


if __name__ == "__main__":
    main(*sys.argv[1:2], *map(int, sys.argv[2:4]))
