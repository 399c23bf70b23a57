"""Where cells are brought into a model's space: the slot of their genes, and that of their components."""

from __future__ import annotations

import logging

import anndata as ad
import numpy as np
from numpy.typing import NDArray

from vicinal.contract.errors import InputError, did_you_mean, listing
from vicinal.models.genes import GeneChain

from .far import Center, shifted
from .read import has_slot

logger = logging.getLogger("vicinal")


def gene_slot(adata: ad.AnnData, chain: GeneChain, use_rep: str | None) -> str:
    """Return where the genes of cells are; raise `InputError` where there are none."""
    slot = chain.slot if use_rep is None else use_rep
    is_there = isinstance(slot, str) and slot not in adata.obsm and has_slot(adata, slot)
    if is_there and adata.n_vars > 0:
        return slot
    options = ["X", *adata.layers]
    shown = f"use_rep={use_rep!r}" if use_rep is not None else f"the slot {slot!r}, which the model reads genes from,"
    raise InputError(
        f"{shown} holds no genes in adata_new; give one of {listing(options)}.{did_you_mean(slot, options)}"
    )


def say_what_is_replaced(adata: ad.AnnData, name: str, made: NDArray[np.float32], center: Center) -> None:
    """Warn where ``obsm`` has other values under a name that components, here without their center, are written to."""
    before = adata.obsm.get(name)
    if before is None:
        return
    there = before if center is None or np.shape(before) != made.shape else shifted(np.asarray(before), center)
    is_same = np.shape(there) == made.shape and np.allclose(
        np.asarray(there), made, rtol=0, atol=1e-3 * np.abs(made).max()
    )
    if not is_same:
        logger.warning("obsm[%r] held other values, which are replaced by components in the model's space", name)
