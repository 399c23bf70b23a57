"""A handle for a map whose model was never stored."""

from __future__ import annotations

import logging
import numbers
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import anndata as ad
import numpy as np

from vicinal.backends.objective.tsne import PLACEMENT
from vicinal.contract.data import Layout
from vicinal.contract.errors import InputError
from vicinal.contract.metrics import checked_kwds
from vicinal.contract.options import EmbedOptions, Unset
from vicinal.contract.source import Representation
from vicinal.kernels.processors import available_threads
from vicinal.models.inference import place
from vicinal.models.manifest import parse_handle
from vicinal.models.store import LANDMARKS, from_reference, handle_of
from vicinal.pipeline.metric import stored_metric
from vicinal.pipeline.neighborhoods import Metric
from vicinal.pipeline.plan import MAX_COMPONENTS, check_options
from vicinal.pipeline.run import is_scalar, score_request

from .keys import MapKeys, check_key, feature_names, keys_of_basis
from .model import HANDLE
from .origin import require_origin
from .read import check_adata, check_writable, read_layout, read_representation, read_stored_neighbors
from .write import put_handle, storable

ADOPTED = {"map": "adopted"}
"""What stands in place of the backends."""
N_LOOKED_AT = 15
BY_CHANCE = 3
"""Times as many kept neighbours as by chance, below which the representation is doubted."""

logger = logging.getLogger("vicinal")


def adopt_map(
    adata: ad.AnnData,
    basis: str,
    *,
    use_rep: str | None,
    n_pcs: int | None,
    metric: str,
    metric_kwds: Mapping[str, Any] | None,
    n_neighbors: int,
    key_added: str | None,
) -> None:
    """Write a handle for a map into ``uns``; see `vicinal.models.adopt`."""
    check_adata(adata)
    check_writable(adata)
    _check_arguments(basis, metric, n_neighbors, adata.n_obs)
    keys = _keys(adata, basis, key_added)
    layout = _read_map(adata, keys.obsm)
    representation, metric, kwds = _representation(adata, use_rep, n_pcs, metric, metric_kwds)
    columns = representation.record
    placement = PLACEMENT if "tsne" in keys.obsm.lower() else {}
    record = {
        "kind": LANDMARKS,
        "method": keys.obsm.removeprefix("X_"),
        "backends": ADOPTED,
        "versions": {"vicinal": metadata.version("vicinal")},
        "params": {**_params(adata.uns.get(keys.uns)), "adopted": True},
        "representation": columns,
        "metric": metric,
        "metric_kwds": kwds,
        "n_neighbors": int(n_neighbors),
        "placement": {**placement, "n_neighbors": int(n_neighbors)},
    }
    handle = handle_of(record, keys.obsm)
    _try_out(handle, representation, layout, feature_names(adata, columns))
    _look_at(representation, layout, Metric(metric, kwds), keys.obsm)
    put_handle(adata, keys.uns, handle)


def _check_arguments(basis: Any, metric: Any, n_neighbors: Any, n_obs: int) -> None:
    if not isinstance(basis, str):
        raise InputError(f"basis is a {type(basis).__name__}; name a map in obsm, such as 'X_umap'")
    if not isinstance(metric, str):
        raise InputError(f"metric is a {type(metric).__name__}; give a metric's name, such as 'euclidean'")
    is_count = isinstance(n_neighbors, numbers.Integral) and not isinstance(n_neighbors, bool)
    if not is_count or n_neighbors < 1:
        raise InputError(f"n_neighbors={n_neighbors!r} is not allowed; give an integer from 1 to {n_obs}")


def _keys(adata: ad.AnnData, basis: str, key_added: str | None) -> MapKeys:
    keys = keys_of_basis(adata, basis)
    if key_added is not None:
        check_key(key_added)
        keys = MapKeys(keys.obsm, key_added)
    entry = adata.uns.get(keys.uns, {})
    if not isinstance(entry, Mapping):
        raise InputError(f"uns[{keys.uns!r}] is a {type(entry).__name__}; give key_added=, where to write")
    if HANDLE in entry and dict(parse_handle(entry[HANDLE]).backends) != ADOPTED:
        msg = f"uns[{keys.uns!r}] has the model that {keys.obsm!r} was made with, which knows more than can be adopted"
        raise InputError(f"{msg}; use it as it is, or give key_added=")
    return keys


def _read_map(adata: ad.AnnData, name: str) -> Layout:
    layout = read_layout(adata, name)
    if layout.shape[1] > MAX_COMPONENTS:
        raise InputError(f"basis={name!r} has {layout.shape[1]} columns; a map has 1 to {MAX_COMPONENTS}")
    return np.asarray(layout)


def _representation(
    adata: ad.AnnData, use_rep: str | None, n_pcs: int | None, metric: str, metric_kwds: Mapping[str, Any] | None
) -> tuple[Representation, str, dict[str, Any]]:
    """Return what the map is taken to be made from, by which metric, and the metric's arguments."""
    # With all three given, no stored graph is read, only what is recorded of it.
    options = EmbedOptions(use_rep=use_rep, n_pcs=n_pcs, metric=str(metric), metric_kwds=metric_kwds, n_neighbors=2)
    check_options(options)
    stored = read_stored_neighbors(adata, options)
    found, _ = read_representation(adata, options, stored)
    assert found is not None
    if use_rep is None:
        found = require_origin(adata, stored, found)
    recorded = stored.params if stored is not None else {}
    is_theirs = use_rep is None or recorded.get("use_rep") == use_rep
    name, kwds = stored_metric(recorded)
    if isinstance(metric, Unset) and is_theirs and name is not None and not metric_kwds:
        return found, name, kwds
    return found, str(metric), checked_kwds(str(metric), metric_kwds, found.values.shape[1])


def _params(entry: Any) -> dict[str, Any]:
    """Return the plain values among what another tool recorded."""
    params = entry.get("params", {}) if isinstance(entry, Mapping) else {}
    params = storable(params) if isinstance(params, Mapping) else {}
    return {str(name): value for name, value in params.items() if is_scalar(value)}


def _try_out(
    handle: Mapping[str, Any], representation: Representation, layout: Layout, features: tuple[str, ...] | None
) -> None:
    """Place one of the map's own cells, which shows whether any can be placed."""
    model = from_reference(parse_handle(handle), representation.values, layout, features=features, max_landmarks=1000)
    place(model, representation.values[:1], n_jobs=1)


def _look_at(representation: Representation, layout: Layout, metric: Metric, name: str) -> None:
    """Say how many neighbours the map keeps, and warn where these are hardly any."""
    k = N_LOOKED_AT
    if len(layout) <= 4 * k:
        return
    request = score_request(representation.values, layout, metric=metric, seed=0, n_jobs=available_threads())
    pairs = zip(request.representation_neighbors[:, :k], request.layout_neighbors[:, :k], strict=True)
    kept = float(np.mean([np.isin(near, there).mean() for near, there in pairs]))
    chance = k / (len(layout) - 1)
    if kept < BY_CHANCE * chance:
        msg = "%r keeps %.3f of the %d nearest neighbours in %r, %.3f is chance: was it made from something else?"
        logger.warning(msg, name, kept, k, representation.name, chance)
    else:
        logger.info("%r adopted: it keeps %.2f of the %d nearest neighbours in %r", name, kept, k, representation.name)
