"""The optimiser alone against the peers': same neighbours, graph and first layout (principal components), in turn.

python benchmarks/optimizer.py [fashion|cytometry] [n_epochs] [n_seeds] [--peers NAME ...]

The peers run with the Python that VICINAL_PEERS names. Not all of them let their optimiser be called, or timed, by
itself: what is timed stands beside the seconds, and the ratio is to our seconds for the same.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from data import cytometry, fashion, fashion_labels

from vicinal.api import Graph, GraphRequest, InitRequest, KnnRequest, OptimizeRequest
from vicinal.backends.objective.umap import UmapObjective, UmapParams
from vicinal.kernels.processors import available_threads
from vicinal.pipeline.plan import plan_scores
from vicinal.pipeline.run import measure, score_request
from vicinal.plugin.manager import get_manager

FOLDER = Path(__file__).with_name("peers")
COLUMNS = ("knn_recall_15", "label_accuracy", "global_correlation")
OBJECTIVE = UmapObjective(UmapParams(min_dist=0.1))
LOGGED = re.compile(r"(?:SECONDS|Optimised embedding in:|Elapsed time:) (\d+\.?\d*)(m?)s?\b")
OPTIMISER, FROM_NEIGHBORS = "optimiser", "whole call from neighbours"


class Peer(NamedTuple):
    """A script in the peers' environment, and what its seconds are of."""

    script: str
    timed: str = OPTIMISER


PEERS = {
    "umap-learn": Peer("umap_learn.py"),
    "manifolds-rs": Peer("manifolds.py"),
    "scranpy": Peer("run_scranpy.py", FROM_NEIGHBORS),
    "fastumap": Peer("run_fastumap.py", FROM_NEIGHBORS),
    "pacmap": Peer("run_pacmap.py"),
}


class Failed(Exception):
    """A peer did not run; the message is the last it said."""


class Made(NamedTuple):
    """A map, and the seconds it took."""

    seconds: float
    layout: np.ndarray


def backend(stage: str, name: str, **params: object):  # type: ignore[no-untyped-def]
    entry = get_manager().resolve(stage, name)
    return get_manager().load(entry)(entry.spec.params(**params))


def prepare(rows: np.ndarray, knn: str, threads: int) -> dict[str, np.ndarray]:
    found = (
        backend("knn", knn).build(KnnRequest(representation=rows, k=14, n_obs=len(rows), n_jobs=threads)).neighbors()
    )
    request = GraphRequest(n_obs=len(rows), neighbors=found, n_jobs=threads)
    backend("graph", "fuzzy").build(request)  # compiles
    start = time.perf_counter()
    graph = backend("graph", "fuzzy").build(request)
    seconds = time.perf_counter() - start
    first = backend("init", "pca").place(InitRequest(graph=graph, representation=rows, n_components=2))
    return {
        "rows": rows,
        "knn_indices": found.indices,
        "knn_distances": found.distances,
        "indptr": graph.indptr,
        "indices": graph.indices,
        "weights": graph.weights,
        "graph_seconds": np.array(seconds),
        "layout": OBJECTIVE.rescale(first),
        "curve": np.array([OBJECTIVE.a, OBJECTIVE.b]),
    }


def ours(given: dict[str, np.ndarray], seed: int, n_epochs: int, threads: int) -> Made:
    graph = Graph(indptr=given["indptr"], indices=given["indices"], weights=given["weights"])
    request = OptimizeRequest(graph=graph, layout=given["layout"], objective=OBJECTIVE, seed=seed, n_jobs=threads)
    start = time.perf_counter()
    run = backend("optimizer", "numba_sgd", n_epochs=n_epochs).start(request)
    run.step(n_epochs)
    return Made(time.perf_counter() - start, run.layout)


def theirs(script: str, given: Path, seed: int, n_epochs: int, threads: int) -> Made:
    out = given.with_suffix(".npy")
    command = [os.environ["VICINAL_PEERS"], FOLDER / script, given, out, seed, n_epochs, threads]
    try:
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    except OSError as error:
        raise Failed(str(error)) from error
    found = LOGGED.findall(done.stdout)
    if done.returncode or not found:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise Failed(said[-1] if said else f"exit status {done.returncode}")
    number, milli = found[-1]
    return Made(float(number) / (1000 if milli else 1), np.load(out).astype(np.float32))


def quality(rows: np.ndarray, layout: np.ndarray, labels: np.ndarray | None, threads: int) -> dict[str, float]:
    layout = np.ascontiguousarray(layout, dtype=np.float32)
    request = score_request(rows, layout, metric="euclidean", seed=0, n_jobs=threads, labels=labels, n_sample=5000)
    scores: dict[str, float] = {}
    for choice in plan_scores(labels=labels is not None):
        scores |= measure(choice, request)
    return scores


def in_turn(
    runs: dict[str, Callable[[int], Made]], seeds: range, judge: Callable[[np.ndarray], dict[str, float]]
) -> tuple[dict[str, list[float]], dict[str, list[dict[str, float]]]]:
    """Return seconds and scores by name; who fails is named, and left out from then on."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    scores: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
    for seed in seeds:
        for name in list(seconds):
            try:
                made = runs[name](seed)
            except Failed as error:
                print(f"{name:<13} did not run: {error}", flush=True)
                del seconds[name], scores[name]
                continue
            seconds[name].append(made.seconds)
            scores[name].append(judge(made.layout))
    return seconds, scores


def report(name: str, taken: list[float], own: list[float], timed: str, scores: list[dict[str, float]]) -> None:
    ratio = statistics.median(a / b for a, b in zip(taken, own, strict=True))
    means = {column: np.mean([s[column] for s in scores]) for column in COLUMNS if column in scores[0]}
    shown = ", ".join(f"{column} {value:.4f}" for column, value in means.items())
    print(f"{name:<13} {statistics.median(taken):7.2f} s, {ratio:5.1f} x ours; {shown}; timed: {timed}")


def main(data: str, n_epochs: int, n_seeds: int, peers: list[str]) -> None:
    threads, seeds = available_threads(), range(1, n_seeds + 1)
    rows, labels, knn = (fashion(), fashion_labels(), "exact") if data == "fashion" else (cytometry(), None, "ivf")
    given = prepare(rows, knn, threads)
    ours(given, 0, 1, threads)  # compiles
    print(f"{data}: {len(rows):,} x {rows.shape[1]}, {n_epochs} epochs, {threads} threads, seeds {seeds}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "given.npz"
        np.savez(path, **given)
        runs: dict[str, Callable[[int], Made]] = {"vicinal": lambda seed: ours(given, seed, n_epochs, threads)}
        for name in peers:
            runs[name] = lambda seed, script=PEERS[name].script: theirs(script, path, seed, n_epochs, threads)
        seconds, scores = in_turn(runs, seeds, lambda layout: quality(rows, layout, labels, threads))
    own = {
        OPTIMISER: seconds["vicinal"],
        FROM_NEIGHBORS: [taken + float(given["graph_seconds"]) for taken in seconds["vicinal"]],
    }
    for name, taken in seconds.items():
        timed = PEERS[name].timed if name in PEERS else OPTIMISER
        report(name, taken, own[timed], timed, scores[name])


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("data", nargs="?", choices=("fashion", "cytometry"), default="fashion")
    parser.add_argument("n_epochs", nargs="?", type=int, default=200)
    parser.add_argument("n_seeds", nargs="?", type=int, default=3)
    parser.add_argument("--peers", nargs="*", choices=tuple(PEERS), default=[*PEERS], metavar="NAME")
    found = parser.parse_args()
    if found.peers and "VICINAL_PEERS" not in os.environ:
        parser.error("VICINAL_PEERS must name the Python of the peers' environment (make peers); or give --peers alone")
    return found


if __name__ == "__main__":
    main(**vars(arguments()))
