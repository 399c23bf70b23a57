"""Make the golden files of the present version: ``python tests/models/golden/make_golden.py`` (needs vicinal-torch).

For each kind of model there are ``{kind}-{version}-schema{schema}.zip``, as `vicinal.models.save` writes it, and an
``.npz`` beside it with ``rows`` and the ``places`` they were given when it was made. The first `N_OWN` rows are cells
of the map itself. Files of earlier versions are never made again: they must load, and place rows where they did then.
"""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np

import vicinal as vc
from vicinal.models.manifest import SCHEMA

FOLDER = Path(__file__).parent
N_OWN = 6
MAPS = {
    "landmarks": {"method": "umap", "n_epochs": 30},
    "network": {
        "method": "parametric_umap",
        "encoder_params": {"width": 8, "depth": 2},
        "n_training_epochs": 2,
        "warm_start_steps": 50,
    },
}


def cells(n: int, seed: int) -> ad.AnnData:
    """Return cells in three groups, in a representation of five columns."""
    draw = np.random.default_rng(seed)
    centers = 4 * np.random.default_rng(1).normal(size=(3, 5))
    rows = (centers[np.arange(n) % 3] + draw.normal(size=(n, 5))).astype(np.float32)
    return ad.AnnData(obsm={"X_pca": rows})


def make(kind: str) -> None:
    """Write the two files of one kind."""
    adata, new = cells(36, seed=0), cells(12, seed=2)
    vc.tl.embed(adata, n_neighbors=6, n_jobs=1, key_added="map", **MAPS[kind])
    name = FOLDER / f"{kind}-{vc.__version__}-schema{SCHEMA}"
    vc.models.save(adata, name.with_name(f"{name.name}.zip"))
    rows = np.concatenate([adata.obsm["X_pca"][:N_OWN], new.obsm["X_pca"]])
    places = ad.AnnData(obsm={"X_pca": rows})
    vc.tl.project(places, name.with_name(f"{name.name}.zip"), key_added="map")
    np.savez(name.with_name(f"{name.name}.npz"), rows=rows, places=places.obsm["map"])


if __name__ == "__main__":
    for each in MAPS:
        make(each)
