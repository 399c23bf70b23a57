"""From principal components back to genes, where an AnnData holds what its PCA was made with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vicinal.contract.errors import InputError

LOADINGS = {"X_pca": "PCs", "pca": "pca"}
"""Representation to the key of ``varm`` that holds its loadings."""
N_CHECKED = 50
TOLERANCE = 1e-2
"""How far recomputed components may be from the stored ones, as a share of their spread: float32, another solver."""


@dataclass(frozen=True)
class GeneMap:
    """What makes genes of components: ``components @ loadings.T + center``.

    Attributes
    ----------
    loadings
        float32 ``(n_vars, n_components)``.
    center
        Mean of each gene, float32 ``(n_vars,)``.
    """

    loadings: NDArray[np.float32]
    center: NDArray[np.float32]

    def genes(self, components: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return genes, ``(n, n_vars)``."""
        return components @ self.loadings.T + self.center


def read_gene_map(adata: ad.AnnData, name: str, n_components: int) -> GeneMap:
    """Return how the representation's components become genes, after recomputing those of some cells from ``.X``.

    Raises
    ------
    InputError
        If the representation is not a PCA whose loadings are there, or ``.X`` is not what it was made from.
    """
    key = LOADINGS.get(name)
    is_there = key in adata.varm and name in adata.obsm and adata.X is not None
    if key is None or not is_there or adata.varm[key].shape[1] < n_components:
        msg = f"genes cannot be had from {name!r}: that needs a PCA, its loadings in adata.varm, and .X"
        raise InputError(f"{msg}; sc.pp.pca(adata) writes obsm['X_pca'] and varm['PCs']")
    loadings = np.asarray(adata.varm[key], dtype=np.float32)[:, :n_components]
    center, some = _mean_of_genes(adata.X), np.unique(np.linspace(0, adata.n_obs - 1, N_CHECKED).astype(int))
    stored = np.asarray(adata.obsm[name][some], dtype=np.float64)[:, :n_components]
    rows = _dense(adata.X[some])
    for mean in (center, np.zeros_like(center)):
        off = np.abs((rows - mean) @ loadings - stored).max()
        if off <= TOLERANCE * max(np.abs(stored).max(), 1e-12):
            return GeneMap(loadings, mean.astype(np.float32))
    msg = f"genes cannot be had from {name!r}: made anew from .X, its components are not those that are stored"
    raise InputError(f"{msg}; .X must hold the values that sc.pp.pca saw, and the PCA be the one of the map")


def _mean_of_genes(values: Any) -> NDArray[np.float64]:
    mean = values.mean(axis=0) if hasattr(values, "mean") else values[:].mean(axis=0)
    return np.asarray(mean, dtype=np.float64).ravel()


def _dense(values: Any) -> NDArray[np.float64]:
    return np.asarray(values.toarray() if sparse.issparse(values) else values, dtype=np.float64)
