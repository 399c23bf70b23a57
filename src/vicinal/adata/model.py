"""Models in and out of an AnnData: the handle in ``uns``, the rows a model reads, the places it gives."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import anndata as ad
import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import Layout
from vicinal.contract.errors import InputError, ModelError, did_you_mean, listing
from vicinal.models.manifest import Manifest, parse_handle
from vicinal.models.match import match_columns
from vicinal.models.store import MAX_LANDMARKS, NETWORK, Model, check_kind, from_handle, from_reference
from vicinal.models.strangers import Strangers

from .dense import check_shape, dense_values
from .keys import MapKeys, check_free, check_free_for_strangers, feature_names, map_keys, stranger_columns
from .read import check_adata, check_writable, has_slot, read_layout, slot_of
from .write import put_projection

HANDLE = "model"


def model_from_adata(adata: ad.AnnData, key: str | None = None, *, max_landmarks: int = MAX_LANDMARKS) -> Model:
    """Return the self-contained model of a map in an AnnData.

    Raises
    ------
    ModelError
        If there is no such handle, or several and no ``key``, or the map was made from a graph alone.
    InputError
        If the map or its representation is no longer there.
    """
    if not isinstance(adata, ad.AnnData):
        raise InputError(
            f"model is a {type(adata).__name__}; expected a Model, the path of one, or an AnnData that carries one"
        )
    key, handle = find_handle(adata, key)
    check_kind(handle)
    if handle.representation is None:
        msg = (
            f"the map {key!r} was made from a graph alone: there is no representation to find new cells' neighbours"
            " in; make it again with vc.tl.embed(adata, use_rep=...)"
        )
        raise ModelError(msg)
    if handle.kind == NETWORK:
        return from_handle(handle, adata.uns[key][HANDLE].get("arrays", {}))
    features = feature_names(adata, handle.representation)
    reference = read_representation_like(adata, handle.representation, None)
    layout = _read_places(adata, key, handle.basis)
    return from_reference(handle, reference, layout, features=features, max_landmarks=max_landmarks)


def find_handle(adata: ad.AnnData, key: str | None) -> tuple[str, Manifest]:
    """Return the key of the one map that carries a model, and its manifest."""
    keys = [name for name, entry in adata.uns.items() if _is_handle(entry)]
    if not keys:
        raise ModelError("there is no model in adata.uns; make a map with vc.tl.embed(adata)")
    if key is None and len(keys) > 1:
        raise ModelError(f"adata.uns holds several models, {listing(keys)}; name one with key=")
    chosen = keys[0] if key is None else key
    if chosen not in keys:
        raise ModelError(
            f"key={key!r} has no model in adata.uns; models are under {listing(keys)}.{did_you_mean(key, keys)}"
        )
    return chosen, parse_handle(adata.uns[chosen][HANDLE])


def _is_handle(entry: object) -> bool:
    handle = entry.get(HANDLE) if isinstance(entry, Mapping) else None
    return isinstance(handle, Mapping) and "manifest" in handle


def _read_places(adata: ad.AnnData, key: str, basis: str | None) -> Layout:
    if basis is None or basis not in adata.obsm:
        raise InputError(f"the map {basis!r} of the model {key!r} is not in adata.obsm; it has {listing(adata.obsm)}")
    return read_layout(adata, basis)


def read_rows(adata_new: ad.AnnData, model: Model) -> NDArray[np.float32]:
    """Return the rows of new cells in the representation a model was made from.

    Raises
    ------
    InputError
        If the representation is missing, has another number of columns or other names, or holds NaN or infinity.
    """
    check_adata(adata_new)
    assert model.manifest.representation is not None
    return read_representation_like(adata_new, model.manifest.representation, model.manifest.features)


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
        raise InputError(msg)
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
    return dense_values(stored, name, adata.obs_names, columns)


def check_target(adata: ad.AnnData, model: Model, key_added: str | None, *, has_flags: bool = False) -> None:
    """Raise `InputError` where places or flags would overwrite something that is not a map, or not flags."""
    check_adata(adata)
    check_writable(adata)
    keys = map_keys(model.method, key_added)
    check_free(adata, keys, key_added)
    if has_flags:
        check_free_for_strangers(adata, keys)


def write_projection(
    adata: ad.AnnData,
    places: Layout,
    model: Model,
    *,
    key_added: str | None,
    copy: bool,
    strangers: Strangers | str | None = None,
    parked: bool = False,
) -> ad.AnnData | None:
    """Write places, what they were made from, and which cells are strangers, into the AnnData or a copy of it.

    Parameters
    ----------
    strangers
        Scores and flags; or why there are none, None where they were not asked for.
    parked
        The places of strangers were made NaN.
    """
    manifest = model.manifest
    representation = manifest.representation or {}
    params = {
        "method": manifest.method,
        "n_components": model.n_components,
        "n_neighbors": int(manifest.placement["n_neighbors"]),
        "use_rep": representation["name"],
        "metric": representation["metric"],
    }
    origin = {
        "kind": manifest.kind,
        "fingerprint": manifest.fingerprint,
        "n_obs_reference": manifest.n_obs_reference,
        "n_landmarks": model.n_landmarks,
        "representation": dict(representation),
        "placement": dict(manifest.placement),
        "versions": dict(manifest.versions),
    }
    entry: dict[str, Any] = {"params": params, "projected_from": json.dumps(origin)}
    keys = map_keys(model.method, key_added)
    if strangers is not None:
        entry["strangers"] = _stranger_record(strangers, parked)
    return put_projection(adata, places, entry, keys, _stranger_values(strangers, keys), copy=copy)


def _stranger_record(strangers: Strangers | str, parked: bool) -> dict[str, Any]:
    if isinstance(strangers, str):
        return {"unavailable": strangers}
    return {
        "level": float(strangers.level),
        "n_strangers": int(strangers.flags.sum()),
        "n_reference": strangers.n_reference,
        "parked": parked,
    }


def _stranger_values(strangers: Strangers | str | None, keys: MapKeys) -> dict[str, np.ndarray]:
    if strangers is None or isinstance(strangers, str):
        return {}
    values = strangers.scores, strangers.p_values, strangers.flags
    return dict(zip(stranger_columns(keys), values, strict=True))
