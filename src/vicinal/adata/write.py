"""Writes a finished map; everything is prepared first, so that nothing is written halfway."""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np

from vicinal.contract.log import added
from vicinal.contract.source import EmbedResult
from vicinal.models.store import handle_of

from .keys import MapKeys, feature_names, has_strangers, stranger_columns


def write(
    adata: ad.AnnData,
    result: EmbedResult,
    keys: MapKeys,
    *,
    arguments: str,
    copy: bool,
    beside: Mapping[str, Any] | None = None,
    columns: Mapping[str, np.ndarray] | None = None,
    components: Mapping[str, np.ndarray] | None = None,
) -> ad.AnnData | None:
    """Put a map, its history, provenance and model handle into the AnnData.

    Parameters
    ----------
    arguments
        What was asked for, as JSON.
    beside
        Further entries of ``uns``.
    columns, components
        Of ``obs`` and of ``obsm``, written with the map or not at all.
    """
    entry = {
        "params": storable(result.params),
        "arguments": arguments,
        "inputs": dict(result.inputs),
        "loss": result.loss.total,
        "loss_epoch": result.loss.epochs,
        "loss_parts": dict(result.loss.parts),
        "backends": dict(result.backends),
        "reasons": dict(result.reasons),
        "versions": dict(result.reusable["versions"]),
        "timings": storable(result.timings),
        "score": storable(result.score),
        "model": handle_of(result.reusable, keys.obsm, _features(adata, result)),
    }
    if result.snapshots is not None:
        epochs = sorted(result.snapshots)
        shape = (len(epochs), *result.layout.shape)
        entry["snapshots"] = np.array([result.snapshots[e] for e in epochs], dtype=np.float32).reshape(shape)
        entry["snapshot_epochs"] = np.array(epochs, dtype=np.int64)
    if result.kept:
        entry["init"] = dict(result.kept)
    entry |= beside or {}
    if columns is None:
        made = put_map(adata, result.layout, entry, keys, copy=copy)
    else:
        made = put_grown(adata, result.layout, entry, keys, columns, components or {}, copy=copy)
    added(f"obsm[{keys.obsm!r}]", len(result.layout), result.timings["total"])
    return made


def _features(adata: ad.AnnData, result: EmbedResult) -> tuple[str, ...] | None:
    representation = result.reusable["representation"]
    return None if representation is None else feature_names(adata, representation)


def put_map(
    adata: ad.AnnData, layout: np.ndarray, entry: Mapping[str, Any], keys: MapKeys, *, copy: bool
) -> ad.AnnData | None:
    """Write coordinates and their entry, both or none, into the AnnData or a copy of it."""
    target = duplicate(adata) if copy else adata
    before = target.obsm.get(keys.obsm)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ad.ImplicitModificationWarning)  # a view becomes a copy, as users expect
        try:
            target.obsm[keys.obsm] = layout
            target.uns[keys.uns] = dict(entry)
        except BaseException:  # an interrupt between the two
            if before is not None:
                target.obsm[keys.obsm] = before
            else:
                target.obsm.pop(keys.obsm, None)
            raise
    return target if copy else None


def put_projection(
    adata: ad.AnnData,
    layout: np.ndarray,
    entry: Mapping[str, Any],
    keys: MapKeys,
    columns: Mapping[str, np.ndarray],
    *,
    copy: bool,
) -> ad.AnnData | None:
    """Write places, their entry and columns of ``obs``, all or none; flags of an earlier projection go."""
    target = duplicate(adata) if copy else adata
    stale = [name for name in stranger_columns(keys) if name in target.obs] if has_strangers(target, keys) else []
    if not columns and not stale:
        put_map(target, layout, entry, keys, copy=False)
        return target if copy else None
    before = target.obs.copy()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ad.ImplicitModificationWarning)
        try:
            target.obs = before.drop(columns=stale).assign(**columns)
            put_map(target, layout, entry, keys, copy=False)
        except BaseException:  # an interrupt between the two
            target.obs = before
            raise
    return target if copy else None


def put_grown(
    adata: ad.AnnData,
    layout: np.ndarray,
    entry: Mapping[str, Any],
    keys: MapKeys,
    columns: Mapping[str, np.ndarray],
    components: Mapping[str, np.ndarray],
    *,
    copy: bool,
) -> ad.AnnData | None:
    """Write a map as `put_projection` does, with components that ``obsm`` has not yet, all or none."""
    target = duplicate(adata) if copy else adata
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ad.ImplicitModificationWarning)
        try:
            for name, values in components.items():
                target.obsm[name] = values
            put_projection(target, layout, entry, keys, columns, copy=False)
        except BaseException:
            for name in components:
                target.obsm.pop(name, None)
            raise
    return target if copy else None


def put_components(adata: ad.AnnData, values: np.ndarray, key: str, *, copy: bool) -> ad.AnnData | None:
    """Write the rows of cells in a model's space, into the AnnData or a copy of it."""
    target = duplicate(adata) if copy else adata
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ad.ImplicitModificationWarning)
        target.obsm[key] = values
    return target if copy else None


def put_handle(adata: ad.AnnData, key: str, handle: Mapping[str, Any]) -> None:
    """Write a model handle beside what is stored of a map."""
    entry = adata.uns.get(key)
    kept = dict(entry) if isinstance(entry, Mapping) else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ad.ImplicitModificationWarning)
        adata.uns[key] = {**kept, "model": dict(handle)}


def put_score(adata: ad.AnnData, scores: Mapping[str, float], keys: MapKeys) -> None:
    """Write scores beside the map they are about."""
    entry = adata.uns.get(keys.uns)
    kept = dict(entry) if isinstance(entry, Mapping) else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ad.ImplicitModificationWarning)
        adata.uns[keys.uns] = {**kept, "score": storable(scores)}


def put_reconstruction(
    adata: ad.AnnData, values: np.ndarray, key: str, *, as_layer: bool, copy: bool
) -> ad.AnnData | None:
    """Write what a decoder made of the cells' places, into the AnnData or a copy of it."""
    target = duplicate(adata) if copy else adata
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ad.ImplicitModificationWarning)
        (target.layers if as_layer else target.obsm)[key] = values
    return target if copy else None


def put_neighbors(
    adata: ad.AnnData,
    *,
    key_added: str | None,
    params: Mapping[str, Any],
    metric_kwds: Mapping[str, Any],
    distances: Any,
    connectivities: Any,
) -> None:
    """Write neighbours into scanpy's slots."""
    kwds = {name: np.asarray(value) if isinstance(value, list) else value for name, value in metric_kwds.items()}
    prefix = "" if key_added in (None, "neighbors") else f"{key_added}_"
    names = {what: f"{prefix}{what}" for what in ("distances", "connectivities")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ad.ImplicitModificationWarning)
        adata.obsp[names["distances"]] = distances
        adata.obsp[names["connectivities"]] = connectivities
        adata.uns[key_added or "neighbors"] = {
            "distances_key": names["distances"],
            "connectivities_key": names["connectivities"],
            "params": {**storable(params), **({"metric_kwds": kwds} if kwds else {})},
        }


def duplicate(adata: ad.AnnData) -> ad.AnnData:
    """Return a copy in memory, of a backed AnnData too."""
    return adata.to_memory() if adata.isbacked else adata.copy()


def storable(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values in the types that h5ad and zarr give back unchanged; absent ones are left out."""
    return {name: _storable(value) for name, value in values.items() if value is not None}


def _storable(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool | float | str):
        return value
    if isinstance(value, int):
        return value if -(2**63) <= value < 2**63 else str(value)
    if isinstance(value, np.ndarray):
        return value
    return json.dumps(value, default=str)
