"""Reads what the pipeline needs; raises the errors about slots and their values; changes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
from scipy import sparse

from vicinal.contract.data import Graph, Neighbors
from vicinal.contract.errors import InputError, did_you_mean, listing
from vicinal.contract.metrics import PRECOMPUTED
from vicinal.contract.options import EUCLIDEAN, EmbedOptions, Unset, param_of
from vicinal.contract.source import Representation, Source, StoredNeighbors
from vicinal.pipeline.inputs import reads_rows
from vicinal.pipeline.plan import stored_neighbors_wanted
from vicinal.pipeline.rows import is_sorted
from vicinal.pipeline.spool import is_in_file, is_spooled
from vicinal.plugin.manager import get_manager

from .dense import check_real, check_shape, dense_rows, dense_values
from .far import center_as_in, center_of, count_merged
from .keys import DEFAULT_NEIGHBORS, check_free, is_neighbors, map_keys, spellings
from .kinds import check_kind_of_object, layers_of, values_of
from .labels import check_labels
from .paga import read_paga
from .pieces import readable
from .slots import filled, raw_hint
from .stored import StoredDistances, check_source, checked_rows
from .whole import as_far_as_whole

MAX_RAW_COLUMNS = 50


def read(adata: ad.AnnData, options: EmbedOptions, known: Representation | None = None) -> Source:
    """Return all that a plan and its run may use of an AnnData.

    Parameters
    ----------
    known
        A representation that was read before, under other options, which need not be read again if it is the same.

    Raises
    ------
    InputError
        If a slot is missing, has the wrong size, or holds values that cannot be used.
    """
    # These read with what is here.
    from .origin import with_origin
    from .training import read_training_arrays

    check_adata(adata)
    check_writable(adata)
    check_free(adata, map_keys(options.method, options.key_added), options.key_added)
    stored = read_stored_neighbors(adata, options)
    fixed = read_fixed(adata, options.fixed)
    labels, labelled = read_supervision(adata, options.labels)
    representation, note = read_representation(adata, options, stored, known)
    representation, doubt = with_origin(adata, options, stored, representation)
    stored = as_far_as_whole(
        stored, stored_neighbors_wanted(options, adata.n_obs), can_search=representation is not None and not doubt
    )
    if doubt and not reads_rows(options):
        representation, note = None, ""
    pinned = f"{int(fixed.sum()):,} of {adata.n_obs:,} cells are fixed" if fixed is not None else ""
    return Source(
        n_obs=adata.n_obs,
        names=adata.obs_names.to_numpy(),
        representation=representation,
        stored=stored,
        arrays=read_init_arrays(adata, options.init)
        | read_sample_groups(adata, options.params)
        | read_training_arrays(adata, options, representation),
        labels=labels,
        fixed=fixed,
        obsm_keys=tuple(adata.obsm),
        notes=tuple(text for text in (note, doubt, "" if stored is None else stored.note, pinned, labelled) if text),
        doubt=doubt,
    )


def check_adata(adata: Any) -> None:
    """Raise `InputError` unless given an AnnData, or a MuData, with cells."""
    check_kind_of_object(adata)
    if adata.n_obs == 0:
        raise InputError("adata has no cells (n_obs = 0); at least one is needed")
    if adata.is_view:
        check_source(adata)


def check_writable(adata: ad.AnnData) -> None:
    """Raise `InputError` for the one kind of AnnData that nothing can be written to."""
    if adata.is_view and adata.isbacked:
        raise InputError("adata is a view of a backed AnnData, which cannot hold results; give adata.to_memory()")


def read_stored_neighbors(adata: ad.AnnData, options: EmbedOptions) -> StoredNeighbors | None:
    """Return the neighbours that ``options`` point at; graph and distances only where they will be used."""
    if sparse.issparse(options.graph):
        given = _read_graph(checked_rows(options.graph, "graph"), "graph", adata.n_obs)
        return StoredNeighbors(key="graph", graph=given, neighbors=None, n_neighbors=None)
    key = DEFAULT_NEIGHBORS if options.neighbors_key is None else options.neighbors_key
    entry = _neighbors_entry(adata, key, required=options.neighbors_key is not None)
    if entry is None:
        return None
    wanted = stored_neighbors_wanted(options, adata.n_obs)
    graph: Graph | None = None
    neighbors: Neighbors | None = None
    note = ""
    is_asked = isinstance(options.graph, str) and options.graph == "precomputed"
    if is_asked or (wanted is None and not options.fresh_neighbors):
        graph = _read_graph(_slot(adata, entry, "connectivities", key), f"the connectivities of {key!r}", adata.n_obs)
    if wanted is not None:
        distances = _slot(adata, entry, "distances", key, required=False)
        # Of a map that could be made from rows instead, every cell must have as many as are wanted.
        every_cell = options.n_neighbors is None and _choose_representation(adata, options, None)[0] is not None
        neighbors, note = _read_enough(
            distances, key, adata.n_obs, wanted, every_cell=every_cell, n_jobs=options.n_jobs
        )
    params = _recorded_params(entry)
    n_neighbors = _as_int(params.get("n_neighbors"))
    return StoredNeighbors(key=key, graph=graph, neighbors=neighbors, n_neighbors=n_neighbors, params=params, note=note)


def _neighbors_entry(adata: ad.AnnData, key: str, *, required: bool) -> Mapping[str, Any] | None:
    entry = adata.uns.get(key)
    if isinstance(entry, Mapping):
        return entry
    if key == DEFAULT_NEIGHBORS and "connectivities" in adata.obsp:
        return {}
    if not required:
        return None
    known = [name for name, value in adata.uns.items() if name == DEFAULT_NEIGHBORS or is_neighbors(value)]
    hint = did_you_mean(key, known)
    raise InputError(f"neighbors_key={key!r} is not in adata.uns; neighbours are stored under {listing(known)}.{hint}")


def _recorded_params(entry: Mapping[str, Any]) -> dict[str, Any]:
    params = entry.get("params")
    return {name: _scalar(value) for name, value in params.items()} if isinstance(params, Mapping) else {}


def _slot(adata: ad.AnnData, entry: Mapping[str, Any], what: str, key: str, *, required: bool = True) -> Any:
    name = entry.get(f"{what}_key", what)
    if isinstance(name, str) and name in adata.obsp:
        return checked_rows(adata.obsp[name], f"obsp[{name!r}]")
    if what in entry:  # where anndata kept them before obsp existed
        return checked_rows(entry[what], f"uns[{key!r}][{what!r}]")
    if not required:
        return None
    there = listing(adata.obsp)
    raise InputError(f"uns[{key!r}] points at obsp[{name!r}], but obsp has {there}. Run sc.pp.neighbors(adata)")


def _read_graph(matrix: Any, name: str, n_obs: int) -> Graph:
    _check_square(matrix, name, n_obs)
    graph = Graph.from_scipy(matrix)
    if not np.isfinite(graph.weights).all() or (graph.weights < 0).any():
        bad = int((~np.isfinite(graph.weights) | (graph.weights < 0)).sum())
        raise InputError(
            f"{name}: {bad} weights are negative, NaN or infinite; weights must be finite and not negative"
        )
    return graph


def _check_square(matrix: Any, name: str, n_obs: int) -> None:
    if matrix.shape != (n_obs, n_obs):
        expected = f"expected {(n_obs, n_obs)}. Compute the neighbours again"
        raise InputError(f"{name}: shape {matrix.shape} does not fit {n_obs} cells; {expected}")


def _read_enough(
    matrix: Any, key: str, n_obs: int, wanted: Any, *, every_cell: bool, n_jobs: int | None = None
) -> tuple[Neighbors | None, str]:
    """Return stored distances as a table if they hold the neighbours wanted, of every cell or of some, else why not."""
    if matrix is None:
        return None, f"no distances are stored under {key!r}: neighbours are searched"
    _check_square(matrix, f"the distances of {key!r}", n_obs)
    stored = StoredDistances(matrix, n_jobs)
    counts = stored.counts
    held = int(counts.min() if every_cell else counts.max())
    if isinstance(wanted, int | np.integer) and held < wanted - 1:
        of = "of a cell" if counts.min() == counts.max() else "of some cells" if every_cell else "of a cell at most"
        return None, f"{held} neighbours {of} are stored under {key!r}, {wanted - 1} are wanted: they are searched"
    return stored.table(), ""


def read_representation(
    adata: ad.AnnData, options: EmbedOptions, stored: StoredNeighbors | None, known: Representation | None = None
) -> tuple[Representation | None, str]:
    """Return the representation and a note on why it; None where none is found and none is needed."""
    if isinstance(options.metric, str) and options.metric == PRECOMPUTED and isinstance(options.knn, tuple):
        return None, "distances given: no scores or projection"
    if known is not None and (known.name, known.n_pcs) == (options.use_rep, options.n_pcs):
        return known, f"representation {known.name!r}: use_rep"  # it may not be in the AnnData yet
    name, n_pcs, why = _choose_representation(adata, options, stored)
    if name is None:
        if stored is not None and (stored.graph is not None or stored.neighbors is not None):
            return None, "no representation found: the map is made from the graph alone, without scores or projection"
        if isinstance(options.knn, tuple):
            return None, "neighbours given, no representation found: no scores or projection"
        x = (
            ".X is empty"
            if adata.X is None
            else f".X has {adata.n_vars} columns (used as it is up to {MAX_RAW_COLUMNS})"
        )
        msg = f"no representation to find neighbours in: obsm has {listing(adata.obsm)}, {x}"
        remedy = raw_hint(adata) or " Run sc.pp.pca(adata), or name one with use_rep="
        raise InputError(f"{msg}.{remedy}")
    is_known = known is not None and (known.name, known.n_pcs) == (name, n_pcs)
    went_on = param_of(options.params, "continue_from")
    return known if is_known else read_slot(adata, name, n_pcs, metric=_metric(options, stored), as_in=went_on), why


def _metric(options: EmbedOptions, stored: StoredNeighbors | None) -> object:
    recorded = stored.params.get("metric") if stored is not None and isinstance(options.metric, Unset) else None
    return recorded if isinstance(recorded, str) else options.metric


def read_slot(
    adata: ad.AnnData, name: str, n_pcs: int | None, *, metric: object = EUCLIDEAN, as_in: Any = None
) -> Representation:
    """Return a representation, checked, of ``n_pcs`` columns or all; with the center of a model that is given."""
    stored = slot_of(adata, name)
    check_shape(stored, name)
    columns = None if n_pcs is None else np.arange(_checked_n_pcs(n_pcs, stored.shape[1], name))
    shape = (adata.n_obs, stored.shape[1] if columns is None else len(columns))
    # Rows in a file are put in the order of their names in another.
    copies = 2 if is_spooled(shape) and not is_sorted(adata.obs_names.to_numpy()) else 1
    ready = readable(stored, name)
    check_real(ready, name)
    center = center_of(ready, columns, metric) if as_in is None else center_as_in(as_in, shape[1], metric)
    values = dense_rows(ready, name, adata.obs_names, columns, copies=copies, center=center)
    n_merged = count_merged(ready, values, columns, center, name)
    shared = isinstance(stored, np.ndarray) and np.may_share_memory(values, stored)
    spooled = is_in_file(values) and not shared
    return Representation(
        name=name, values=values, n_pcs=n_pcs, shared=shared, spooled=spooled, center=center, n_merged=n_merged
    )


def _checked_n_pcs(n_pcs: Any, n_columns: int, name: str) -> int:
    if not isinstance(n_pcs, int | np.integer) or isinstance(n_pcs, bool) or not 1 <= n_pcs <= n_columns:
        allowed = f"{name!r} has {n_columns} columns; give how many to take from the front"
        raise InputError(f"n_pcs={n_pcs!r} is not allowed: {allowed}")
    return int(n_pcs)


def _choose_representation(
    adata: ad.AnnData, options: EmbedOptions, stored: StoredNeighbors | None
) -> tuple[str | None, int | None, str]:
    if options.use_rep is not None:
        _check_slot(adata, options.use_rep)
        return options.use_rep, options.n_pcs, f"representation {options.use_rep!r}: use_rep"
    recorded = stored.params if stored is not None else {}
    made_from = recorded.get("use_rep")
    if isinstance(made_from, str) and has_slot(adata, made_from):
        n_pcs = _first_columns(adata, made_from, options, recorded)
        return made_from, n_pcs, f"representation {made_from!r}: the stored neighbours were made from it"
    gone = ""
    if isinstance(made_from, str):
        gone = f"; {made_from!r}, which the stored neighbours were made from, is not there"
        recorded = {}
    for name in ("X_pca", "pca"):
        if name in adata.obsm:
            return name, _first_columns(adata, name, options, recorded), f"representation {name!r}: the PCA{gone}"
    if 0 < adata.n_vars <= MAX_RAW_COLUMNS and values_of(adata) is not None:
        return "X", options.n_pcs, f"representation .X: it has only {adata.n_vars} columns{gone}"
    return None, None, ""


def _first_columns(adata: ad.AnnData, name: str, options: EmbedOptions, recorded: Mapping[str, Any]) -> int | None:
    if options.n_pcs is not None:
        return options.n_pcs
    n_pcs = _as_int(recorded.get("n_pcs")) or 0  # scanpy records 0 where it used no principal components
    return n_pcs if 0 < n_pcs <= slot_of(adata, name).shape[1] else None  # the PCA may have been made anew since


def has_slot(adata: ad.AnnData, name: str) -> bool:
    """Tell whether a representation of this name is there."""
    if not isinstance(name, str):  # as a record may have it
        return False
    return name in adata.obsm or name in layers_of(adata) or (name == "X" and values_of(adata) is not None)


def slot_of(adata: ad.AnnData, name: str) -> Any:
    """Return the values of a representation, still in the form they are stored in."""
    if name in adata.obsm:
        return adata.obsm[name]
    return adata.X if name == "X" else layers_of(adata)[name]


def _check_slot(adata: ad.AnnData, name: str) -> None:
    if has_slot(adata, name):
        return
    options = filled(adata)
    msg = f"use_rep={name!r} is not in the AnnData; it has {listing(options)}.{did_you_mean(name, options)}"
    raise InputError(f"{msg}{raw_hint(adata)}")


def read_init_arrays(adata: ad.AnnData, init: Any) -> dict[str, np.ndarray]:
    """Return the arrays that the initialisation asks the AnnData for."""
    if not isinstance(init, str):
        return {"positions": np.atleast_1d(init)} if isinstance(init, np.ndarray) else {}
    if init == "paga":
        distances, connectivities = read_links(adata, DEFAULT_NEIGHBORS)
        return read_paga(adata, connectivities if distances is None else distances)
    if init in get_manager().names("init") or init == "auto":
        return {}
    for key in spellings(init):
        if key in adata.obsm:
            return {"positions": dense_values(adata.obsm[key], key, adata.obs_names)}
    return {}


def read_links(adata: ad.AnnData, key: str) -> tuple[Any, Any]:
    """Return the distances and the connectivities that are stored under a key, None for what is not there."""
    entry = _neighbors_entry(adata, key, required=False) or {}
    return tuple(_slot(adata, entry, what, key, required=False) for what in ("distances", "connectivities"))


def read_sample_groups(adata: ad.AnnData, params: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return the groups to sample from as codes, where a parameter names a column that holds them."""
    column, columns = param_of(params, "sample_by"), list(adata.obs.columns)
    if column is None:
        return {}
    if column not in columns:
        hint = did_you_mean(str(column), columns)
        raise InputError(f"sample_by={column!r} is not in adata.obs; it has {listing(columns)}.{hint}")
    check_labels(adata.obs[column], f"sample_by={column!r}")
    groups = adata.obs[column].astype("category").cat
    codes = groups.codes.to_numpy().astype(np.int64)
    if (codes < 0).any():
        msg = f"sample_by={column!r}: {int((codes < 0).sum())} of {adata.n_obs} cells have no value"
        raise InputError(f"{msg}; give them one, such as 'unknown', or sample by another column")
    empty = groups.categories[np.bincount(codes, minlength=len(groups.categories)) == 0]
    if len(empty):
        msg = f"sample_by={column!r}: no cell is in {listing(map(str, empty))}"
        raise InputError(f"{msg}; run adata.obs[{column!r}] = adata.obs[{column!r}].cat.remove_unused_categories()")
    return {"sample_groups": codes}


def read_labels(adata: ad.AnnData, column: str | None) -> np.ndarray | None:
    """Return an obs column as integer codes, -1 where it is missing."""
    if column is None:
        return None
    columns = list(adata.obs.columns)
    if isinstance(column, np.ndarray | pd.Series):
        raise InputError(f"labels is a {type(column).__name__}; name a column of obs: adata.obs['labels'] = values")
    if column not in columns:
        raise InputError(
            f"labels={column!r} is not in adata.obs; it has {listing(columns)}.{did_you_mean(column, columns)}"
        )
    check_labels(adata.obs[column], f"labels={column!r}")
    return adata.obs[column].astype("category").cat.codes.to_numpy().astype(np.int64)


def read_supervision(adata: ad.AnnData, column: str | None) -> tuple[np.ndarray | None, str]:
    """Return the labels that a map is to follow, at least one of them known, and a note on them."""
    labels = read_labels(adata, column)
    if labels is None:
        return None, ""
    n_unknown, n_labels = int((labels < 0).sum()), len(np.unique(labels[labels >= 0]))
    if n_labels == 0:
        msg = f"labels={column!r}: none of {adata.n_obs:,} cells has a value; name a column that says something"
        raise InputError(f"{msg}, or leave labels out")
    return labels, f"labels {column!r}: {n_labels:,} labels, {n_unknown:,} of {adata.n_obs:,} cells without one"


def read_fixed(adata: ad.AnnData, fixed: Any) -> np.ndarray | None:
    """Return which cells must not move, from an obs column or a mask; None where nothing is said of it."""
    if fixed is None:
        return None
    name, values = "fixed", fixed
    if isinstance(fixed, str):
        columns = list(adata.obs.columns)
        if fixed not in columns:
            hint = did_you_mean(fixed, columns)
            raise InputError(f"fixed={fixed!r} is not in adata.obs; it has {listing(columns)}.{hint}")
        name, values = f"fixed={fixed!r}", adata.obs[fixed]
    mask = _as_mask(values, adata.obs_names)
    if mask.dtype != bool:
        wanted = "expected True for each cell that must not move, else False, and none missing"
        raise InputError(f"{name} has dtype {getattr(values, 'dtype', mask.dtype)}; {wanted}")
    if mask.shape != (adata.n_obs,):
        raise InputError(f"{name} has shape {mask.shape}; expected {(adata.n_obs,)}, one value for each cell")
    return mask


def _as_mask(values: Any, obs_names: pd.Index) -> np.ndarray:
    if isinstance(values, pd.Series):
        if not values.index.equals(obs_names):
            raise InputError("fixed is a Series whose index is not adata.obs_names; give it in the AnnData's order")
        missing = bool(values.isna().any())
        return values.to_numpy(dtype=bool if values.dtype == "boolean" and not missing else None)
    try:
        return np.asarray(values)
    except ValueError:  # nested lists of different lengths
        return np.asarray(values, dtype=object)


def read_layout(adata: ad.AnnData, key: str) -> np.ndarray:
    """Return a stored map as float32, checked to be finite."""
    return dense_values(adata.obsm[key], key, adata.obs_names)


def read_places(adata: ad.AnnData, basis: str | None) -> np.ndarray:
    """Return the places of cells in a map.

    Raises
    ------
    InputError
        If it is not there, or holds NaN or infinity.
    """
    if basis is None or basis not in adata.obsm:
        raise InputError(f"basis={basis!r} is not in adata.obsm; it has {listing(adata.obsm)}. Project the cells first")
    return read_layout(adata, basis)


def _scalar(value: Any) -> Any:
    # Old scanpy files hold numbers and words as arrays of one.
    return value.item() if isinstance(value, np.ndarray) and value.size == 1 else value


def _as_int(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):  # None, or whatever another tool recorded
        return None
