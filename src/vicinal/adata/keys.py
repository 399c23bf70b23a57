"""Which slots of an AnnData a map uses (scanpy's conventions)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vicinal.contract.errors import InputError, listing

if TYPE_CHECKING:
    from anndata import AnnData

DEFAULT_NEIGHBORS = "neighbors"


@dataclass(frozen=True)
class MapKeys:
    """The slots of one map: ``obsm[obsm]`` and ``uns[uns]``."""

    obsm: str
    uns: str


def check_key(key_added: object) -> None:
    """Raise `InputError` for what no file format can hold as a key."""
    if not isinstance(key_added, str) or not key_added or "/" in key_added:
        raise InputError(f"key_added={key_added!r} is not allowed; give a non-empty string without '/'")


def map_keys(method: str, key_added: str | None) -> MapKeys:
    """Return where a map is written: ``X_umap``/``umap``, or ``key_added`` for both."""
    if key_added is None:
        return MapKeys(f"X_{method}", method)
    check_key(key_added)
    return MapKeys(key_added, key_added)


def spellings(name: str) -> tuple[str, str, str]:
    """Return the keys of ``obsm`` that a name may mean, the nearest first: some tools begin them with ``X_``."""
    return name, f"X_{name}", name.removeprefix("X_")


def keys_of_basis(adata: AnnData, basis: str) -> MapKeys:
    """Return the slots of a stored map, found as ``obsm[basis]``, or with ``X_`` before it, or without."""
    for obsm in spellings(basis):
        if obsm in adata.obsm:
            in_uns = obsm in adata.uns or not obsm.startswith("X_")
            return MapKeys(obsm, obsm if in_uns else obsm.removeprefix("X_"))
    raise InputError(f"basis={basis!r} is not in adata.obsm; it has {listing(adata.obsm)}. Make a map with vc.tl.embed")


def check_free(adata: AnnData, keys: MapKeys, key_added: str | None) -> None:
    """Raise `InputError` where ``key_added`` would overwrite something that is not a map."""
    if key_added is None:
        return
    entry = adata.uns.get(keys.uns)
    slots = [f"obsm[{keys.obsm!r}]"] * (keys.obsm in adata.obsm) + [f"uns[{keys.uns!r}]"] * (entry is not None)
    if slots and not (keys.obsm in adata.obsm and is_map(entry)):
        msg = f"key_added={key_added!r} would overwrite {' and '.join(slots)}, which is not a map; choose another key"
        raise InputError(msg)


def stranger_columns(keys: MapKeys) -> tuple[str, str, str]:
    """Return the columns of ``obs`` for the score, the p-value and the flag of a projection's cells."""
    return f"{keys.uns}_stranger_score", f"{keys.uns}_stranger_p", f"{keys.uns}_is_stranger"


def check_free_for_strangers(adata: AnnData, keys: MapKeys) -> None:
    """Raise `InputError` where flags would overwrite columns of ``obs`` that no projection wrote."""
    columns = stranger_columns(keys)
    taken = [name for name in columns if name in adata.obs]
    # All of them together are a projection's, whose record in uns is lost when cells are concatenated.
    if taken and len(taken) < len(columns) and not has_strangers(adata, keys):
        msg = f"obs has {listing(taken)}, which are no flags of an earlier projection and would be overwritten"
        raise InputError(f"{msg}; choose another key_added, rename them, or give stranger_level=None")


def has_strangers(adata: AnnData, keys: MapKeys) -> bool:
    """Tell whether a projection or an update has written flags for this map."""
    entry = adata.uns.get(keys.uns)
    is_ours = isinstance(entry, Mapping) and not {"projected_from", "update"}.isdisjoint(entry)
    record = entry["strangers"] if is_ours and "strangers" in entry else None
    return isinstance(record, Mapping) and "level" in record


def check_free_for_neighbors(adata: AnnData, key_added: str | None) -> None:
    """Raise `InputError` where ``key_added`` would overwrite something that is not a set of neighbours."""
    if key_added is None:
        return
    check_key(key_added)
    if key_added != DEFAULT_NEIGHBORS and key_added in adata.uns and not is_neighbors(adata.uns[key_added]):
        msg = f"key_added={key_added!r} would overwrite uns[{key_added!r}], which is not neighbours; choose another key"
        raise InputError(msg)


def is_neighbors(entry: object) -> bool:
    """Tell whether a value of ``uns`` describes neighbours, also as it did before ``obsp`` existed."""
    return isinstance(entry, Mapping) and not {"connectivities_key", "connectivities"}.isdisjoint(entry)


def is_map(entry: object) -> bool:
    """Tell whether a value of ``uns`` describes a map, ours or scanpy's."""
    if not isinstance(entry, Mapping):
        return False
    params = entry.get("params")
    params = params if isinstance(params, Mapping) else {}
    ours = "backends" in entry or "projected_from" in entry
    return ours or {"a", "b"} <= set(params) or "perplexity" in params


def feature_names(adata: AnnData, representation: Mapping[str, Any]) -> tuple[str, ...] | None:
    """Return the names of a representation's columns where they are genes; None where they have none."""
    in_obsm = representation["name"] in adata.obsm
    return None if in_obsm else tuple(map(str, adata.var_names[: representation["n_pcs"]]))


def slot_of_map(method: str, key_added: str | None) -> str:
    """Return where a map is, as it is told."""
    return f"obsm[{map_keys(method, key_added).obsm!r}]"


def doubt_of(entry: object) -> str:
    """Return why it is not known what a map was made from; "" where nothing is recorded of that."""
    reasons = entry.get("reasons") if isinstance(entry, Mapping) else None
    doubt = reasons.get("score") if isinstance(reasons, Mapping) else None
    return doubt if isinstance(doubt, str) else ""
