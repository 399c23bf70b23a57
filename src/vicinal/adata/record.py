"""What an AnnData holds of how its maps were made."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np

from vicinal.contract.data import Layout
from vicinal.contract.errors import InputError, ModelError, did_you_mean, listing
from vicinal.contract.schema import (
    Check,
    Misfit,
    anything,
    digits,
    either,
    flag,
    integer,
    json_of,
    list_of,
    mapping_of,
    name,
    number,
    numbers,
    phase_of,
    plain,
    record,
    text,
)
from vicinal.contract.schema import key as key_name
from vicinal.models.manifest import parse_handle
from vicinal.pipeline.local import sorted_by_trust
from vicinal.pipeline.repeat import MapRecord

from .keys import MapKeys, is_map, spellings
from .model import HANDLE

ARGUMENTS = "arguments"
PHASE = phase_of(mapping_of(either(flag, number(), text)))
GIVEN = record({"kept": mapping_of(plain), "again": mapping_of(text)})
COUNT = integer(0)
PARAMS = record(
    {"method": key_name, "n_epochs": COUNT, "n_components": COUNT, "random_state": either(integer(), digits)},
    {"n_epochs_planned": COUNT, "layout_epoch": COUNT, "n_neighbors": COUNT, "n_pcs": COUNT}
    | dict.fromkeys(("metric", "use_rep", "neighbors_key", "labels"), name)
    | {"metric_kwds": json_of(mapping_of(plain))}
    | {"phases": json_of(list_of(PHASE)), "sub_plans": json_of(list_of(mapping_of(plain)))},
    others=either(flag, integer(), number(-math.inf, math.inf), text),
)
ENTRY = record(
    {"backends": mapping_of(name), "versions": mapping_of(text)}, {"inputs": mapping_of(text)}, others=anything
)
HISTORY = record({"loss": numbers, "loss_epoch": numbers}, {"loss_parts": mapping_of(numbers)}, others=anything)

logger = logging.getLogger("vicinal")


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
    kept, again = _arguments(entry, chosen)
    params = {name: _item(value) for name, value in _part(entry, "params", chosen).items()}
    check(PARAMS, params, f"uns[{chosen!r}]['params']")
    check(ENTRY, entry, f"uns[{chosen!r}]")
    kept, local = sorted_by_trust(kept)
    if local:
        logger.info("Not taken from the record of %r, being of the machine it was made on: %s", chosen, listing(local))
    return MapRecord(
        key=chosen,
        params={**params, "random_state": int(params["random_state"])},  # text beyond 64 bits
        backends=dict(entry["backends"]),
        versions=dict(entry["versions"]),
        kept=kept,
        again=again,
        inputs=dict(entry.get("inputs", {})),
        is_spectrum="exaggerations" in entry,
        local=local,
    )


def check(schema: Check, values: Any, where: str) -> None:
    """Raise `InputError` unless a part of ``uns`` is what its schema allows."""
    try:
        schema(values, where)
    except Misfit as error:
        raise InputError(f"{error}. The record was altered; make the map again with vc.tl.embed") from None


def _part(entry: Mapping[str, Any], field: str, key: str) -> Mapping[str, Any]:
    check(mapping_of(anything), entry.get(field), f"uns[{key!r}][{field!r}]")
    return entry[field]


def _arguments(entry: Mapping[str, Any], key: str) -> tuple[dict[str, Any], dict[str, str]]:
    where = f"uns[{key!r}][{ARGUMENTS!r}]"
    found = parsed(entry[ARGUMENTS], where)
    check(GIVEN, found, where)
    return found["kept"], found["again"]


def parsed(value: Any, where: str) -> Any:
    """Return what JSON in ``uns`` says; raise `InputError` for what is none, or is nested deeply."""
    check(text, value, where)
    try:
        found = json.loads(value)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON ({error}); make the map again with vc.tl.embed") from None
    check(plain, found, where)
    return found


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
    names = [name for name in (basis_of(adata.uns.get(key)), *spellings(key)) if name in adata.obsm]
    return np.asarray(adata.obsm[names[0]]) if names else None


def basis_of(entry: object) -> str | None:
    """Return which map in ``obsm`` a value of ``uns`` tells of; None where it does not say."""
    if not isinstance(entry, Mapping) or HANDLE not in entry:
        return None
    try:
        return parse_handle(entry[HANDLE]).basis
    except ModelError:
        return None


def require_own_entry(adata: ad.AnnData, keys: MapKeys) -> None:
    """Raise `InputError` where ``uns`` tells of another map than the one in ``obsm``, of nearly the same name."""
    told = basis_of(adata.uns.get(keys.uns))
    if told != keys.obsm and told in spellings(keys.obsm) and told in adata.obsm:
        msg = f"uns[{keys.uns!r}] tells of the map {told!r}, so nothing is known or kept of {keys.obsm!r}"
        raise InputError(f"{msg}. Give it another name: adata.obsm['map'] = adata.obsm.pop({keys.obsm!r})")


def _item(value: Any) -> Any:
    return (
        value.item() if isinstance(value, np.generic) or (isinstance(value, np.ndarray) and value.size == 1) else value
    )
