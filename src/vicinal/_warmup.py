"""Compiles every kernel ahead, so that nobody waits for it later."""

from __future__ import annotations

import time

import numpy as np
from anndata import AnnData

from vicinal.contract.seeds import generator
from vicinal.pp import neighbors
from vicinal.tl.embed import embed
from vicinal.tl.project import project

METRICS = ("euclidean", "cosine", "manhattan")
N_OBS, N_FEATURES = 500, 8


def warmup() -> float:
    """Make small maps in all the ways that have a kernel of their own; return the seconds it took."""
    start = time.perf_counter()
    for metric in METRICS:
        embed(_cells(), metric=metric, knn="exact", n_epochs=2)
    cells = _cells()
    neighbors(cells)
    embed(cells, n_epochs=2)
    embed(cells, n_epochs=2, symmetrize=False, n_components=3, knn="exact", key_added="directed")
    project(_cells(), cells, key="umap")
    _warm_up_clustered()
    return time.perf_counter() - start


def _warm_up_clustered() -> None:
    """Use the kernels that only large data meet."""
    from vicinal.kernels.ivf import Index
    from vicinal.kernels.pruned import all_neighbors

    rows = _cells().obsm["X_pca"]
    all_neighbors(rows, 5, "euclidean", at_least=0)
    index = Index.build(rows, "euclidean", seed=0, n_jobs=1)
    index.neighbors(5, 1)
    index.query(rows, 5, 1)


def _cells() -> AnnData:
    values = generator(0).normal(size=(N_OBS, N_FEATURES)).astype(np.float32)
    return AnnData(np.zeros((N_OBS, 1), dtype=np.float32), obsm={"X_pca": values})
