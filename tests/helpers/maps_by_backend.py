"""Maps made with every built-in backend that declares to be deterministic.

``python maps_by_backend.py N_JOBS SHUFFLED [N_JOBS SHUFFLED ...]`` prints, as JSON, for each pair and map a digest and
the backends it was made with.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator
from typing import Any

import anndata as ad
import numpy as np
from forms_for_tests import chebyshev
from scipy import sparse
from scipy.spatial import cKDTree

import vicinal as vc
from vicinal.api import BackendSpec, InputError
from vicinal.plugin.manager import get_manager

N_OBS = 4200  # more than are moved by one thread
NAMES = np.array([f"cell{i}" for i in range(N_OBS)])
METRICS = ("cosine", "manhattan", "sqeuclidean")
EVERYWHERE = {"representation", "graph", "neighbors"}


def deterministic(stage: str) -> list[BackendSpec]:
    """Return the specs of a stage's built-in backends that promise the same bits, and that built-in ones can use."""
    found = [entry.spec for entry in get_manager().entries() if entry.stage == stage and entry.builtin]
    found = [spec for spec in found if spec.capabilities.deterministic]
    if stage != "objective":
        return found
    consumed = {form for spec in deterministic("optimizer") for form in spec.capabilities.forms}
    return [spec for spec in found if consumed & set(spec.capabilities.forms)]  # others are for plugins alone


class Cells:
    """The same cells with the same neighbours, graph and positions, stored in one order or another."""

    def __init__(self, shuffled: int) -> None:
        rng = np.random.default_rng(0)
        order = np.random.default_rng(shuffled).permutation(N_OBS) if shuffled else np.arange(N_OBS)
        place = np.argsort(order)
        group = rng.integers(12, size=N_OBS)
        one = rng.normal(size=(N_OBS, 8)).astype(np.float32)
        several = ((rng.normal(size=(12, 8)) * 5)[group] + one).astype(np.float32)
        distances, indices = cKDTree(several).query(several, 11)
        weights = sparse.csr_matrix(
            (np.exp(-distances[:, 1:]).ravel(), indices[:, 1:].ravel(), np.arange(N_OBS + 1) * 10)
        )
        self.graph = sparse.csr_matrix(weights.maximum(weights.T))[order][:, order]
        self.table = (place[indices[order]], distances[order])
        self.positions = rng.normal(size=(N_OBS, 2))[order]
        self.adata = ad.AnnData(obsm={"X_pca": several[order], "X_one": one[order], "positions": self.positions})
        self.adata.obs_names = NAMES[order]
        self.adata.obs["group"] = group[order].astype(str)
        self.adata.obs["pinned"] = (np.arange(N_OBS) % 7 == 0)[order]
        self.adata.uns["paga"] = {"groups": "group", "pos": rng.normal(size=(12, 2))}


def cases(cells: Cells) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield names and arguments of maps, between them every such backend and form."""
    for spec in deterministic("knn"):
        if set(spec.capabilities.inputs) <= EVERYWHERE:
            yield f"knn {spec.name}", {"knn": spec.name}
            for metric in METRICS:
                yield f"knn {spec.name} {metric}", {"knn": spec.name, "metric": metric, "init": "random"}
    yield "knn given", {"knn": cells.table}
    for spec in deterministic("graph"):
        if set(spec.capabilities.inputs) <= EVERYWHERE:
            needed = {"sigma": 2.0} if spec.name == "fixed_sigma" else {}
            yield f"graph {spec.name}", {"graph": spec.name, "knn": cells.table, "init": "random", **needed}
    yield "graph fuzzy, mixed", {"knn": cells.table, "set_op_mix_ratio": 0.5, "init": "random"}
    yield "graph fuzzy, directed", {"knn": cells.table, "symmetrize": False}
    yield "graph fuzzy, labelled", {"knn": cells.table, "labels": "group", "init": "random"}
    stored = {"graph": cells.graph}
    yield "graph precomputed, labelled", {**stored, "labels": "group", "target_weight": 0.9, "init": "random"}
    for spec in deterministic("init"):
        if set(spec.capabilities.inputs) <= EVERYWHERE:
            yield f"init {spec.name}", {**stored, "init": spec.name, "n_components": 3}
            yield f"init {spec.name}, one component", {"init": spec.name, "use_rep": "X_one"}
    yield "init paga", {**stored, "init": "paga"}
    yield "init obsm", {**stored, "init": "positions", "fixed": "pinned"}
    yield "init array", {**stored, "init": cells.positions}
    for n_components in (1, 10):
        yield f"kernel {n_components}", {**stored, "init": "random", "n_components": n_components}
    by_tsne = {**stored, "init": "pca", "objective": "tsne", "optimizer": "numba_fft"}
    for n_components in (1, 2, 3):
        yield f"tsne {n_components}", {**by_tsne, "n_components": n_components}
    yield "tsne, fixed", {**by_tsne, "init": "positions", "fixed": "pinned", "dof": 0.8}
    yield "kernel, fractional", {**stored, "init": "pca", "negative_sample_rate": 2.5}
    yield "haversine", {**stored, "init": "pca", "output_metric": "haversine"}
    yield "metric", {**stored, "init": "pca", "output_metric": chebyshev}
    yield "coefficients", {**stored, "init": "pca", "objective": "cauchy", "fixed": "pinned"}


def digests(n_jobs: int, shuffled: int) -> dict[str, dict[str, Any]]:
    """Return, by case, the digest of map, loss and scores, and the backends."""
    cells, found = Cells(shuffled), {}
    for name, options in cases(cells):
        try:
            made = vc.tl.embed(cells.adata, n_jobs=n_jobs, n_epochs=3, copy=True, **options)
        except InputError as error:  # a metric that a backend does not have
            assert "metric" in str(error) and "metric" in options, error
            continue
        entry = made.uns["umap"]
        data = [made[NAMES].obsm["X_umap"].tobytes(), entry["loss"].tobytes(), json.dumps(entry["score"]).encode()]
        digest = [hashlib.sha256(part).hexdigest()[:16] for part in data]
        found[name] = {"digest": digest, "backends": {f"{k} {v}" for k, v in entry["backends"].items()}}
    return found


if __name__ == "__main__":
    numbers = [int(number) for number in sys.argv[1:]]
    pairs = zip(numbers[::2], numbers[1::2], strict=True)
    print(json.dumps([digests(n_jobs, shuffled) for n_jobs, shuffled in pairs], default=sorted))
