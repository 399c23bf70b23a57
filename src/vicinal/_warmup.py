"""Compiles every kernel ahead, so that nobody waits for it later, and measures what stages take on this machine."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import numpy as np
from anndata import AnnData

from vicinal.adata.read import read
from vicinal.contract.options import EmbedOptions
from vicinal.contract.seeds import generator
from vicinal.kernels.compile import announcement
from vicinal.pipeline.forecast import CODE_KEY, COSTS, cost_key, sizes, timed_stages
from vicinal.pipeline.plan import make_plan
from vicinal.pp import neighbors
from vicinal.tl.embed import embed
from vicinal.tl.project import project

METRICS = ("euclidean", "cosine", "manhattan")
N_OBS, N_FEATURES = 500, 8
FROM_GRIDS = 4500
"""Cells that t-SNE repels on a grid."""
MEASURED: tuple[dict[str, Any], ...] = (
    {"knn": "exact", "init": "spectral", "n_epochs": 60},
    {"knn": "ivf", "graph": "fuzzy", "init": "pca", "n_epochs": 0},
    {"init": "random", "n_epochs": 0},
    {"init": "random", "n_epochs": 0, "graph": "perplexity", "knn": "exact"},
    {"init": "random", "n_epochs": 30, "objective": "tsne", "optimizer": "numba_fft"},
    {"init": "random", "n_epochs": 0, "graph": "fixed_sigma", "sigma": 1.0, "knn": "exact"},
    {"init": "random", "n_epochs": 0, "graph": "uniform", "knn": "exact"},
    {"init": "random", "n_epochs": 1, "n_neighbors": 10},
    {
        "use_rep": "X_pca",
        "init": "sample_place",
        "n_epochs": 0,
        "sample_size": 2000,
        "sample_params": {"init": "random", "n_epochs": 0},
    },
)
"""Arguments of the maps whose stages are timed, of cells that have neighbours stored."""
TIMES = 2
N_MEASURED, N_GROUPS = (20_000, 30), 12
NOTHING_TO_DO = ("array", "map", "obsm", "paga")
"""First layouts that take no longer than a random one, but for the maps they ask for."""


def warmup() -> float:
    """Make small maps in all the ways that have a kernel of their own; return the seconds it took."""
    announcement.said = True  # what it is for is said by who calls it
    start = time.perf_counter()
    for metric in METRICS:
        embed(_cells(), metric=metric, knn="exact", n_epochs=2)
    cells = _cells()
    neighbors(cells)
    embed(cells, n_epochs=2)
    embed(cells, n_epochs=2, symmetrize=False, n_components=3, knn="exact", key_added="directed")
    _warm_up_tsne()
    project(_cells(), cells, key="umap")
    _warm_up_layers()
    _warm_up_clustered()
    return time.perf_counter() - start


def _warm_up_tsne() -> None:
    """Make maps that repel pair by pair, and on grids."""
    for n_components in (1, 2):
        embed(_cells(), "tsne", n_epochs=2, n_components=n_components)
        embed(_cells(FROM_GRIDS), "tsne", n_epochs=2, n_components=n_components, n_neighbors=6)


def _warm_up_layers() -> None:
    """Use the kernel of networks and of principal components."""
    from vicinal.kernels.network import apply_layers

    layer = {"op": "dense", "weight": "weight", "bias": "bias", "activation": "none"}
    ones = np.ones((2, 2), dtype=np.float32)
    apply_layers([layer], {"weight": ones, "bias": ones[0]}, ones)


def _warm_up_clustered() -> None:
    """Use the kernels that only large data meet."""
    from vicinal.kernels.ivf import Index
    from vicinal.kernels.pruned import all_neighbors, nearest_members

    rows = _cells().obsm["X_pca"]
    all_neighbors(rows, 5, "euclidean", at_least=0)
    nearest_members(rows, rows, 5, "euclidean")
    index = Index.build(rows, "euclidean", seed=0, n_jobs=1)
    index.neighbors(5, 1)
    index.query(rows, 5, 1)


def _cells(n_obs: int = N_OBS) -> AnnData:
    values = generator(0).normal(size=(n_obs, N_FEATURES)).astype(np.float32)
    return AnnData(np.zeros((n_obs, 1), dtype=np.float32), obsm={"X_pca": values})


def calibrate() -> dict[str, float]:
    """Return the seconds that a unit of the work of each built-in backend takes in one thread.

    Of several times the least: what else the machine does meanwhile only adds.
    """
    cells, units = _structured_cells(), dict[str, float]()
    neighbors(cells, n_jobs=1)
    for arguments in MEASURED:
        measured = [_units_of(cells, {**arguments, "n_jobs": 1}) for _ in range(TIMES)]
        units = {**{key: min(found[key] for found in measured) for key in measured[0]}, **units}
    units |= {f"init {name}": units["init random"] for name in NOTHING_TO_DO}
    return units | _seconds_to_load()


def _seconds_to_load() -> dict[str, float]:
    """Return the seconds by which the first map of a new process takes longer; empty where none can be started."""
    command = [sys.executable, "-P", "-c", f"from {__name__} import loading; print(loading())"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return {CODE_KEY: float(done.stdout)}
    except (OSError, ValueError, subprocess.SubprocessError):
        return {}


def loading() -> float:
    """Return the seconds by which the first map of this process takes longer than the second."""
    times = []
    for _ in range(2):
        start = time.perf_counter()
        embed(_cells(), n_epochs=2)
        times.append(time.perf_counter() - start)
    return times[0] - times[1]


def _units_of(cells: AnnData, arguments: dict[str, Any]) -> dict[str, float]:
    """Make a map, and return the seconds that a unit of each stage's work took."""
    options = EmbedOptions.collect("umap", arguments)
    source = read(cells, options)
    plan = make_plan(source, options)
    embed(cells, **arguments)
    taken, size = cells.uns["umap"]["timings"], sizes(plan, source)
    stages = {stage: (cost_key(choice, stage), choice.params) for stage, choice in timed_stages(plan).items()}
    return {key: taken[stage] / COSTS[key].work(size, params) for stage, (key, params) in stages.items()}


def _structured_cells() -> AnnData:
    """Return groups of cells whose columns matter less and less, as principal components do."""
    draw = generator(0)
    n_obs, n_features = N_MEASURED
    values = (
        draw.normal(size=(n_obs, n_features))
        + 2 * draw.normal(size=(N_GROUPS, n_features))[draw.integers(N_GROUPS, size=n_obs)]
    )
    values /= np.sqrt(1 + np.arange(n_features))
    return AnnData(np.zeros((n_obs, 1), dtype=np.float32), obsm={"X_pca": values.astype(np.float32)})
