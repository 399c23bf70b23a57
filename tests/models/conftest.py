from __future__ import annotations

import numpy as np
import pytest

from vicinal.models.manifest import parse_handle
from vicinal.models.store import Model, from_reference, handle_of


def a_model(n=60, n_features=5, n_components=2, *, metric="euclidean", n_neighbors=8, seed=0, **options) -> Model:
    rng = np.random.default_rng(seed)
    reusable = {
        "kind": "landmarks",
        "method": "umap",
        "backends": {"knn": "exact@vicinal", "graph": "fuzzy@vicinal"},
        "versions": {"vicinal": "0.1.0"},
        "params": {"min_dist": 0.5, "disconnection_distance": np.inf, "n_neighbors": np.int64(n_neighbors)},
        "representation": {"name": "X_pca", "n_features": n_features, "n_pcs": None},
        "metric": metric,
        "n_neighbors": n_neighbors,
    }
    reference = rng.normal(size=(n, n_features)).astype(np.float32)
    layout = rng.normal(size=(n, n_components)).astype(np.float32)
    return from_reference(parse_handle(handle_of(reusable, "X_umap")), reference, layout, **options)


@pytest.fixture
def make_model():
    """Build a small model; see `a_model` for what can be chosen."""
    return a_model
