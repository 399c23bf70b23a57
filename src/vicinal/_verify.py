"""``vicinal verify``: small maps made anew, and compared bit by bit with those of other machines."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData

from vicinal.tl.embed import embed
from vicinal.tl.project import project

FEW, MANY = 1500, 5000
"""Cells. t-SNE repels few of them pair by pair and many on a grid."""
N_FEATURES, N_GROUPS = 30, 12
MAPS: dict[str, tuple[int, dict[str, Any]]] = {
    "umap": (FEW, {}),
    "umap, ivf": (MANY, {"knn": "ivf", "n_epochs": 30}),
    "umap, cosine, init pca": (FEW, {"metric": "cosine", "init": "pca", "n_epochs": 100}),
    "umap, sample_place": (MANY, {"init": "sample_place", "sample_size": 1000, "n_epochs": 20}),
    "tsne": (FEW, {"method": "tsne", "n_epochs": 200}),
    "tsne, grid": (MANY, {"method": "tsne", "n_epochs": 100}),
    "tsne, three dimensions": (FEW, {"method": "tsne", "n_components": 3, "n_epochs": 50}),
    "tsne, dof 0.7": (FEW, {"method": "tsne", "dof": 0.7, "n_epochs": 50}),
}
"""Numbers of cells, and arguments of `embed`."""
PROJECTED = "umap, new cells"
DIGESTS = {
    "umap": "4840cf50231bec2b",
    "umap, new cells": "f2d7f3da8ca8a022",
    "umap, ivf": "aceeee0fac84c648",
    "umap, cosine, init pca": "e1a17fff1efce32e",
    "umap, sample_place": "a237cd4dd7bbedd5",
    "tsne": "26037481f3520cb4",
    "tsne, grid": "f711f4a445b79973",
    "tsne, three dimensions": "9851f21112e1bca6",
    "tsne, dof 0.7": "95369657d82b2f0b",
}
"""First 16 digits of the SHA-256 of each map's float32 values, row by row."""


@dataclass(frozen=True)
class Check:
    """One map, as it is here and as it should be."""

    name: str
    digest: str
    expected: str

    @property
    def same(self) -> bool:
        """Tell whether this machine makes the same bits."""
        return self.digest == self.expected


def verify() -> Iterator[Check]:
    """Make each map of the table, and place new cells in the first; yield how they compare with the table."""
    for name, (n_obs, arguments) in MAPS.items():
        cells = make_cells(n_obs)
        embed(cells, key_added="map", use_rep="X_pca", **arguments)
        yield _check(name, cells)
        if name == "umap":
            new = make_cells(200, skipped=MANY)
            project(new, cells, key="map", key_added="map")
            yield _check(PROJECTED, new)


def _check(name: str, cells: AnnData) -> Check:
    values = np.ascontiguousarray(cells.obsm["map"], dtype="<f4")
    return Check(name, hashlib.sha256(values.tobytes()).hexdigest()[:16], DIGESTS[name])


def make_cells(n_obs: int, skipped: int = 0) -> AnnData:
    """Return cells in groups, whose values need no rounding, and so are the same on every machine.

    Numbers come from a bit generator, whose stream numpy keeps from version to version, as it does no distribution's.
    """
    bits = np.random.Philox(key=7).random_raw((N_GROUPS + skipped + n_obs) * N_FEATURES)
    parts = bits.view("<u2").reshape(-1, N_FEATURES, 4).astype(np.float64) / 2**16
    centers, rest = parts[:N_GROUPS, :, 0] * 8, parts[N_GROUPS + skipped :].sum(axis=2)
    values = centers[np.arange(n_obs) % N_GROUPS] + rest
    return AnnData(obsm={"X_pca": values.astype(np.float32)})
