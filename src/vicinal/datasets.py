"""Cells to try things on, without a download."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["pbmc68k_reduced"]


def pbmc68k_reduced() -> AnnData:
    """Return 700 peripheral blood cells with PCA, neighbours and cell types (``obs["bulk_labels"]``).

    The data set is part of scanpy (Zheng et al. 2017, reduced); it also carries scanpy's own map in ``obsm["X_umap"]``.

    Returns
    -------
    An AnnData of 700 cells and 765 genes.
    """
    import scanpy as sc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scanpy's own remarks on the age of the file
        return sc.datasets.pbmc68k_reduced()


def __dir__() -> list[str]:
    return sorted(__all__)
