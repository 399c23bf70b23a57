"""Make the golden files of the present version: ``python tests/models/golden/make_golden.py`` (needs vicinal-torch).

For each kind of model there are ``{kind}-{version}-schema{schema}.zip``, as `vicinal.models.save` writes it, and an
``.npz`` beside it with the ``places`` that some cells were given when it was made: ``rows`` of a representation, or
``genes`` by ``names``, with their scores as strangers and the p-values. The first `N_OWN` are cells of the map itself.
Files that are there are never made again: they must load, and place cells where they did then.
"""

from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import scanpy as sc

import vicinal as vc
from vicinal.models.manifest import SCHEMA

FOLDER = Path(__file__).parent
N_OWN = 6
GENES = "landmarks_genes"
MAPS = {
    "landmarks": {"method": "umap", "n_epochs": 30},
    GENES: {"method": "umap", "n_epochs": 30},
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


def cells_of_genes(n: int, seed: int) -> ad.AnnData:
    """Return logarithms of normalised counts of sixteen genes, of cells in three groups."""
    draw = np.random.default_rng(seed)
    typical = np.random.default_rng(1).gamma(0.7, 6, size=(3, 16))
    adata = ad.AnnData(draw.poisson(typical[np.arange(n) % 3]).astype(np.float32))
    adata.var_names = [f"gene{i}" for i in range(16)]
    sc.pp.normalize_total(adata, target_sum=100)
    sc.pp.log1p(adata)
    return adata


def make(kind: str) -> None:
    """Write the two files of one kind, unless they are there."""
    name = f"{kind}-{vc.__version__}-schema{SCHEMA}"
    model, expected = FOLDER / f"{name}.zip", FOLDER / f"{name}.npz"
    if model.exists():
        return
    draw = cells_of_genes if kind == GENES else cells
    adata, new = draw(36, seed=0), draw(12, seed=2)
    if kind == GENES:
        sc.pp.pca(adata, n_comps=5)
        new.X[-3:] = new.X[-3:, ::-1]  # of a type that the map has not
    placed = ad.concat([adata[:N_OWN], new], index_unique="-")
    vc.tl.embed(adata, n_neighbors=6, n_jobs=1, key_added="map", **MAPS[kind])
    vc.models.save(adata, model)
    vc.tl.project(placed, model, key_added="map")
    if kind == GENES:
        found = {"genes": placed.X, "names": np.array(placed.var_names, dtype=str)}
        found |= {"scores": placed.obs["map_stranger_score"], "p_values": placed.obs["map_stranger_p"]}
    else:
        found = {"rows": placed.obsm["X_pca"]}
    np.savez(expected, places=placed.obsm["map"], **found)


if __name__ == "__main__":
    for each in MAPS:
        make(each)
