"""The rows of old and new cells in a map's representation: as they are stored, or made of their genes."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import MISSING
from vicinal.contract.errors import InputError, listing
from vicinal.models import fingerprint
from vicinal.models.genes import GeneChain
from vicinal.models.inference import same_as_landmarks
from vicinal.models.store import Model

from .genes import read_components
from .model import NewCells, read_new_cells
from .read import has_slot

FAR_OFF, MOST_FAR_OFF = 0.25, 0.01
"""How far stored components may be from those that the genes give, as a share of their length, and of how many cells
they may be farther: another PCA is off by more than their length."""

logger = logging.getLogger("vicinal")


def is_made_of_genes(adata: ad.AnnData, model: Model) -> bool:
    """Tell whether the rows have to be made: the representation is not there, and the genes are."""
    name = (model.manifest.representation or {})["name"]
    return name not in adata.obsm and model.genes is not None and _has_genes(adata, model.genes)


def joint_rows(adata: ad.AnnData, model: Model, *, min_overlap: float, n_jobs: int | None) -> NewCells:
    """Return all cells, read from the map's own slot, or made of genes where that is not there.

    Raises
    ------
    InputError
        If there is neither, or what is there does not fit the model, or holds NaN or infinity.
    """
    name = (model.manifest.representation or {})["name"]
    if is_made_of_genes(adata, model):
        return read_new_cells(adata, model, min_overlap=min_overlap, n_jobs=n_jobs)
    if not has_slot(adata, name):
        msg = f"the map was made from {name!r}, which adata_all has not; its obsm has {listing(adata.obsm)}"
        remedy = "Old cells need the rows they had there, and new cells theirs in the same space"
        raise InputError(f"{msg}. {remedy}; vc.tl.represent makes these of genes, where the map has its PCA")
    return read_new_cells(adata, model, use_rep=name)


def as_in_the_map(model: Model, rows: NDArray[np.float32], n_jobs: int | None) -> NDArray[np.float32]:
    """Return rows, each that is a cell of the map but for rounding with that cell's own values."""
    if model.genes is None:
        return rows
    nearest = same_as_landmarks(model, rows, n_jobs)
    return np.where((nearest != MISSING)[:, None], model.arrays["reference"][nearest], rows)


def check_new_rows(
    adata: ad.AnnData, model: Model, rows: NDArray[np.float32], is_new: NDArray[np.bool_], n_jobs: int | None
) -> NDArray[np.float32] | None:
    """Raise `InputError` where stored components of new cells are not in the map's space.

    Told from their genes, where the model carries its PCA and they are there; else from where the components lie.

    Returns
    -------
    float32 ``(n_new, 2)``, how far they lie off the components, where their genes could be used.
    """
    representation, chain = model.manifest.representation or {}, model.genes
    fingerprint.check_fingerprint(rows[is_new], representation, representation["name"])
    if chain is None or representation["name"] not in adata.obsm or not _has_genes(adata, chain):
        return None
    known = model.novelty
    off = None if known is None else (known.variances, np.empty((int(is_new.sum()), 2), dtype=np.float32))
    try:
        made = read_components(adata[is_new], chain, chain.slot, "", min_overlap=1.0, off=off, n_jobs=n_jobs)
    except InputError as error:
        name = representation["name"]
        logger.warning(
            "obsm[%r] of the new cells is taken as it is; their genes cannot tell whether it is in the map's space: %s",
            name,
            error,
        )
        return None
    _compare(rows[is_new], made, representation["name"])
    return None if off is None else off[1]


def _compare(stored: NDArray[np.float32], made: NDArray[np.float32], name: str) -> None:
    off = np.linalg.norm(stored - made, axis=1) > FAR_OFF * np.linalg.norm(made, axis=1)
    if off.mean() > MOST_FAR_OFF:
        msg = f"obsm[{name!r}] of {int(off.sum()):,} of {len(off):,} new cells is not what the map's PCA makes of them"
        raise InputError(f"{msg}: it is of another PCA. vc.tl.represent(adata_all, model) writes it anew from genes")


def _has_genes(adata: ad.AnnData, chain: GeneChain) -> bool:
    return adata.n_vars > 0 and has_slot(adata, chain.slot)
