"""What is altered: cells, maps, models and checkpoints, each made once, and files forged from them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable
from functools import cache
from typing import Any

import anndata as ad
import numpy as np
from networks_for_tests import a_fitted_model

import vicinal as vc
from vicinal.models import store
from vicinal.models.manifest import _fingerprint

N, N_GENES, N_PCS = 60, 14, 5
OPTIONS = {"n_epochs": 3, "n_neighbors": 6, "n_jobs": 1}
EPOCHS = {"n_epochs": 3, "n_jobs": 1, "key_added": "map"}
Say = Callable[[str], None]


@cache
def _cells() -> ad.AnnData:
    import scanpy as sc

    rng = np.random.default_rng(0)
    means = rng.gamma(1.0, 3.0, size=(3, N_GENES))
    made = ad.AnnData(np.log1p(rng.poisson(means[np.arange(N) % 3])).astype(np.float32))
    sc.pp.pca(made, n_comps=N_PCS)
    sc.pp.neighbors(made, n_neighbors=6, use_rep="X_pca")
    return made


def cells() -> ad.AnnData:
    return _cells().copy()


@cache
def _mapped(method: str) -> ad.AnnData:
    made = cells()
    if method == "network":
        made.uns["network"] = {"model": _network_handle(made), "params": {"method": "parametric"}}
        made.obsm["X_network"] = np.random.default_rng(1).normal(size=(N, 2)).astype(np.float32)
        return made
    vc.tl.embed(made, method, use_rep="X_pca", **OPTIONS, **({"perplexity": 2} if method == "tsne" else {}))
    return made


def mapped(method: str) -> ad.AnnData:
    return _mapped(method).copy()


def _network_handle(adata: ad.AnnData) -> dict[str, Any]:
    reusable = {
        "kind": "network",
        "method": "network",
        "backends": {"optimizer": "trainer@plugin"},
        "versions": {"vicinal": "0.1.0"},
        "params": {"min_dist": 0.1},
        "representation": {"name": "X_pca", "n_features": N_PCS, "n_pcs": None},
        "metric": "euclidean",
        "n_neighbors": 6,
        "fitted": a_fitted_model(),
        "rows": adata.obsm["X_pca"],
    }
    return store.handle_of(reusable, "X_network")


METHODS = ("umap", "tsne", "network")


@cache
def model_of(method: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    vc.models.save(_mapped(method), "base")
    return _taken("base")


@cache
def checkpoint_of(method: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    started(method).step(2).save("base")
    return _taken("base")


def _taken(path: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    with zipfile.ZipFile(path) as archive:
        manifest = json.loads(archive.read("model.json"))
        arrays = {n: np.load(io.BytesIO(archive.read(e["file"]))) for n, e in manifest["arrays"].items()}
    os.remove(path)
    return manifest, arrays


def started(method: str) -> Any:
    perplexity = {"perplexity": 2} if method == "tsne" else {}
    return vc.tl.start(cells(), method, use_rep="X_pca", **{**OPTIONS, "n_epochs": [1, 3]}, **perplexity)


def forged(manifest: Any, arrays: dict[str, np.ndarray], *, describe: bool = True) -> bytes:
    """Return the bytes of a file whose digests fit whatever it holds."""
    blobs = {name: npy(array) for name, array in arrays.items()}
    if isinstance(manifest, dict):
        if describe:
            manifest["arrays"] = {name: entry_of(name, arrays[name], blob) for name, blob in blobs.items()}
        manifest["fingerprint"] = _fingerprint(manifest)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("model.json", json.dumps(manifest))
        for name, blob in blobs.items():
            archive.writestr(f"{name}.npy", blob)
    return buffer.getvalue()


def npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array, order="C"), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def entry_of(name: str, array: np.ndarray, blob: bytes) -> dict[str, Any]:
    array = np.asarray(array)
    digest = hashlib.sha256(blob).hexdigest()
    return {"file": f"{name}.npy", "dtype": array.dtype.str, "shape": list(array.shape), "sha256": digest}


def finite(adata: ad.AnnData, key: str) -> str | None:
    """Return what is wrong with a map: None where there is none, or all its places are finite."""
    places = adata.obsm.get(f"X_{key}", adata.obsm.get(key))
    return None if places is None or np.isfinite(places).all() else "a map that is not finite"
