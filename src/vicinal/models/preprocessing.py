"""Tells counts, logarithms and scaled values apart, as far as the values themselves show it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.errors import InputError

LARGEST_LOG = 25.0
"""More than the natural logarithm of any count, or of any sum that counts are normalised to."""
ENOUGH_VALUES, ENOUGH_ROWS = 10, 5
"""Values that are not 0, and rows, without which nothing is concluded."""
SAME_TOTAL = 1e-3
"""How far totals of rows that were normalised may be apart, relative to them: sums of float32."""
TOTAL_FACTOR = 2.0
"""How many times larger or smaller the total of new rows may be."""


def values_seen(rows: NDArray[np.float64]) -> dict[str, Any]:
    """Return what a model keeps of the values it was made from: whether all are whole numbers, and their range."""
    return {"integers": _are_integers(rows), "min": float(rows.min()), "max": float(rows.max())}


def normalised_total(rows: NDArray[np.float64], log1p: Mapping[str, Any] | None) -> float | None:
    """Return what each row adds up to before the logarithm, where all add up to the same; else None."""
    if log1p is None or len(rows) < ENOUGH_ROWS or rows.min() < 0 or rows.max() > LARGEST_LOG / log_of_base(log1p):
        return None
    totals = np.expm1(rows * log_of_base(log1p)).sum(axis=1)
    total = float(np.median(totals))
    is_same = total > 0 and np.abs(totals - total).max() <= SAME_TOTAL * total
    return float(f"{total:.4g}") if is_same else None


def log_of_base(log1p: Mapping[str, Any]) -> float:
    """Return the natural logarithm of the base that a record of `scanpy.pp.log1p` names."""
    base = log1p.get("base")
    return 1.0 if base is None else math.log(float(base))


def check_preprocessing(
    saw: Mapping[str, Any], rows: NDArray[np.float64], log1p: Mapping[str, Any] | None, name: str, otherwise: str
) -> None:
    """Raise `InputError` where new cells cannot be what a model's reference was.

    Parameters
    ----------
    saw
        ``log1p``, ``target_sum`` and ``values`` of the reference.
    rows
        All genes of some of the new cells.
    log1p
        The new cells' record of their logarithm.
    name
        What holds the genes.
    otherwise
        What else the user might do.
    """
    found = _other_base(saw["log1p"], log1p)
    if not found and np.count_nonzero(rows) >= ENOUGH_VALUES:
        found = _other_values(saw, rows, log1p)
    if found:
        raise InputError(f"the genes in {name}: {found}{otherwise}")


def _other_base(saw: Mapping[str, Any] | None, given: Mapping[str, Any] | None) -> str:
    if saw is None or given is None or math.isclose(log_of_base(saw), log_of_base(given), rel_tol=1e-6):
        return ""
    bases = [f"base {log.get('base') if log.get('base') is not None else 'e'}" for log in (given, saw)]
    call = f"sc.pp.log1p(adata_new{_base_argument(saw)})"
    return f"they are logarithms to {bases[0]}, the model was made from those to {bases[1]}; from the counts run {call}"


def _other_values(saw: Mapping[str, Any], rows: NDArray[np.float64], log1p: Mapping[str, Any] | None) -> str:
    was = saw["values"]
    if _are_integers(rows) != bool(was["integers"]):
        return _counts_or_not(saw)
    if (rows.min() < 0) != (was["min"] < 0):
        return _scaled_or_not(saw)
    if was["integers"] or was["min"] < 0:
        return ""
    return _logarithms_or_not(saw, float(rows.max()), log1p) or _other_total(saw, rows, log1p)


def _counts_or_not(saw: Mapping[str, Any]) -> str:
    if saw["values"]["integers"]:
        return "they are no whole numbers, but the model was made from counts; give the counts"
    return f"all are whole numbers, as counts are, but the model was not made from counts; {_recipe(saw)}"


def _scaled_or_not(saw: Mapping[str, Any]) -> str:
    if saw["values"]["min"] < 0:
        msg = "none is below 0, but the model was made from scaled values; scale them with the reference's own means"
        return f"{msg} and deviations, which sc.pp.scale keeps in adata.var['mean'] and ['std']"
    return f"some are below 0, as after sc.pp.scale, but the model was made from values that were not; {_recipe(saw)}"


def _logarithms_or_not(saw: Mapping[str, Any], largest: float, log1p: Mapping[str, Any] | None) -> str:
    if saw["log1p"] is not None and largest > LARGEST_LOG / log_of_base(saw["log1p"]):
        found = f"they go up to {largest:,.0f}, which no logarithm of a count does"
        return f"{found}, but the model was made from logarithms; {_recipe(saw)}"
    if saw["log1p"] is None and log1p is not None and saw["values"]["max"] > LARGEST_LOG >= largest:
        return "they are logarithms, but the model was made from values without; leave out sc.pp.log1p"
    return ""


def _other_total(saw: Mapping[str, Any], rows: NDArray[np.float64], log1p: Mapping[str, Any] | None) -> str:
    total = normalised_total(rows, log1p or saw["log1p"])
    if total is None or saw["target_sum"] is None or 1 / TOTAL_FACTOR < total / saw["target_sum"] < TOTAL_FACTOR:
        return ""
    found = f"each cell was normalised to {total:,.0f}, those of the model to {saw['target_sum']:,.0f}"
    return f"{found}; {_recipe(saw)}"


def _recipe(saw: Mapping[str, Any]) -> str:
    target = "" if saw["target_sum"] is None else f", target_sum={saw['target_sum']:g}"
    log1p = "" if saw["log1p"] is None else f"; sc.pp.log1p(adata_new{_base_argument(saw['log1p'])})"
    again = "" if target and log1p else ", with the reference's own arguments"
    return f"treat the counts as the reference's were: sc.pp.normalize_total(adata_new{target}){log1p}{again}"


def _base_argument(log1p: Mapping[str, Any]) -> str:
    return "" if log1p.get("base") is None else f", base={log1p['base']:g}"


def _are_integers(rows: NDArray[np.float64]) -> bool:
    return bool((rows == np.rint(rows)).all())
