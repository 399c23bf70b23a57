"""Models out of an AnnData: the handle in ``uns``, and the rows that a model reads."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import Layout
from vicinal.contract.errors import InputError, ModelError, did_you_mean, listing
from vicinal.models import fingerprint
from vicinal.models.genes import RECORD, GeneChain
from vicinal.models.manifest import Manifest, parse_handle
from vicinal.models.match import match_columns
from vicinal.models.network import apply_network
from vicinal.models.store import MAX_LANDMARKS, NETWORK, Model, check_kind, from_handle, from_reference, with_genes

from .dense import check_shape, dense_values
from .far import center_in
from .genes import N_CHECKED, check_same_pca, read_components, read_gene_chain
from .keys import doubt_of, feature_names
from .kinds import is_mudata
from .novelty import with_calibration
from .read import check_adata, has_slot, read_layout, slot_of
from .slots import adopt_hint, filled, raw_hint

HANDLE = "model"
ANOTHER_MAP = "vc.tl.embed(adata, use_rep=...)"
MIN_OVERLAP = 0.9
"""Share of the squared loadings that the genes of new cells must have."""

logger = logging.getLogger("vicinal")


def model_from_adata(
    adata: ad.AnnData,
    key: str | None = None,
    *,
    max_landmarks: int = MAX_LANDMARKS,
    genes: bool = True,
    novelty: bool = True,
) -> Model:
    """Return the self-contained model of a map in an AnnData.

    Parameters
    ----------
    genes
        Whether it carries the way from genes to components, where the map was made from a PCA; that reads ``.X`` once.
    novelty
        Whether it then also knows how strange its own cells look to a PCA that has not seen them, which takes five.

    Raises
    ------
    ModelError
        If there is no such handle, or several and no ``key``, or the map was made from a graph alone.
    InputError
        If the map or its representation is no longer there.
    """
    if not (isinstance(adata, ad.AnnData) or is_mudata(adata)):
        raise InputError(
            f"model is a {type(adata).__name__}; expected a Model, the path of one, or an AnnData that carries one"
        )
    key, handle = find_handle(adata, key)
    check_kind(handle)
    if handle.representation is None and (doubt := doubt_of(adata.uns[key])):
        raise ModelError(f"the map {key!r} places no new cells: {doubt}. Make it again with {ANOTHER_MAP}")
    if handle.representation is None:
        msg = (
            f"the map {key!r} was made from a graph alone: there is no representation to find new cells' neighbours"
            " in; make it again with vc.tl.embed(adata, use_rep=...)"
        )
        raise ModelError(msg)
    if handle.kind == NETWORK:
        model = from_handle(handle, adata.uns[key][HANDLE].get("arrays", {}))
        return _with_what_it_read(model, adata, key, novelty=novelty) if genes else model
    features = feature_names(adata, handle.representation)
    reference = read_representation_like(adata, handle.representation, None)
    layout = _read_places(adata, key, handle.basis)
    if features is None:
        handle = _with_fingerprint(handle, reference)
    model = from_reference(handle, reference, layout, features=features, max_landmarks=max_landmarks)
    return _with_genes(model, adata, key, reference, novelty=novelty) if genes else model


def _with_fingerprint(handle: Manifest, reference: NDArray[np.float32]) -> Manifest:
    known = {**(handle.representation or {}), fingerprint.FIELD: fingerprint.fingerprint_of(reference)}
    return dataclasses.replace(handle, representation=known)


def _with_what_it_read(model: Model, adata: ad.AnnData, key: str, *, novelty: bool) -> Model:
    """Return a network with what is known of its rows, if those in the AnnData are still what it was trained on."""
    representation, basis = model.manifest.representation, model.manifest.basis
    assert representation is not None
    if model.manifest.features is not None or representation["name"] not in adata.obsm:
        return model
    try:
        rows = read_representation_like(adata, representation, None)
        layout = read_layout(adata, str(basis)) if basis in adata.obsm else None
    except InputError:  # they are not what they were, which a network can do without
        return model
    assert model.fitted is not None
    if model.fitted.encoder.layers and layout is not None:
        some = np.unique(np.linspace(0, len(rows) - 1, N_CHECKED).astype(np.intp))
        stored = layout[some]
        made = apply_network(model.manifest, model.fitted.encoder, rows[some])
        if made.shape != stored.shape or not np.allclose(made, stored, rtol=0, atol=1e-3 * np.abs(stored).max()):
            name = representation["name"]
            found = f"obsm[{name!r}] or the map has changed: the network makes other places of it than are stored"
            return with_genes(model, found)
    model = Model(_with_fingerprint(model.manifest, rows), model.arrays)
    return _with_genes(model, adata, key, rows, novelty=novelty)


def _with_genes(model: Model, adata: ad.AnnData, key: str, rows: NDArray[np.float32], *, novelty: bool) -> Model:
    assert model.manifest.representation is not None
    name, n_features = model.manifest.representation["name"], model.manifest.representation["n_features"]
    if name not in adata.obsm:
        return model
    found = read_gene_chain(adata, name, n_features, center_in(model.manifest.representation))
    if isinstance(found, str):
        logger.info("The model of %r does not take cells as genes, only as rows of %r: %s", key, name, found)
    model = with_genes(model, found)
    return with_calibration(model, adata, rows) if novelty else model


def find_handle(adata: ad.AnnData, key: str | None) -> tuple[str, Manifest]:
    """Return the key of the one map that carries a model, and its manifest."""
    keys = [name for name, entry in adata.uns.items() if _is_handle(entry)]
    if not keys:
        hint = adopt_hint(adata, key)
        raise ModelError(f"there is no model in adata.uns; make a map with vc.tl.embed(adata){hint and '.'}{hint}")
    if key is None and len(keys) > 1:
        raise ModelError(f"adata.uns holds several models, {listing(keys)}; name one with key=")
    chosen = keys[0] if key is None else key
    if chosen not in keys:
        msg = f"key={key!r} has no model in adata.uns; models are under {listing(keys)}.{did_you_mean(key, keys)}"
        raise ModelError(f"{msg}{adopt_hint(adata, key)}")
    return chosen, parse_handle(adata.uns[chosen][HANDLE])


def _is_handle(entry: object) -> bool:
    handle = entry.get(HANDLE) if isinstance(entry, Mapping) else None
    return isinstance(handle, Mapping) and "manifest" in handle


def _read_places(adata: ad.AnnData, key: str, basis: str | None) -> Layout:
    if basis is None or basis not in adata.obsm:
        raise InputError(f"the map {basis!r} of the model {key!r} is not in adata.obsm; it has {listing(adata.obsm)}")
    return read_layout(adata, basis)


@dataclass(frozen=True)
class NewCells:
    """New cells in a model's space.

    Attributes
    ----------
    rows
        float32 ``(n, n_features)``.
    off
        float32 ``(n, 2)``: how far they lie off the components; None where their genes are not known.
    """

    rows: NDArray[np.float32]
    off: NDArray[np.float32] | None = None


def read_rows(
    adata_new: ad.AnnData,
    model: Model,
    *,
    use_rep: str | None = None,
    min_overlap: float = MIN_OVERLAP,
    n_jobs: int | None = None,
) -> NDArray[np.float32]:
    """Return the rows of `read_new_cells` alone."""
    return read_new_cells(adata_new, model, use_rep=use_rep, min_overlap=min_overlap, n_jobs=n_jobs).rows


def read_new_cells(
    adata_new: ad.AnnData,
    model: Model,
    *,
    use_rep: str | None = None,
    min_overlap: float = MIN_OVERLAP,
    n_jobs: int | None = None,
) -> NewCells:
    """Return new cells in the representation a model was made from.

    Rows are made of genes where the model can do so and ``use_rep`` is None or names ``"X"`` or a layer. Else they are
    read from the slot that ``use_rep`` or the model names.

    Raises
    ------
    InputError
        If they are missing, of another width, other genes or another representation, or hold NaN or infinity.
    """
    check_adata(adata_new)
    assert model.manifest.representation is not None
    representation, chain = dict(model.manifest.representation), model.genes
    slot = _slot_to_read(adata_new, chain, representation["name"], use_rep)
    if chain is not None and slot not in adata_new.obsm and _has_genes(adata_new, slot):
        name, known = representation["name"], model.novelty
        otherwise = f". Or give use_rep={name!r}, if obsm holds the components" if name in adata_new.obsm else ""
        off = None if known is None else (known.variances, np.empty((adata_new.n_obs, 2), dtype=np.float32))
        asked = {"min_overlap": min_overlap, "off": off, "n_jobs": n_jobs}
        rows = read_components(adata_new, chain, slot, otherwise, **asked)  # type: ignore[arg-type]
        return NewCells(rows, None if off is None else off[1])
    _check_there(adata_new, slot, model)
    rows = read_representation_like(adata_new, {**representation, "name": slot}, model.manifest.features)
    if chain is not None:
        check_same_pca(adata_new, chain, slot)
    fingerprint.check_fingerprint(rows, representation, slot)
    return NewCells(rows)


def _check_there(adata: ad.AnnData, slot: str, model: Model) -> None:
    """Raise `InputError` where rows are missing and the model says why genes would not do."""
    absent = model.manifest.extra.get(RECORD, {}).get("absent")
    if absent is not None and not has_slot(adata, slot):
        there = f"this AnnData has not; its obsm has {listing(adata.obsm)}"
        raise InputError(f"the model reads {slot!r}, which {there}. Genes will not do: when it was saved, {absent}")


def _slot_to_read(adata: ad.AnnData, chain: GeneChain | None, name: str, use_rep: str | None) -> str:
    if use_rep is None:
        return chain.slot if chain is not None and _has_genes(adata, chain.slot) else name
    if not isinstance(use_rep, str) or not has_slot(adata, use_rep):
        options = filled(adata)
        hint = did_you_mean(use_rep, options) + raw_hint(adata, "adata_new")
        raise InputError(f"use_rep={use_rep!r} is not in adata_new; it has {listing(options)}.{hint}")
    return use_rep


def _has_genes(adata: ad.AnnData, slot: str) -> bool:
    return adata.n_vars > 0 and has_slot(adata, slot)


def check_overlap(min_overlap: object) -> None:
    """Raise `InputError` for what is no share."""
    is_number = isinstance(min_overlap, int | float) and not isinstance(min_overlap, bool)
    if not is_number or not 0 < min_overlap <= 1:  # type: ignore[operator]
        raise InputError(f"min_overlap={min_overlap!r} is not allowed; give a number above 0, at most 1")


def read_representation_like(
    adata: ad.AnnData, representation: Mapping[str, Any], features: Sequence[str] | None
) -> NDArray[np.float32]:
    """Return cells in the representation that a record describes, its columns matched by name where they have some.

    Raises
    ------
    InputError
        If it is missing, has another number of columns or other names, or holds NaN or infinity.
    """
    name, n_features = representation["name"], representation["n_features"]
    if not has_slot(adata, name):
        msg = (
            f"the model reads {name!r}, which this AnnData has not; its obsm has {listing(adata.obsm)}. Compute it for"
            " these cells as it was for the reference (the same PCA or network), and store it under that name"
        )
        raise InputError(f"{msg}.{hint}" if (hint := raw_hint(adata, "adata_new")) else msg)
    stored, columns = slot_of(adata, name), None
    check_shape(stored, name)
    if features is not None:
        columns = match_columns(features, list(adata.var_names))
    elif representation["n_pcs"] is not None:
        columns = np.arange(min(representation["n_pcs"], stored.shape[1]))
    n_columns = stored.shape[1] if columns is None else len(columns)
    if n_columns != n_features:
        msg = f"{name!r} has {n_columns} columns here; the model was made from {n_features}"
        raise InputError(msg)
    return dense_values(stored, name, adata.obs_names, columns, center=center_in(representation))
