"""Cells added to a map, whose own cells stay where they are, or nearly so."""

from __future__ import annotations

import logging
import math
import numbers
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from anndata import AnnData
from numpy.typing import NDArray

from vicinal.adata.keys import map_keys
from vicinal.adata.model import check_target
from vicinal.adata.read import read
from vicinal.adata.update import (
    OldMap,
    check_columns,
    drift_record,
    match_cells,
    old_map_of,
    read_old_map,
    rows_as_stored,
    write_network_update,
)
from vicinal.adata.write import write
from vicinal.contract.data import MISSING, Layout
from vicinal.contract.errors import InputError, PluginError
from vicinal.contract.options import EmbedOptions
from vicinal.contract.source import EmbedResult, Representation
from vicinal.contract.spec import BackendSpec, Preset
from vicinal.models import Model
from vicinal.models.inference import place
from vicinal.models.manifest import Manifest
from vicinal.pipeline.memory import require_memory
from vicinal.pipeline.plan import Plan, check_options, make_plan
from vicinal.pipeline.repeat import arguments_of, name_as_given
from vicinal.pipeline.run import Run, is_scalar
from vicinal.pipeline.tether import Tether
from vicinal.plugin.manager import get_manager

from .project import find_model

OF_THE_MAP = {"method", "init", "fixed", "use_rep", "n_pcs", "metric", "n_components"}
NOT_HERE = {"checkpoint", "checkpoint_every"}
OF_A_WHOLE_RUN = {"n_epochs", "n_training_epochs", "learning_rate"}
KERNEL = {"min_dist", "spread", "a", "b"}
"""Parameters that say together how near cells are: one that is given replaces all that are recorded."""
EPOCHS_SMALL, EPOCHS_LARGE, SMALL_UP_TO = 100, 50, 10_000
LEARNING_RATE = 0.05
GENTLE = ("numba_sgd",)
"""First steps are shorter than those of a new map: all cells start near where they belong."""

logger = logging.getLogger("vicinal")


def update(
    adata_all: AnnData,
    model: Model | str | os.PathLike[str] | AnnData,
    *,
    max_drift: float = 0.0,
    key: str | None = None,
    key_added: str | None = None,
    n_neighbors: int | None = None,
    n_epochs: int | None = None,
    random_state: int = 0,
    encoder: Any = None,
    n_jobs: int | None = None,
    copy: bool = False,
    **params: Any,
) -> AnnData | None:
    """Add cells to a map whose own cells keep their places, or leave them by no more than is allowed.

    New cells start where `vicinal.tl.project` places them. Then one graph of all cells, old and new, is made, and new
    cells are moved by the map's own forces, so that those of a kind that the map has not find places beside each other
    rather than on top of the old. What a cell's place is depends on all cells; where that must not be, use `project`.

    Old cells stand still; with ``max_drift`` above 0 they do so for the first half of the epochs, and may then move
    within that distance of their old places, to make room. No old cell is ever farther away.

    A parametric map is its network: every new cell goes where the network maps it, and old cells keep their places.
    To train the network on new cells, call `vicinal.tl.embed` with ``continue_from=model`` and, to hold old cells,
    ``landmark_positions=``.

    Parameters
    ----------
    adata_all
        Old and new cells, in the representation that the map was made from: old cells with the rows they had, new
        ones projected into it. Old cells may be some of those of the map.
    model
        The map: an AnnData that carries it, whose cells are known by their names; or a `Model`, or the path of one,
        whose cells are known by their rows, to the bit.
    max_drift
        How far an old cell may go, as a share of the map's spread: the root mean square distance of its cells from
        their mean.
    key
        Key in ``uns`` of the map, where ``model`` is an AnnData with several.
    key_added
        Where to write, in ``obsm`` and ``uns``; by default as `vicinal.tl.embed` does for the model's method.
    n_neighbors
        Neighbours of each cell, the cell itself counted; None for as many as the map has.
    n_epochs
        Passes over the graph; None for 100 up to 10,000 cells, else 50. 0 leaves new cells where they are placed.
    random_state
        The seed everything random here is derived from.
    encoder
        The network of a parametric map that was made with the user's own.
    n_jobs
        Threads; None for all processors.
    copy
        Return a copy with the map instead of writing to ``adata_all``.
    **params
        Other arguments of `vicinal.tl.embed`, such as ``min_dist``, ``neighbors_key`` (of stored neighbours of all
        cells), ``callbacks`` or ``learning_rate``. What is left open of objective, optimizer and graph is as in the
        map; of a map of another tool as in UMAP.

    Returns
    -------
    None, or the copy. The map is written as `vicinal.tl.embed` does, with a model of its own, and with it
    ``uns["{method}"]["update"]``: ``n_old``, ``n_new``, ``is_new`` (boolean ``(n_obs,)``), ``spread``, ``max_drift``,
    and how far old cells went, ``drift_median`` and ``drift_max`` in units of the map, ``drift_median_share`` and
    ``drift_max_share`` as shares of the spread.

    Raises
    ------
    ModelError
        If the model cannot be read or used.
    InputError
        Before any work, if no cell is of the map, or all are; if cells of one name have different rows; if an argument
        cannot be used; ``adata_all`` is then unchanged.
    StageError
        If a backend fails.
    """
    given = {"n_neighbors": n_neighbors, "n_epochs": n_epochs, **params}
    _check_arguments(max_drift, {"random_state": random_state, "n_jobs": n_jobs}, params)
    if adata_all is model:
        raise InputError("adata_all is the map's own AnnData, which has no new cells; give one with old and new cells")
    old = read_old_map(model, key) if isinstance(model, AnnData) else old_map_of(find_model(model))
    _check_fits(old.model, given, encoder)
    check_target(adata_all, old.model, key_added)
    check_columns(adata_all, old.model)
    joint = _join(adata_all, old, encoder=encoder, max_drift=max_drift, n_jobs=n_jobs)
    keys = map_keys(old.model.method, key_added)
    if old.model.fitted is not None:
        return write_network_update(adata_all, joint.first, old.model, keys, _drift(joint, joint.first), copy=copy)
    given |= {"random_state": random_state, "n_jobs": n_jobs, "key_added": key_added}
    options = _options(joint, given)
    result, plan = _optimized(adata_all, joint, options)
    beside = {"update": _drift(joint, result.layout)}
    return write(adata_all, result, keys, arguments=arguments_of(options, plan), beside=beside, copy=copy)


@dataclass(frozen=True, kw_only=True)
class _Joint:
    """Old and new cells together.

    Attributes
    ----------
    rows
        Of all cells in the map's representation.
    first
        Their places before any move.
    spread
        Root mean square distance of the map's cells from their mean.
    """

    old: OldMap
    rows: NDArray[np.float32]
    is_new: NDArray[np.bool_]
    first: Layout
    spread: float
    max_drift: float


def _join(adata: AnnData, old: OldMap, *, encoder: Any, max_drift: float, n_jobs: int | None) -> _Joint:
    """Find the old cells, and place the new ones among them."""
    rows = rows_as_stored(adata, old.model)
    found = match_cells(adata, rows, old)
    is_new = found == MISSING
    first = np.empty((len(rows), old.layout.shape[1]), dtype=np.float32)
    first[~is_new] = old.layout[found[~is_new]]
    first[is_new] = place(old.model, rows[is_new], module=encoder, n_jobs=n_jobs)
    from_mean = old.layout - old.layout.mean(axis=0, dtype=np.float64)
    spread = float(np.sqrt(np.square(from_mean).sum(axis=1).mean()))
    return _Joint(old=old, rows=rows, is_new=is_new, first=first, spread=spread, max_drift=max_drift)


def _optimized(adata: AnnData, joint: _Joint, options: EmbedOptions) -> tuple[EmbedResult, Plan]:
    """Move the new cells, and the old as far as they may go."""
    known = Representation(name=str(options.use_rep), values=joint.rows, n_pcs=options.n_pcs)
    source = read(adata, options, known)
    plan = make_plan(source, options)
    require_memory(plan, options, lambda other: make_plan(read(adata, other, known), other))
    radius = joint.max_drift * joint.spread
    run = Run(plan, source, tether=Tether(cells=~joint.is_new, radius=radius) if radius > 0 else None)
    run.complete()
    return run.finish(), plan


def _options(joint: _Joint, given: Mapping[str, Any]) -> EmbedOptions:
    """Return the options of the joint map: the old map's wherever nothing else is given."""
    manifest, n_obs = joint.old.model.manifest, len(joint.rows)
    representation, manager = manifest.representation or {}, get_manager()
    presets = [entry.spec.name for entry in manager.entries() if isinstance(entry.spec, Preset)]
    method = manifest.method if manifest.method in presets else "umap"
    asked = {name: value for name, value in given.items() if value is not None}
    if "neighbors_key" in asked:
        asked = {"graph": "precomputed", **asked}
    recorded = _recorded(manifest, asked)
    taken = {"optimizer": manager.preset(method).stages["optimizer"], **recorded, **asked}
    if "neighbors_key" not in asked:
        taken = {"n_neighbors": max(2, min(int(manifest.placement["n_neighbors"]), n_obs - 1)), **taken}
    if taken["optimizer"] in GENTLE:
        epochs = EPOCHS_SMALL if n_obs <= SMALL_UP_TO else EPOCHS_LARGE
        gentle = (
            {"learning_rate": LEARNING_RATE}
            if "phases" in asked
            else {"n_epochs": epochs, "learning_rate": LEARNING_RATE}
        )
        taken = {**gentle, **taken}
    of_the_map = {
        "n_components": joint.first.shape[1],
        "use_rep": representation["name"],
        "n_pcs": representation["n_pcs"],
        "metric": representation["metric"],
        "init": joint.first,
        "fixed": ~joint.is_new if joint.max_drift == 0 else None,
    }
    return EmbedOptions.collect(method, {**taken, **of_the_map})


def _recorded(manifest: Manifest, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the backends of a map, and their parameters, that can be used again."""
    taken: dict[str, Any] = {}
    for stage in ("graph", "objective", "optimizer"):
        spec = None if stage in asked else _spec(stage, manifest.backends.get(stage, ""))
        if spec is None or (stage == "graph" and "neighbors" not in spec.capabilities.inputs):
            continue
        taken[stage] = name_as_given(manifest.backends[stage])
        taken |= _params_again(stage, spec, manifest.params, asked)
    if "objective" not in taken and {"a", "b"} <= set(manifest.params) and not KERNEL & set(asked):
        taken |= {name: manifest.params[name] for name in ("a", "b")}
    return taken


def _params_again(stage: str, spec: BackendSpec, params: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    given = {name.removeprefix(f"{stage}__") for name in asked}
    left_out = given | OF_A_WHOLE_RUN | (KERNEL if KERNEL & given else set())
    values = {name: params.get(f"{stage}__{name}", params.get(name)) for name in spec.fields if name not in left_out}
    return {f"{stage}__{name}": value for name, value in values.items() if is_scalar(value)}


def _spec(stage: str, name: str) -> BackendSpec | None:
    """Return what a map was made by; None for an object, or for what is not here."""
    try:
        spec = get_manager().resolve(stage, name).spec
    except (InputError, PluginError):
        return None
    return spec if isinstance(spec, BackendSpec) else None


def _check_arguments(max_drift: Any, options: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    check_options(EmbedOptions(**options))
    is_number = isinstance(max_drift, numbers.Real) and not isinstance(max_drift, bool)
    if not is_number or not 0 <= max_drift < math.inf:
        raise InputError(f"max_drift={max_drift!r} is not allowed; give a share of the map's spread, 0 or more")
    for name in params:
        if name in OF_THE_MAP:
            raise InputError(f"{name} is not allowed here: it is that of the map")
        if name in NOT_HERE:
            raise InputError(f"{name} is not allowed here: an update is not kept on the way")


def _check_fits(model: Model, given: Mapping[str, Any], encoder: Any) -> None:
    """Raise `InputError` for arguments of the other kind of map."""
    if model.fitted is None and encoder is not None:
        raise InputError("encoder is given, but the map is not a network's; leave it out")
    asked = [name for name, value in given.items() if value is not None]
    if model.fitted is not None and asked:
        msg = f"{asked[0]} is given, but the map is a network's, which is applied and not changed; leave it out"
        raise InputError(f"{msg}, or train it further: vc.tl.embed(..., continue_from=model)")


def _drift(joint: _Joint, layout: Layout) -> dict[str, Any]:
    """Return, and log, how far old cells were moved."""
    before, after = joint.first[~joint.is_new], layout[~joint.is_new]
    record = drift_record(before, after, joint.is_new, max_drift=joint.max_drift, spread=joint.spread)
    logger.info(
        "%s new cells added to %s; these moved by %.3g %% of the spread in the median, %.3g %% at most",
        f"{record['n_new']:,}",
        f"{record['n_old']:,}",
        100 * record["drift_median_share"],
        100 * record["drift_max_share"],
    )
    return record
