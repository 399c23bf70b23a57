"""What a projection writes: places, what they were made from, and which cells are strangers."""

from __future__ import annotations

import json
from typing import Any

import anndata as ad
import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import Layout
from vicinal.contract.metrics import kwds_as_json
from vicinal.models.store import Model
from vicinal.models.strangers import Strangers

from .keys import MapKeys, check_free, check_free_for_strangers, map_keys, stranger_columns
from .read import check_adata, check_writable
from .write import put_projection


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
        **({"metric_kwds": kwds_as_json(kwds)} if (kwds := representation.get("metric_kwds")) else {}),
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
        entry["strangers"] = stranger_record(strangers, parked=parked)
    return put_projection(adata, places, entry, keys, stranger_values(strangers, keys), copy=copy)


def stranger_record(strangers: Strangers | str, *, parked: bool) -> dict[str, Any]:
    """Return what ``uns`` says of flags, or why there are none."""
    if isinstance(strangers, str):
        return {"unavailable": strangers}
    return {
        "level": float(strangers.level),
        "n_strangers": int(strangers.flags.sum()),
        "n_reference": strangers.n_reference,
        "parked": parked,
    }


def stranger_values(
    strangers: Strangers | str | None, keys: MapKeys, is_new: NDArray[np.bool_] | None = None
) -> dict[str, np.ndarray]:
    """Return the columns of ``obs``; where only some of the cells are new, NaN and no flag for the others."""
    if strangers is None or isinstance(strangers, str):
        return {}
    values: list[np.ndarray] = [strangers.scores, strangers.p_values, strangers.flags]
    if is_new is not None:
        values = [_among(known, is_new) for known in values]
    return dict(zip(stranger_columns(keys), values, strict=True))


def _among(values: np.ndarray, is_new: NDArray[np.bool_]) -> np.ndarray:
    every = np.full(len(is_new), False if values.dtype == bool else np.nan, dtype=values.dtype)
    every[is_new] = values
    return every
