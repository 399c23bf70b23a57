"""The genes of the cells that new ones are compared with, read for a model's calibration."""

from __future__ import annotations

import anndata as ad
import numpy as np
from numpy.typing import NDArray

from vicinal.contract.errors import InputError
from vicinal.contract.seeds import child_seed, generator
from vicinal.kernels.processors import threads_for
from vicinal.models.genes import GeneChain
from vicinal.models.match import match_genes
from vicinal.models.novelty import calibrate, n_asked, saw_these_alone, suffice
from vicinal.models.store import Model, with_novelty

from .genes import whole_rows
from .pieces import readable
from .read import slot_of


def with_calibration(model: Model, adata: ad.AnnData, rows: NDArray[np.float32]) -> Model:
    """Return a model that knows how strange its own cells look to a PCA which has not seen them.

    Left as it is where it takes no genes, where its PCA saw other cells than these too, or where cells are few.
    """
    chain, representation = model.genes, model.manifest.representation or {}
    if chain is None or not saw_these_alone(chain, rows):
        return model
    some = _sample(adata.n_obs, n_asked(len(model.reference), len(chain.names)))
    if not suffice(len(some), representation["n_features"]):
        return model
    try:
        genes = _genes_of(adata, chain, some)
    except InputError:  # they are not as in the chain: nothing new is refused here
        return model
    n_jobs = threads_for(None)
    return with_novelty(model, calibrate(genes, representation["n_features"], representation["metric"], n_jobs=n_jobs))


def _sample(n_obs: int, most: int) -> NDArray[np.intp]:
    if n_obs <= most:
        return np.arange(n_obs)
    return np.sort(generator(child_seed(0, "novelty")).choice(n_obs, most, replace=False))


def _genes_of(adata: ad.AnnData, chain: GeneChain, some: NDArray[np.intp]) -> NDArray[np.float32]:
    """Return the genes of some cells, float32 ``(n, n_genes)``; a piece of all cells is held at a time."""
    names = list(map(str, adata.var_names))
    match = match_genes(chain.names, names, chain.weights, 1.0)
    if len(match.present) < len(chain.names):
        raise InputError("some of the model's genes are not in var_names")
    genes = np.empty((len(some), len(chain.names)), dtype=np.float32)
    for rows, piece in whole_rows(
        readable(slot_of(adata, chain.slot), chain.slot), chain.slot, match.columns, adata.obs_names
    ):
        first, last = np.searchsorted(some, [rows.start, rows.stop])
        genes[first:last] = piece[some[first:last] - rows.start]
    return genes
