"""What an AnnData holds of how its maps were made."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np

from vicinal.contract.data import Layout
from vicinal.contract.errors import InputError, did_you_mean, listing
from vicinal.pipeline.repeat import MapRecord

from .keys import is_map

ARGUMENTS = "arguments"


def read_record(adata: ad.AnnData, key: str | None) -> MapRecord:
    """Return how a stored map was made; of the only one where no key is given.

    Raises
    ------
    InputError
        If there is no such map, there are several and no key, or it was made in another way.
    """
    keys = [name for name, entry in adata.uns.items() if isinstance(entry, Mapping) and ARGUMENTS in entry]
    if key is None and len(keys) != 1:
        several = f"adata.uns holds several maps, {listing(keys)}; name one with key="
        raise InputError(several if keys else "there is no map in adata.uns that vc.tl.embed made")
    chosen = keys[0] if key is None else _as_in_uns(key, adata.uns)
    if chosen not in keys:
        raise InputError(_why_not(adata.uns.get(chosen), chosen, keys))
    entry = adata.uns[chosen]
    if "update" in entry:
        msg = f"the map {chosen!r} was made by vc.tl.update from another, which is not stored with it"
        raise InputError(f"{msg}; call vc.tl.update again with what it was given")
    arguments = json.loads(str(entry[ARGUMENTS]))
    params = {name: _item(value) for name, value in entry["params"].items()}
    return MapRecord(
        key=chosen,
        params={**params, "random_state": int(params["random_state"])},  # text beyond 64 bits
        backends={stage: str(name) for stage, name in entry["backends"].items()},
        versions={name: str(version) for name, version in entry["versions"].items()},
        kept=arguments["kept"],
        again=arguments["again"],
        inputs={name: str(digest) for name, digest in entry.get("inputs", {}).items()},
        is_spectrum="exaggerations" in entry,
    )


def _as_in_uns(key: str, uns: Mapping[str, Any]) -> str:
    return key if key in uns else str(key).removeprefix("X_")


def _why_not(entry: object, key: str, keys: list[str]) -> str:
    if isinstance(entry, Mapping) and "projected_from" in entry:
        return f"the map {key!r} was made by vc.tl.project; project the cells again"
    if is_map(entry):
        return f"the map {key!r} is not recorded as one that vc.tl.embed made; make it with vc.tl.embed"
    return f"key={key!r} is no map in adata.uns; maps are under {listing(keys)}.{did_you_mean(key, keys)}"


def stored_places(adata: ad.AnnData, key: str) -> Layout | None:
    """Return the places of a map by its key in ``uns``; None where they are no longer there."""
    names = [name for name in (key, f"X_{key}") if name in adata.obsm]
    return np.asarray(adata.obsm[names[0]]) if names else None


def _item(value: Any) -> Any:
    return (
        value.item() if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.size == 1) else value
    )
