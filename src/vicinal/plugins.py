"""Tables of the backends and presets that are there, and of the plugins that were left out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pandas as pd

from .contract.errors import PluginError
from .contract.spec import BackendSpec
from .plugin.manager import get_manager
from .plugin.report import PluginReport, Registered

__all__ = ["check", "list"]

COLUMNS = ("stage", "name", "distribution", "version", "deterministic", "summary", "status", "error")


def list() -> pd.DataFrame:
    """Return every backend and preset, and every plugin that was left out; nothing heavy is imported.

    Returns
    -------
    One row a backend or preset, with the name by which it is chosen, then one row a plugin that was left out,
    with its entry point as the name:

    ``stage``
        ``knn``, ``graph``, ``init``, ``objective``, ``optimizer``, ``score``; ``method`` for a preset;
        empty for a plugin that was left out.
    ``name``, ``distribution``, ``version``, ``summary``
        What it is and where it comes from.
    ``deterministic``
        Whether a backend gives the same bits for any number of threads; None where that has no meaning.
    ``status``
        ``ok``, ``broken``, or ``disabled`` by ``VICINAL_PLUGINS`` or ``VICINAL_DISABLE_PLUGINS``.
    ``error``
        Why it is not ``ok``.
    """
    manager = get_manager()
    rows = [_row_of_entry(entry, manager.name_of(entry)) for entry in manager.entries()]
    return _table([*rows, *_rows_left_out(manager.reports)])


def check() -> pd.DataFrame:
    """Import every backend, build it with its default parameters, and say which of them cannot be used and why.

    Returns
    -------
    The table of `list`; a backend whose import fails, that lacks what it requires, or that cannot be built has the
    status ``unusable`` and the reason in ``error``. One that needs parameters of the user's is not built.
    """
    manager = get_manager()
    rows = [{**_row_of_entry(entry, manager.name_of(entry)), **_trial(entry)} for entry in manager.entries()]
    return _table([*rows, *_rows_left_out(manager.reports)])


def _trial(entry: Registered) -> dict[str, str]:
    if not isinstance(entry.spec, BackendSpec):
        return {}
    try:
        get_manager().try_out(entry)
    except PluginError as error:
        return {"status": "unusable", "error": str(error)}
    return {}


def _row_of_entry(entry: Registered, name: str) -> dict[str, Any]:
    return {
        "stage": entry.stage,
        "name": name,
        "distribution": entry.distribution,
        "version": entry.version,
        "deterministic": entry.spec.capabilities.deterministic if isinstance(entry.spec, BackendSpec) else None,
        "summary": entry.spec.summary,
        "status": "ok",
        "error": "",
    }


def _rows_left_out(reports: Iterable[PluginReport]) -> Iterable[dict[str, Any]]:
    for report in reports:
        if report.status != "ok":
            yield {
                "stage": "",
                "name": report.entry_point,
                "distribution": report.distribution,
                "version": report.version,
                "deterministic": None,
                "summary": "",
                "status": report.status,
                "error": report.error,
            }


def _table(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    return pd.DataFrame(rows, columns=COLUMNS, dtype=object)


def __dir__() -> Iterable[str]:
    return sorted(__all__)
