"""Metrics and their arguments: which arguments there are, in one form, and which distances can be taken again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from .errors import InputError, did_you_mean, listing

PRECOMPUTED = "precomputed"
"""The metric of rows that are distances to all cells."""

MINKOWSKI = ("minkowski", "wminkowski", "weighted_minkowski")
SEUCLIDEAN = ("seuclidean", "standardised_euclidean")
MAHALANOBIS = ("mahalanobis",)
ARGUMENTS = (
    dict.fromkeys(MINKOWSKI, ("p", "w")) | dict.fromkeys(SEUCLIDEAN, ("V",)) | dict.fromkeys(MAHALANOBIS, ("VI", "V"))
)
"""The arguments of each metric that has some."""
ALSO_CALLED = {"vinv": "VI", "sigma": "V"}
"""pynndescent's names of arguments."""
NEEDED = dict.fromkeys(SEUCLIDEAN, "V, the variance of each column") | dict.fromkeys(
    MAHALANOBIS, "VI, the inverse of the covariance matrix (or V, the matrix)"
)
"""What metrics cannot do without."""


class TheirKwds(dict[str, Any]):
    """Arguments that another tool recorded with its neighbours, whose meaning there is not known for sure."""


def checked_kwds(metric: str, given: Any, n_features: int | None = None) -> dict[str, Any]:
    """Return the arguments of a metric as plain numbers and lists.

    Parameters
    ----------
    n_features
        Columns of the rows that are compared; None where they are not known.

    Raises
    ------
    InputError
        If the metric has no such argument, lacks one that it needs, or a value cannot be used.
    """
    if given is not None and not isinstance(given, Mapping):
        raise InputError(f"metric_kwds={given!r} is not allowed; give a mapping, such as {{'p': 1}}")
    named: dict[str, Any] = {ALSO_CALLED.get(str(name), str(name)): value for name, value in (given or {}).items()}
    takes = ARGUMENTS.get(metric, ())
    for name in named:
        if name not in takes:
            have = f"it takes {listing(takes)}" if takes else f"it takes none; {listing(ARGUMENTS)} do"
            msg = f"metric_kwds holds {name!r}, which metric={metric!r} does not take; {have}"
            raise InputError(f"{msg}.{did_you_mean(name, takes)}")
    if metric in NEEDED and not named:
        what = NEEDED[metric]
        raise InputError(f"metric={metric!r} needs {what}; give metric_kwds={{{what.split(',')[0]!r}: ...}}")
    if len(named) == 2 and metric in MAHALANOBIS:
        raise InputError("metric_kwds holds both VI and V; give one of them")
    return {name: _checked(name, value, metric, n_features) for name, value in sorted(named.items())}


def _checked(name: str, value: Any, metric: str, n_features: int | None) -> Any:
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"metric_kwds[{name!r}] is no number and no array of numbers; metric={metric!r}") from error
    if name == "p":
        if numbers.ndim or isinstance(value, bool) or not numbers > 0:
            raise InputError(f"metric_kwds['p']={value!r} is not allowed; give a number above 0, such as 1 or 2")
        return float(numbers)
    n = "n" if n_features is None else n_features
    shape = (n, n) if metric in MAHALANOBIS else (n,)
    fits = numbers.ndim == len(shape) and (n_features is None or numbers.shape == shape)
    if not fits or not np.isfinite(numbers).all():
        msg = f"metric_kwds[{name!r}] has shape {numbers.shape}; metric={metric!r} takes finite numbers of shape"
        raise InputError(f"{msg} ({', '.join(map(str, shape))}{',' * (len(shape) == 1)})")
    _check_signs(name, numbers, metric)
    return numbers.tolist()


def _check_signs(name: str, numbers: np.ndarray, metric: str) -> None:
    if metric in MAHALANOBIS:
        scale = np.abs(numbers).max(initial=0)
        lowest = np.linalg.eigvalsh(numbers).min() if np.allclose(numbers, numbers.T, atol=1e-8 * scale) else -np.inf
        at_least = 1e-12 * scale if name == "V" else -1e-8 * scale
        if not lowest >= at_least or scale == 0:
            what = (
                "symmetric and invertible, with no negative eigenvalue"
                if name == "V"
                else "symmetric, no eigenvalue negative"
            )
            raise InputError(f"metric_kwds[{name!r}] is no matrix of metric={metric!r}; it must be {what}")
    elif (numbers < 0).any() or (name == "V" and not (numbers > 0).all()):
        sign = "above 0" if name == "V" else "at least 0"
        raise InputError(f"metric_kwds[{name!r}] holds {numbers.min():g}; metric={metric!r} takes numbers {sign}")


def recorded_kwds(given: Any) -> dict[str, Any]:
    """Return arguments of a metric that a file records, as JSON or a mapping; what is no number becomes text."""
    if isinstance(given, str):
        try:
            given = json.loads(given)
        except (ValueError, RecursionError):
            return {"metric_kwds": given}
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        return {"metric_kwds": type(given).__name__}
    return {str(name): _recorded(value) for name, value in given.items()}


def _recorded(value: Any) -> Any:
    try:
        numbers = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        return value if isinstance(value, str) else type(value).__name__
    return (
        numbers.tolist()
        if numbers.size > 1 or numbers.ndim > 1
        else float(numbers.reshape(-1)[0])
        if numbers.size
        else []
    )


def kwds_as_json(kwds: Mapping[str, Any]) -> str | None:
    """Return arguments of a metric as strict JSON; None for none."""
    plain = {name: str(value) if value == np.inf else value for name, value in kwds.items()} if kwds else None
    return None if plain is None else json.dumps(plain, sort_keys=True)


def shown_kwds(kwds: Mapping[str, Any]) -> str:
    """Return arguments as they are given: arrays by their shape."""
    shown = {name: f"array {np.shape(value)}" if np.ndim(value) else repr(value) for name, value in kwds.items()}
    return f"metric_kwds={{{', '.join(f'{name!r}: {value}' for name, value in shown.items())}}}"


def why_not_again(metric: str, kwds: Any = None) -> str:
    """Return why distances of a metric that is recorded cannot be taken again; nothing where they can."""
    if ":" in metric:
        return f"the metric {metric!r} is a function, which is not stored"
    if metric == PRECOMPUTED:
        return "the distances were given as a matrix, which says nothing of other cells"
    try:
        checked_kwds(metric, recorded_kwds(kwds))
    except InputError as error:
        return f"the metric {metric!r} cannot be taken again: {error}"
    return ""
