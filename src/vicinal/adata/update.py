"""Which of the cells are in a map already, and where; how far they were moved, as it is stored."""

from __future__ import annotations

import dataclasses
import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import anndata as ad
import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import MISSING, Layout
from vicinal.contract.errors import InputError
from vicinal.models.inference import place, row_bytes
from vicinal.models.store import Model

from .far import Center, center_in, put_back
from .joint_rows import as_in_the_map, check_new_rows, is_made_of_genes, joint_rows
from .keys import MapKeys
from .model import MIN_OVERLAP, model_from_adata, read_rows
from .read import read_layout
from .write import put_grown, storable

SAME_ROW = 1e-3
"""How far a row may be from that of its name in the map, in root mean squares of the map's rows: float32, a file."""

logger = logging.getLogger("vicinal")


@dataclass(frozen=True, kw_only=True)
class OldMap:
    """A map that cells are added to.

    Attributes
    ----------
    names
        Of its cells; None where it came from a file.
    rows
        Of its cells in the representation, less the model's center, float32 ``(n, n_features)``.
    layout
        Their places, float32 ``(n, n_components)``.
    """

    model: Model
    names: tuple[str, ...] | None
    rows: NDArray[np.float32]
    layout: Layout


@dataclass(frozen=True, kw_only=True)
class Joint:
    """Old and new cells together.

    Attributes
    ----------
    rows
        Of all cells in the map's representation, less its center.
    first
        Their places before any move.
    spread
        Root mean square distance of the map's cells from their mean.
    made
        Whether the rows were made of genes, and are not in the AnnData.
    off
        How far new cells lie off the components, float32 ``(n_new, 2)``; None where that is not known.
    """

    old: OldMap
    rows: NDArray[np.float32]
    is_new: NDArray[np.bool_]
    first: Layout
    spread: float
    made: bool = False
    off: NDArray[np.float32] | None = None

    @property
    def components(self) -> dict[str, NDArray[Any]]:
        """What is to be written beside the map, by its key in ``obsm``: rows that were made, with their center."""
        name = (self.old.model.manifest.representation or {})["name"]
        return {name: put_back(self.rows, self.center)} if self.made else {}

    @property
    def center(self) -> Center:
        """What was taken off the rows, as off those of the map; None for nothing."""
        return center_in(self.old.model.manifest.representation)


def read_old_map(adata: ad.AnnData, key: str | None, *, novelty: bool = True) -> OldMap:
    """Return the map of an AnnData with all its cells.

    Raises
    ------
    ModelError, InputError
        As `model_from_adata`; also if names of its cells repeat.
    """
    model = model_from_adata(adata, key, max_landmarks=adata.n_obs, novelty=novelty)
    if not adata.obs_names.is_unique:
        raise InputError("names of cells repeat in the map's AnnData; they are known by name: obs_names_make_unique()")
    rows = read_rows(adata, model, use_rep=(model.manifest.representation or {})["name"])
    layout = read_layout(adata, str(model.manifest.basis))
    return OldMap(model=model, names=tuple(map(str, adata.obs_names)), rows=rows, layout=layout)


def old_map_of(model: Model) -> OldMap:
    """Return the map of a model by itself.

    Raises
    ------
    InputError
        If it does not hold all cells of the map: the others could not be told from new ones.
    """
    if model.fitted is not None:
        msg = "the model is a network, which holds no cells: old ones cannot be told from new ones"
        raise InputError(f"{msg}. Give the AnnData of the map as model, or place all cells with vc.tl.project")
    if model.n_landmarks != model.manifest.n_obs_reference:
        msg = f"the model holds {model.n_landmarks:,} of the map's {model.manifest.n_obs_reference:,} cells: the others"
        raise InputError(f"{msg} could not be told from new ones. Give the AnnData of the map as model")
    return OldMap(model=model, names=None, rows=model.arrays["reference"], layout=model.arrays["layout"])


def join(
    adata: ad.AnnData, old: OldMap, *, encoder: Any, n_jobs: int | None, min_overlap: float = MIN_OVERLAP
) -> Joint:
    """Find the old cells, and place the new ones among them.

    Raises
    ------
    InputError
        As `joint_rows`, `match_cells`, `check_new_rows` and `vicinal.models.inference.place`.
    """
    cells = joint_rows(adata, old.model, min_overlap=min_overlap, n_jobs=n_jobs)
    rows, made = cells.rows, is_made_of_genes(adata, old.model)
    if old.names is None:
        rows = as_in_the_map(old.model, rows, n_jobs)
    found = match_cells(adata, rows, old)
    is_new = found == MISSING
    if made:  # they round otherwise than those of the map
        rows[~is_new] = old.rows[found[~is_new]]
    off = check_new_rows(adata, old.model, rows, is_new, n_jobs)
    off = off if cells.off is None else cells.off[is_new]
    first = np.empty((len(rows), old.layout.shape[1]), dtype=np.float32)
    first[~is_new] = old.layout[found[~is_new]]
    first[is_new] = place(old.model, rows[is_new], module=encoder, n_jobs=n_jobs)
    from_mean = old.layout - old.layout.mean(axis=0, dtype=np.float64)
    spread = float(np.sqrt(np.square(from_mean).sum(axis=1).mean()))
    return Joint(old=old, rows=rows, is_new=is_new, first=first, spread=spread, made=made, off=off)


def match_cells(adata: ad.AnnData, rows: NDArray[np.float32], old: OldMap) -> NDArray[np.intp]:
    """Return, for each cell, which cell of the map it is, -1 for a new one.

    By name where the map's cells have names, whose rows must then be the same; else by row.

    Raises
    ------
    InputError
        If no cell is of the map, or all are; if names repeat; if cells of one name have different rows.
    """
    found = _by_row(rows, old.rows) if old.names is None else _by_name(adata, old.names)
    if (found == MISSING).all():
        how = "has the row of one" if old.names is None else "has the name of one"
        msg = f"none of the {adata.n_obs:,} cells is a cell of the map: none {how}"
        raise InputError(f"{msg}. adata_all must hold old and new cells; new ones alone are placed by vc.tl.project")
    if (found != MISSING).all():
        raise InputError(f"all {adata.n_obs:,} cells of adata_all are in the map already; there is nothing to add")
    if old.names is not None:
        _check_rows(adata, rows, old, found)
    return found


def _by_name(adata: ad.AnnData, names: Sequence[str]) -> NDArray[np.intp]:
    place = {name: i for i, name in enumerate(names)}
    found = np.array([place.get(str(name), MISSING) for name in adata.obs_names], dtype=np.intp)
    there = found[found != MISSING]
    if len(np.unique(there)) < len(there):
        msg = "cells of the map are in adata_all several times by name; names must tell old cells from new ones"
        raise InputError(f"{msg}: give the new ones other names, as anndata.concat(..., index_unique='-') does")
    return found


def _by_row(rows: NDArray[np.float32], reference: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return which row of the reference each row equals; the first to come takes the first of several."""
    places: dict[bytes, list[int]] = defaultdict(list)
    for i, row in enumerate(row_bytes(reference)):
        places[row].append(i)
    queues = {row: iter(found) for row, found in places.items()}
    nothing = iter(())
    found = [next(queues.get(row, nothing), MISSING) for row in row_bytes(rows)]
    return np.array(found, dtype=np.intp)


def _check_rows(adata: ad.AnnData, rows: NDArray[np.float32], old: OldMap, found: NDArray[np.intp]) -> None:
    is_old = found != MISSING
    scale = float(np.sqrt(np.mean(np.square(old.rows, dtype=np.float64))))
    off = np.abs(rows[is_old] - old.rows[found[is_old]]).max(axis=1) > SAME_ROW * scale
    if off.any():
        name = (old.model.manifest.representation or {})["name"]
        first = str(adata.obs_names[is_old][off][0])
        msg = f"{int(off.sum()):,} of {int(is_old.sum()):,} cells with names of the map have other rows in {name!r}"
        why = "Are they other cells of the same name, or was the representation made anew? It must be that of the map"
        raise InputError(f"{msg}; the first is {first!r}. {why}: project new cells into it, as sc.tl.ingest does")


def check_columns(adata: ad.AnnData, model: Model) -> None:
    """Raise `InputError` where a map of genes would be made from others, or in another order, than the old one."""
    representation, features = model.manifest.representation or {}, model.manifest.features
    if features is None or model.genes is not None or representation["name"] in adata.obsm:
        return
    if tuple(map(str, adata.var_names[: representation["n_pcs"]])) != tuple(features):
        msg = "the genes of adata_all are not those of the map, in their order"
        raise InputError(f"{msg}; take those first: adata_all[:, reference.var_names].copy()")


def moved(joint: Joint, layout: Layout, max_drift: float) -> dict[str, Any]:
    """Return, and log, how far old cells were moved, in units of the map and as shares of its spread."""
    is_new, spread = joint.is_new, joint.spread
    moves = np.linalg.norm(np.subtract(layout[~is_new], joint.first[~is_new], dtype=np.float64), axis=1)
    n_new, n_old, median, largest = int(is_new.sum()), len(moves), float(np.median(moves)), float(moves.max())
    shares = [move / spread if spread > 0 else float("nan") for move in (median, largest)]  # 0: all in one place
    logger.info(
        "%s new cells added to %s; these moved by %.3g %% of the spread in the median, %.3g %% at most",
        f"{n_new:,}",
        f"{n_old:,}",
        100 * shares[0],
        100 * shares[1],
    )
    return {
        "n_old": n_old,
        "n_new": n_new,
        "is_new": is_new,
        "spread": spread,
        "max_drift": float(max_drift),
        "drift_median": median,
        "drift_max": largest,
        "drift_median_share": shares[0],
        "drift_max_share": shares[1],
    }


def write_network_update(
    adata: ad.AnnData,
    joint: Joint,
    keys: MapKeys,
    beside: Mapping[str, Any],
    columns: Mapping[str, np.ndarray],
    *,
    copy: bool,
) -> ad.AnnData | None:
    """Write places that a network gives, the network itself, and what is to stand beside it."""
    model = joint.old.model
    manifest = dataclasses.replace(model.manifest, basis=keys.obsm)
    entry = {
        "params": storable(manifest.params),
        "backends": dict(manifest.backends),
        "versions": dict(manifest.versions),
        "model": {"manifest": manifest.to_json(), "arrays": dict(model.arrays)},
        **beside,
    }
    return put_grown(adata, joint.first, entry, keys, columns, joint.components, copy=copy)
