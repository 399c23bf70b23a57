"""Cells added to a map, whose own cells stay where they are, or nearly so."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from anndata import AnnData

from vicinal.adata.keys import MapKeys, map_keys
from vicinal.adata.model import MIN_OVERLAP, check_overlap
from vicinal.adata.projection import check_target, stranger_record, stranger_values
from vicinal.adata.read import read
from vicinal.adata.update import Joint, check_columns, join, moved, old_map_of, read_old_map, write_network_update
from vicinal.adata.write import write
from vicinal.contract.arguments import checks_arguments
from vicinal.contract.errors import InputError
from vicinal.contract.options import EmbedOptions
from vicinal.contract.source import EmbedResult, Representation
from vicinal.models import Model
from vicinal.models.growth import check_arguments, check_fits, options_of
from vicinal.models.inference import find_strangers
from vicinal.pipeline.memory import require_memory
from vicinal.pipeline.plan import Plan, make_plan
from vicinal.pipeline.repeat import arguments_of
from vicinal.pipeline.run import Run
from vicinal.pipeline.tether import tether_of

from .project import check_strangers, find_model


@checks_arguments
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
    min_overlap: float = MIN_OVERLAP,
    stranger_level: float | None = 0.05,
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
        ones projected into it, as `vicinal.tl.represent` does. Where ``obsm`` has it not, genes will do, as in
        `vicinal.tl.project`, if the map carries its PCA. Where both are there, the components of new cells must be
        those that the PCA makes of their genes. Old cells may be some of those of the map.
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
        The seed everything random here is derived from, as for `vicinal.tl.embed`.
    encoder
        The network of a parametric map that was made with the user's own.
    min_overlap
        Where cells are given as genes: how much of the PCA's squared loadings these must have, as in
        `vicinal.tl.project`.
    stranger_level
        P-value up to which a new cell is flagged as a stranger, between 0 and 1; None for no scores.
    n_jobs
        Threads; None and -1 for all processors that the container, the job and ``OMP_NUM_THREADS`` allow.
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
    ``drift_max_share`` as shares of the spread. Components that were made of genes are written to ``obsm`` too, by the
    key that the map was made from, as `vicinal.tl.represent` writes them. Scores and flags of new cells are
    written to ``obs`` and to ``uns["{method}"]["strangers"]`` as by `vicinal.tl.project`; old cells have NaN and no
    flag.

    Raises
    ------
    ModelError
        If the model cannot be read or used.
    InputError
        Before any work, if no cell is of the map, or all are; if cells of one name have different rows; if new cells
        have components of another PCA; if an argument cannot be used; ``adata_all`` is then unchanged.
    StageError
        If a backend fails.
    """
    given = {"n_neighbors": n_neighbors, "n_epochs": n_epochs, **params}
    of_the_run = {"random_state": random_state, "n_jobs": n_jobs}
    check_arguments(max_drift, of_the_run, params)
    check_overlap(min_overlap)
    if adata_all is model:
        raise InputError("adata_all is the map's own AnnData, which has no new cells; give one with old and new cells")
    novelty = stranger_level is not None
    old = read_old_map(model, key, novelty=novelty) if isinstance(model, AnnData) else old_map_of(find_model(model))
    check_fits(old.model, given, encoder)
    check_strangers(stranger_level, False, old.model)
    check_target(adata_all, old.model, key_added, has_flags=stranger_level is not None)
    check_columns(adata_all, old.model)
    joint = join(adata_all, old, encoder=encoder, n_jobs=n_jobs, min_overlap=min_overlap)
    keys = map_keys(old.model.method, key_added)
    flags, columns = _flags(joint, keys, stranger_level, n_jobs)
    if old.model.fitted is not None:
        beside = {"update": moved(joint, joint.first, max_drift), **flags}
        return write_network_update(adata_all, joint, keys, beside, columns, copy=copy)
    fixed = ~joint.is_new if max_drift == 0 else None
    given |= {**of_the_run, "key_added": key_added}
    options = options_of(old.model.manifest, given, first=joint.first, fixed=fixed)
    result, plan = _optimized(adata_all, joint, options, radius=max_drift * joint.spread)
    beside = {"update": moved(joint, result.layout, max_drift), **flags}
    arguments = arguments_of(options, plan)
    extras = {"beside": beside, "columns": columns, "components": joint.components}
    return write(adata_all, result, keys, arguments=arguments, copy=copy, **extras)


def _flags(
    joint: Joint, keys: MapKeys, level: float | None, n_jobs: int | None
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return what ``uns`` and ``obs`` say of new cells that are unlike the map's own."""
    found = find_strangers(joint.old.model, joint.rows[joint.is_new], level, off=joint.off, n_jobs=n_jobs)
    record = {} if found is None else {"strangers": stranger_record(found, parked=False)}
    return record, stranger_values(found, keys, joint.is_new)


def _optimized(adata: AnnData, joint: Joint, options: EmbedOptions, *, radius: float) -> tuple[EmbedResult, Plan]:
    """Move the new cells, and the old as far as they may go."""
    known = Representation(name=str(options.use_rep), values=joint.rows, n_pcs=options.n_pcs, center=joint.center)
    source = read(adata, options, known)
    plan = make_plan(source, options)
    require_memory(plan, options, lambda other: make_plan(read(adata, other, known), other))
    run = Run(plan, source, tether=tether_of(~joint.is_new, radius))
    run.complete()
    return run.finish(), plan
