"""The metric of a map: as it was given, or as the stored neighbours record it, with its arguments."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from vicinal.contract.errors import InputError, did_you_mean, listing
from vicinal.contract.functions import function_name, require_jitted
from vicinal.contract.metrics import TheirKwds, checked_kwds, kwds_as_json, recorded_kwds, why_not_again
from vicinal.contract.options import EUCLIDEAN, EmbedOptions, Unset
from vicinal.contract.source import Source
from vicinal.plugin.report import BUILTIN_DISTRIBUTION

KWDS = "metric_kwds"
BY = "metric_kwds_by"
"""Parameter that says that another tool recorded the arguments."""
ANOTHER = "another tool"


def check_options(options: EmbedOptions) -> None:
    """Raise `InputError` for what is no metric, or has other arguments."""
    if callable(options.metric):
        require_jitted("metric", options.metric, "(x, y) -> distance")
        if options.metric_kwds:
            raise InputError("metric_kwds is given with a function as metric; write the arguments into the function")
    elif not isinstance(options.metric, str):
        msg = f"metric is a {type(options.metric).__name__}; give a metric's name, such as 'euclidean', or a function"
        raise InputError(msg)
    elif options.metric_kwds is not None and not isinstance(options.metric_kwds, Mapping):
        checked_kwds(options.metric, options.metric_kwds)
    elif options.metric_kwds and options.metric == EUCLIDEAN:  # nothing of it is used, whatever is stored
        checked_kwds(options.metric, options.metric_kwds)


def with_stored_metric(source: Source, options: EmbedOptions) -> EmbedOptions:
    """Take the metric the stored neighbours were made with, where the user named none, and its arguments."""
    metric, kwds = stored_metric(source.stored.params if source.stored else {})
    if metric is None or not isinstance(options.metric, Unset) or options.metric_kwds:
        return options
    return dataclasses.replace(options, metric=Unset(metric), metric_kwds=kwds or None)  # a `TheirKwds` stays one


def stored_metric(params: Mapping[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Return the name and the arguments of a metric that a file records; None for no name."""
    metric = params.get("metric")
    if callable(metric):
        return function_name(metric), {}
    if not isinstance(metric, str):
        return None, {}
    kwds = recorded_kwds(params.get(KWDS))
    is_ours = str(params.get("knn", "")).endswith(f"@{BUILTIN_DISTRIBUTION}")
    return metric, kwds if is_ours else TheirKwds(kwds)


def of_plan(options: EmbedOptions) -> dict[str, Any]:
    """Return the fields of a plan that say what the metric is."""
    name = metric_name(options.metric)
    kwds = recorded_kwds(options.metric_kwds)
    if not why_not_again(name, options.metric_kwds):
        kwds = checked_kwds(name, kwds)
    if isinstance(options.metric_kwds, TheirKwds):
        kwds = TheirKwds(kwds)
    return {"metric": name, "metric_function": metric_function(options.metric), KWDS: kwds}


def as_params(kwds: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a metric as a map records them."""
    by = {BY: ANOTHER} if isinstance(kwds, TheirKwds) else {}
    return {KWDS: kwds_as_json(kwds), **by} if kwds else {}


def from_params(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a metric that a map records."""
    kwds = recorded_kwds(params[KWDS])
    return TheirKwds(kwds) if BY in params else kwds


def metric_reasons(metric: str, source: Source) -> dict[str, str]:
    """Return what a map records of how its metric reads the rows, where that is not plain."""
    from vicinal.kernels.binary import METRICS as BINARY

    if metric not in BINARY or source.representation is None:
        return {}
    from vicinal.kernels.binary_nearest import COUNTS_AS_THERE, is_binary

    return {} if is_binary(source.representation.values) else {"metric": COUNTS_AS_THERE}


def why_unscored(options: EmbedOptions) -> str:
    """Return why neighbours in the map's own metric cannot be found for a score; nothing where they can."""
    if callable(options.metric):
        return ""
    return why_not_measured(metric_name(options.metric), options.metric_kwds)


def why_not_measured(metric: str, kwds: Any) -> str:
    """Return why distances of a metric that is recorded cannot be computed here; nothing where they can."""
    from vicinal.kernels.metrics import is_known

    return why_not_again(metric, kwds) or ("" if is_known(metric) else f"no distances by {metric!r} are known here")


def check_for_search(knn: Any, source: Source, options: EmbedOptions) -> None:
    """Raise where neighbours are to be found by a metric that the backend does not have."""
    if knn is None or {"given_neighbors", "transformer"} & set(knn.capabilities.inputs):
        return
    if options.metric_kwds and not knn.capabilities.metric_kwds:
        msg = f"metric_kwds is given, but knn={knn.name!r} takes no arguments of metrics"
        raise InputError(f"{msg}; give knn='exact', or leave it out")
    if "representation" not in knn.capabilities.inputs:
        return
    metric, known = metric_name(options.metric), knn.capabilities.metrics
    if known is not None and metric not in known:
        msg = f"metric={metric!r} is unknown to knn={knn.name!r}.{did_you_mean(metric, known)}"
        raise InputError(f"{msg} Allowed are {listing(known)}")
    if isinstance(options.metric, Unset) and ":" in metric:
        msg = f"the stored neighbours were found with the function {metric!r}, which is not stored; give metric="
        raise InputError(msg)
    if callable(getattr(knn.backend, "check_metric", None)):
        knn.backend.check_metric(metric, metric_function(options.metric))
    if isinstance(options.metric, str):
        rows = source.representation
        checked_kwds(metric, options.metric_kwds, None if rows is None else rows.values.shape[1])


def metric_name(metric: str | Callable[..., float]) -> str:
    """Return a metric's name, of a function ``module:qualname``."""
    return str(metric) if isinstance(metric, str) else function_name(metric)


def metric_function(metric: str | Callable[..., float]) -> Callable[..., float] | None:
    """Return the function where a metric is one."""
    return None if isinstance(metric, str) else metric
