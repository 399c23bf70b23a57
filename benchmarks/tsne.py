"""t-SNE: our optimiser and its gradient against openTSNE's, and maps by other schedules and graphs.

python benchmarks/tsne.py optimiser [--cells N] [--rounds N]
python benchmarks/tsne.py gradient [NAME ...]
python benchmarks/tsne.py maps [NAME ...] [--only VARIANT ...] [--starts N]

`optimiser` gives both the same affinities (perplexity 30), first layout (principal components, standard deviation
0.0001) and schedule (250 epochs at exaggeration 12, 500 at 1, momentum 0.8) of Fashion-MNIST, and runs them in turn.
The divergence is summed over all pairs in float64. `gradient` compares both along one run with the gradient over all
pairs, of Fashion-MNIST unless data sets are named; errors are root mean squares, relative to the attraction. `maps`
goes from representation to map, on all data sets unless some are named; the loss is our own. Of several starts, each
with noise of a tenth of the first layout in it, it shows means. Recall is of 5,000 cells.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from typing import Any, NamedTuple

import numpy as np
from data import as_cells, fashion, fashion_labels, names, representation
from numba import njit, prange
from openTSNE import TSNEEmbedding
from openTSNE.affinity import PrecomputedAffinities
from openTSNE.tsne import kl_divergence_fft
from optimizer import COLUMNS, Made, backend, quality
from scipy import sparse

import vicinal as vc
from vicinal.api import Graph, GraphRequest, InitRequest, KnnRequest, OptimizeRequest
from vicinal.backends.objective.tsne import TsneObjective, TsneParams
from vicinal.backends.optimizer.numba_fft import FftRun
from vicinal.kernels.parallel import workers
from vicinal.kernels.processors import available_threads
from vicinal.kernels.tsne import attract

K = 90
PHASES = ((250, 12.0), (500, 1.0))
OBJECTIVE = TsneObjective(TsneParams())
WATCHED = {12.0: (50, 100, 250), 1.0: (50, 250, 500)}
FFT = {"n_interpolation_points": 3, "min_num_intervals": 50, "ints_in_interval": 1}
SCORES = ("knn_recall_15", "knn_recall_50", "label_accuracy", "trustworthiness", "global_correlation")


class Given(NamedTuple):
    """What both start from."""

    graph: Graph
    layout: np.ndarray

    @property
    def affinities(self) -> sparse.csr_matrix:
        matrix = sparse.csr_matrix(self.graph.to_scipy(), dtype=np.float64)
        return matrix / matrix.sum()


def prepare(rows: np.ndarray, threads: int) -> Given:
    request = KnnRequest(representation=rows, k=K, n_obs=len(rows), n_jobs=threads)
    found = backend("knn", "exact").build(request).neighbors()
    graph = backend("graph", "perplexity").build(GraphRequest(n_obs=len(rows), neighbors=found, n_jobs=threads))
    first = backend("init", "pca").place(InitRequest(graph=graph, representation=rows, n_components=2))
    return Given(graph, OBJECTIVE.rescale(first))


def started(given: Given, threads: int) -> FftRun:
    request = OptimizeRequest(graph=given.graph, layout=given.layout, objective=OBJECTIVE, n_jobs=threads)
    planned = sum(n_epochs for n_epochs, _ in PHASES)
    return backend("optimizer", "numba_fft", n_epochs=planned, momentum=0.8).start(request)


def ours(given: Given, threads: int) -> Made:
    start = time.perf_counter()
    run = started(given, threads)
    for n_epochs, exaggeration in PHASES:
        run.step(n_epochs, exaggeration=exaggeration)
    return Made(time.perf_counter() - start, run.layout)


def theirs(given: Given, threads: int) -> Made:
    affinities = PrecomputedAffinities(given.affinities, normalize=False)
    first = given.layout.astype(np.float64)
    start = time.perf_counter()
    embedding = TSNEEmbedding(first, affinities, negative_gradient_method="fft", n_jobs=threads)
    for n_epochs, exaggeration in PHASES:
        embedding.optimize(n_epochs, exaggeration=exaggeration, inplace=True)
    return Made(time.perf_counter() - start, np.asarray(embedding))


@njit(parallel=True, fastmath=True)
def all_pairs(places: np.ndarray) -> tuple[np.ndarray, float]:
    """Return the sum of ``w^2 (y_i - y_j)`` over all other cells at each cell, and that of w over all pairs."""
    n, total, sums = len(places), 0.0, np.empty_like(places)
    for i in prange(n):
        x, y, along_x, along_y, here = places[i, 0], places[i, 1], 0.0, 0.0, -1.0
        for j in range(n):
            dx, dy = x - places[j, 0], y - places[j, 1]
            weight = 1 / (1 + dx * dx + dy * dy)
            here += weight
            along_x += weight * weight * dx
            along_y += weight * weight * dy
        sums[i, 0], sums[i, 1] = along_x, along_y
        total += here
    return sums, total


def divergence(affinities: sparse.csr_matrix, layout: np.ndarray) -> float:
    """Return the Kullback-Leibler divergence of the affinities from the map's, all pairs counted."""
    places, edges = np.ascontiguousarray(layout, dtype=np.float64), affinities.tocoo()
    squared = np.square(places[edges.row] - places[edges.col]).sum(axis=1)
    total = all_pairs(places)[1]
    return float((edges.data * (np.log(edges.data) + np.log1p(squared))).sum() + math.log(total))


def compare_optimisers(cells: int, rounds: int) -> None:
    rows, labels, threads = fashion(cells), fashion_labels(cells), available_threads()
    given = prepare(rows, threads)
    few = prepare(rows[:2000], threads)
    ours(few, threads), theirs(few, threads)  # compiles
    print(f"Fashion-MNIST, {len(rows):,} x 50, {given.graph.indices.size:,} edges, {threads} threads", flush=True)
    made: dict[str, list[Made]] = {"vicinal": [], "openTSNE": []}
    for _ in range(rounds):
        for name, run in (("vicinal", ours), ("openTSNE", theirs)):
            made[name].append(run(given, threads))
            print(f"  {name}: {made[name][-1].seconds:.2f} s", flush=True)
    affinities = given.affinities
    for name, found in made.items():
        ratio = statistics.median(a.seconds / b.seconds for a, b in zip(found, made["vicinal"], strict=True))
        layout = found[-1].layout
        kept = quality(rows, layout, labels, threads)
        shown = ", ".join(f"{column} {kept[column]:.4f}" for column in COLUMNS)
        seconds = statistics.median(one.seconds for one in found)
        loss = divergence(affinities, layout)
        print(f"{name:<9} {seconds:7.2f} s, {ratio:5.1f} x ours; divergence {loss:.4f}; {shown}", flush=True)


def compare_gradients(wanted: list[str]) -> None:
    columns = ["data", "cells", "exaggeration", "epoch of it", "extent"]
    columns += ["gradient: vicinal", "openTSNE", "loss: vicinal", "openTSNE"]
    print(f"| {' | '.join(columns)} |\n{'|---' * len(columns)}|", flush=True)
    for name in wanted:
        watch(name, representation(name)[0], available_threads())


def watch(name: str, rows: np.ndarray, threads: int) -> None:
    given = prepare(rows, threads)
    run, affinities = started(given, threads), given.affinities
    for exaggeration, epochs in WATCHED.items():
        for before, epoch in zip((0, *epochs), epochs, strict=False):
            run.step(epoch - before, exaggeration=exaggeration)
            found = errors(run, given, affinities, exaggeration, threads)
            shown = (name, f"{len(rows):,}", f"{exaggeration:g}", str(epoch), f"{np.ptp(run.layout, axis=0).max():.1f}")
            print(f"| {' | '.join([*shown, *(f'{value:.1e}' for value in found)])} |", flush=True)


def errors(
    run: FftRun, given: Given, affinities: sparse.csr_matrix, exaggeration: float, threads: int
) -> tuple[float, float, float, float]:
    """Return errors of our gradient and of openTSNE's, then of both divergences."""
    places = run.layout
    wide = places.astype(np.float64)
    sums, total = all_pairs(wide)
    pulls = attraction(given.graph, places, threads).astype(np.float64) * exaggeration
    exact = pulls - sums / total
    field = np.empty_like(places)
    with workers(threads) as parallel:
        found = run._repulsion.evaluate(places, field, run.epoch, parallel)
    own = pulls + 0.5 * field / found
    loss, gradient = kl_divergence_fft(wide, affinities * exaggeration, 1, FFT, should_eval_error=True, n_jobs=threads)
    expected = divergence(affinities, places)
    scale = np.linalg.norm(pulls)
    return (
        float(np.linalg.norm(own - exact) / scale),
        float(np.linalg.norm(gradient - exact) / scale),
        abs(run.losses()["loss"] - expected),
        abs(loss / exaggeration - math.log(exaggeration) - expected),
    )


def attraction(graph: Graph, places: np.ndarray, threads: int) -> np.ndarray:
    pulls, weights = np.empty_like(places), graph.weights / graph.weights.sum(dtype=np.float64)
    parts = np.unique(np.linspace(0, len(places), 4 * threads + 1).astype(int))
    edges = (graph.indptr.astype(np.int64), graph.indices.astype(np.uint32), weights.astype(np.float32))
    with workers(threads) as parallel:
        parallel(lambda a, b: attract(*edges, places, np.float32(1), pulls, a, b), parts)
    return pulls


def variants(n_obs: int) -> dict[str, dict[str, Any]]:
    usual = [{"n": n, "exaggeration": exaggeration} for n, exaggeration in PHASES]
    fast = [{"n": 75, "exaggeration": 12}, {"n": 175, "learning_rate": 2 * n_obs, "momentum": 0.95}]
    mean = {"graph": "uniform", "symmetrize": "mean"}
    return {
        "usual": {"phases": usual, "momentum": 0.8},
        "default": {},
        "fast": {"phases": fast},
        "uniform": {"graph": "uniform"},
        "mean": mean,
        "mean_fast": {**mean, "phases": fast},
    }


def compare_maps(wanted: list[str], only: list[str], n_starts: int) -> None:
    vc.tl.embed(as_cells(fashion(2000)), "tsne", n_epochs=5)  # compiles
    columns = ["data", "cells", "variant", "divergence", *SCORES, "optimizer s", "all s"]
    print(f"{available_threads()} threads, {n_starts} starts\n\n| {' | '.join(columns)} |\n{'|---' * len(columns)}|")
    for name in wanted:
        rows, labels = representation(name)
        for variant in only:
            found = [one_map(rows, labels, variant, start) for start in first_layouts(rows, n_starts)]
            kept = {score: statistics.mean(made[score] for made in found) for score in found[0]}
            scores = [f"{kept[score]:.4f}" if score in kept else "" for score in ("divergence", *SCORES)]
            seconds = [f"{kept[part]:.1f}" for part in ("optimizer", "total")]
            print(f"| {' | '.join([name, f'{len(rows):,}', variant, *scores, *seconds])} |", flush=True)


def first_layouts(rows: np.ndarray, n_starts: int) -> list[Any]:
    if n_starts == 1:
        return ["pca"]
    places = vc.tl.start(as_cells(rows), "tsne").layout
    return [places + np.random.default_rng(i).normal(scale=1e-5, size=places.shape) for i in range(n_starts)]


def one_map(rows: np.ndarray, labels: np.ndarray | None, variant: str, first: Any) -> dict[str, float]:
    adata = as_cells(rows)
    vc.tl.embed(adata, "tsne", init=first, **variants(len(rows))[variant])
    made = adata.uns["tsne"]
    kept = quality(rows, adata.obsm["X_tsne"], labels, available_threads())
    return {"divergence": made["loss"][-1], **made["timings"], **kept}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = parser.add_subparsers(dest="part", required=True)
    optimiser, gradient, maps = map(parts.add_parser, ("optimiser", "gradient", "maps"))
    optimiser.add_argument("--cells", type=int, default=70_000, metavar="N")
    optimiser.add_argument("--rounds", type=int, default=1, metavar="N")
    for part in (gradient, maps):
        part.add_argument("names", nargs="*", choices=[*names(), []], metavar="NAME")
    maps.add_argument("--starts", type=int, default=1, metavar="N")
    maps.add_argument("--only", nargs="+", choices=variants(0), default=[*variants(0)], metavar="VARIANT")
    given = parser.parse_args()
    if given.part == "optimiser":
        compare_optimisers(given.cells, given.rounds)
    elif given.part == "gradient":
        compare_gradients(given.names or ["fashion"])
    else:
        compare_maps(given.names or names(), given.only, given.starts)


if __name__ == "__main__":
    main()
