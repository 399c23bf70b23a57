"""Between genes and principal components, where an AnnData holds what its PCA was made with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vicinal.contract.errors import InputError
from vicinal.models.genes import GeneChain
from vicinal.models.manifest import plain
from vicinal.models.match import match_genes
from vicinal.models.novelty import residuals
from vicinal.models.preprocessing import check_preprocessing, normalised_total, values_seen
from vicinal.pipeline.spool import new_rows

from .dense import Flaws, check_real, check_shape, dense_rows, dense_values
from .far import Center
from .pieces import has_whole_rows, pieces, readable
from .read import has_slot, slot_of
from .slots import genes_in_raw
from .stored import OnDisk

LOADINGS = {"X_pca": "PCs", "pca": "pca"}
"""Representation to the key of ``varm`` that holds its loadings."""
N_CHECKED, N_CHECKED_BACK, N_LOOKED_AT = 16, 50, 64
TOLERANCE, TOLERANCE_BACK = 1e-3, 1e-2
"""How far recomputed components may be from the stored ones, as a share of the largest: float32, another solver.
``BACK`` is for the way from components to genes."""
N_OF_A_PIECE = 2**13


@dataclass(frozen=True)
class GeneMap:
    """What makes genes of components: ``(components - offset) @ loadings.T + center``; of those that a model has.

    Attributes
    ----------
    loadings
        float32 ``(n_vars, n_components)``.
    center
        Mean of each gene, float32 ``(n_vars,)``.
    offset
        Mean of the components, float32 ``(n_components,)``.
    """

    loadings: NDArray[np.float32]
    center: NDArray[np.float32]
    offset: NDArray[np.float32]

    def genes(self, components: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return genes, ``(n, n_vars)``."""
        return np.asarray((components - self.offset) @ self.loadings.T + self.center, dtype=np.float32)


@dataclass(frozen=True, kw_only=True)
class _Pca:
    """A PCA as an AnnData has it: its loadings, its record, and the slot that it was made from."""

    loadings: NDArray[np.float64]
    components: NDArray[np.float32]
    params: Mapping[str, Any]
    slot: str


def read_gene_map(adata: ad.AnnData, name: str, n_components: int, taken_off: Center = None) -> GeneMap:
    """Return how the representation's components become genes, after recomputing those of some cells from ``.X``.

    Raises
    ------
    InputError
        If the representation is not a PCA whose loadings are there, or ``.X`` is not what it was made from.
    """
    try:
        pca = _read_pca(adata, name, n_components, taken_off)
        _check_fit(adata, pca, name, N_CHECKED_BACK, TOLERANCE_BACK)
    except InputError as error:
        raise InputError(f"genes cannot be had from {name!r}: {error}") from error
    center = _means(_genes_of(adata, pca.slot), np.arange(adata.n_vars))
    return GeneMap(pca.loadings.astype(np.float32), center, _mean_components(pca))


def read_gene_chain(
    adata: ad.AnnData, name: str, n_components: int, taken_off: Center = None
) -> GeneChain | str | None:
    """Return what makes a representation's components of genes, less what the model takes off them.

    Components of some cells are recomputed before. Means are over the cells that are there: of genes and of components
    alike, so that a part of the cells that the PCA saw is enough.

    Returns
    -------
    The chain; or a sentence that says why there is none; or None for a representation that is no PCA.
    """
    try:
        pca = _read_pca(adata, name, n_components, taken_off)
        error = _check_fit(adata, pca, name, N_CHECKED, TOLERANCE)
        return _chain(adata, pca, error)
    except InputError as reason:
        return str(reason) if name in LOADINGS or name in adata.varm else None


def _chain(adata: ad.AnnData, pca: _Pca, error: float) -> GeneChain:
    used = np.flatnonzero((pca.loadings != 0).any(axis=1))
    names = tuple(map(str, adata.var_names[used]))
    if len(set(names)) < len(names):
        raise InputError("names of genes repeat in adata.var_names; adata.var_names_make_unique() tells them apart")
    genes = _genes_of(adata, pca.slot)
    mean = _means(genes, used)
    if not np.isfinite(mean).all():
        raise InputError(f"{_shown(pca.slot)} holds NaN or infinite values")
    log1p = _log1p(adata)
    rows = some_rows(genes, N_LOOKED_AT)
    saw = {
        "slot": pca.slot,
        "log1p": log1p,
        "target_sum": normalised_total(rows, log1p),
        "values": values_seen(rows),
        "pca": plain(pca.params),
        "checked": {"n_cells": min(N_CHECKED, adata.n_obs), "error": float(f"{error:.2g}")},
    }
    loadings = np.ascontiguousarray(pca.loadings[used], dtype=np.float32)
    return GeneChain(names=names, loadings=loadings, mean=mean, offset=_mean_components(pca), saw=saw)


def _read_pca(adata: ad.AnnData, name: str, n_components: int, taken_off: Center) -> _Pca:
    key = _loadings_key(adata, name)
    if name not in adata.obsm or key not in adata.varm:
        msg = "that needs a PCA, its loadings in adata.varm, and .X"
        raise InputError(f"{msg}; sc.pp.pca(adata) writes obsm['X_pca'] and varm['PCs']")
    loadings = np.asarray(adata.varm[key], dtype=np.float64)
    if loadings.ndim != 2 or loadings.shape[1] < n_components:
        raise InputError(f"varm[{key!r}] has shape {loadings.shape}, the representation {n_components} columns")
    loadings = loadings[:, :n_components]
    # Old versions of scanpy have NaN for genes that the PCA did not see.
    loadings = np.where(np.isnan(loadings).all(axis=1, keepdims=True), 0, loadings)
    params = _params(adata, "pca" if key in LOADINGS.values() else name)
    slot = str(params.get("layer") or "X")
    if not has_slot(adata, slot):
        raise InputError(f"{_shown(slot)}, which the PCA was made from, is not there")
    columns = np.arange(min(n_components, adata.obsm[name].shape[1]))
    components = dense_values(adata.obsm[name], name, adata.obs_names, columns, center=taken_off)
    return _Pca(loadings=loadings, components=components, params=params, slot=slot)


def _loadings_key(adata: ad.AnnData, name: str) -> str:
    key = LOADINGS.get(name, name)
    return key if key in adata.varm else "PCs"


def _params(adata: ad.AnnData, key: str) -> Mapping[str, Any]:
    entry = adata.uns.get(key)
    params = entry.get("params") if isinstance(entry, Mapping) else None
    return params if isinstance(params, Mapping) else {}


def _check_fit(adata: ad.AnnData, pca: _Pca, name: str, n_checked: int, tolerance: float) -> float:
    """Return how far components made anew are from those stored, both less their means over the cells looked at."""
    if adata.n_obs < 2:
        raise InputError("one cell does not show whether .X is what the PCA was made from")
    some = _spread(adata.n_obs, n_checked)
    stored = np.asarray(pca.components[some], dtype=np.float64)
    made = some_rows(_genes_of(adata, pca.slot), n_checked) @ pca.loadings
    largest = np.abs(stored).max()
    off = np.abs((made - made.mean(axis=0)) - (stored - stored.mean(axis=0))).max()
    if not (largest > 0 and off <= tolerance * largest):
        found = f"made anew from {_shown(pca.slot)}, its components are not those that are stored"
        share = f"they differ by {off / largest:.1%} of the largest" if largest > 0 else "all of those are 0"
        raise InputError(f"{found}: {share}. It is no longer what the PCA of {name!r} saw, or that PCA is approximate")
    return float(off / largest)


def _mean_components(pca: _Pca) -> NDArray[np.float32]:
    return np.asarray(pca.components.mean(axis=0, dtype=np.float64), dtype=np.float32)


def _means(stored: Any, columns: NDArray[np.intp]) -> NDArray[np.float32]:
    sums = np.zeros(len(columns))
    for _, places, piece in pieces(stored, columns):
        sums[places] += piece.sum(axis=0, dtype=np.float64)
    return np.asarray(sums / stored.shape[0], dtype=np.float32)


def _log1p(adata: ad.AnnData) -> dict[str, Any] | None:
    """Return what scanpy recorded of a logarithm; files of some versions lose a base that is None."""
    entry = adata.uns.get("log1p")
    if not isinstance(entry, Mapping):
        return None
    base = plain(entry.get("base"))
    return {"base": float(base) if isinstance(base, int | float) and base > 1 else None}


def some_rows(stored: Any, n_rows: int) -> NDArray[np.float64]:
    """Return at most so many rows of what is `readable`, spread over all, as float64."""
    some = _spread(stored.shape[0], n_rows)
    if isinstance(stored, OnDisk):
        return np.asarray(stored.rows(some), dtype=np.float64)
    if sparse.issparse(stored):
        return np.asarray(stored[some].toarray(), dtype=np.float64)
    rows = stored[some]
    rows = rows.compute() if hasattr(rows, "compute") else rows
    return np.asarray(rows.toarray() if sparse.issparse(rows) else rows, dtype=np.float64)


def _genes_of(adata: ad.AnnData, slot: str) -> Any:
    return readable(slot_of(adata, slot), slot)


def _spread(n: int, n_wanted: int) -> NDArray[np.intp]:
    return np.unique(np.linspace(0, n - 1, n_wanted).astype(np.intp))


def read_components(
    adata: ad.AnnData,
    chain: GeneChain,
    slot: str,
    otherwise: str,
    *,
    min_overlap: float,
    off: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None,
    n_jobs: int | None = None,
) -> NDArray[np.float32]:
    """Return components of new cells, made of their genes; a piece of the cells is held at a time.

    Parameters
    ----------
    off
        Variances of the residuals, and float32 ``(n_obs, 2)`` that is filled with how far cells lie off the components.

    Raises
    ------
    InputError
        If too many genes are missing, they are not what the reference's were, or hold NaN or infinity.
    """
    stored = slot_of(adata, slot)
    check_shape(stored, slot)
    stored = readable(stored, slot)
    check_real(stored, slot)
    given = list(map(str, adata.var_names))
    remedy = genes_in_raw(adata, chain.names) + otherwise
    match = match_genes(chain.names, given, chain.weights, min_overlap, others=_other_names(adata), otherwise=remedy)
    check_preprocessing(chain.saw, some_rows(stored, N_LOOKED_AT), _log1p(adata), _shown(slot), otherwise)
    made = new_rows((adata.n_obs, chain.loadings.shape[1]), slot)
    flaws = Flaws(adata.n_obs)
    with np.errstate(over="ignore", invalid="ignore"):
        for rows, piece in whole_rows(stored, slot, match.columns, adata.obs_names):
            values = np.ascontiguousarray(piece, dtype=np.float32)
            flaws.look_at(values, rows)
            made[rows] = chain.components(values, match.present, n_jobs)
            if off is not None:
                off[1][rows] = residuals(chain, off[0], values, made[rows], match.present, n_jobs)
    flaws.require_none(slot, adata.obs_names)
    return made


def whole_rows(stored: Any, name: str, columns: NDArray[np.intp], obs_names: Any) -> Iterator[tuple[slice, np.ndarray]]:
    """Yield rows of the wanted columns; those stored by columns are first put together, in a file if they are large."""
    if has_whole_rows(stored, columns):
        for rows, _, piece in pieces(stored, columns):
            yield rows, piece
        return
    values = dense_rows(stored, name, obs_names, columns)
    for start in range(0, len(values), N_OF_A_PIECE):
        rows = slice(start, min(start + N_OF_A_PIECE, len(values)))
        yield rows, values[rows]


def _other_names(adata: ad.AnnData) -> dict[str, list[str]]:
    """Return the columns of ``var`` that may hold other names of the genes."""
    columns = [name for name in adata.var if adata.var[name].dtype.kind not in "fiubc"]
    return {str(name): list(map(str, adata.var[name])) for name in columns}


def check_same_pca(adata: ad.AnnData, chain: GeneChain, name: str) -> None:
    """Raise `InputError` where the loadings beside new components are not the model's, by the genes both have."""
    key = _loadings_key(adata, name)
    if key not in adata.varm:
        return
    theirs = np.asarray(adata.varm[key], dtype=np.float64)
    place = {name: row for row, name in enumerate(map(str, adata.var_names))}
    shared = [(i, place[gene]) for i, gene in enumerate(chain.names) if gene in place]
    n_components = chain.loadings.shape[1]
    if not shared or theirs.ndim != 2 or theirs.shape[1] < n_components:
        return
    own_rows, their_rows = np.array(shared).T
    known, found = chain.loadings[own_rows], np.nan_to_num(theirs[their_rows, :n_components])
    if np.linalg.norm(known - found) > TOLERANCE_BACK * np.linalg.norm(known):
        msg = f"{name!r} was made by another PCA than the model's: varm[{key!r}] holds other loadings"
        remedy = "leave out use_rep, and the cells are projected from their genes"
        unless = f"if {name!r} was made by the model's PCA all the same, del adata_new.varm[{key!r}]"
        raise InputError(f"{msg}; {remedy}. Or, {unless}")


def _shown(slot: str) -> str:
    return ".X" if slot == "X" else f"layers[{slot!r}]"
