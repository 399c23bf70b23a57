"""The complete list of hooks a plugin may implement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pluggy

from vicinal.contract.spec import BackendSpec, Preset

PROJECT = "vicinal"
ENTRY_POINT_GROUP = "vicinal.plugins"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def vicinal_register(host_api: int) -> Sequence[BackendSpec | Preset]:  # type: ignore[empty-body]
    """Return the backends and presets this plugin brings; must be cheap and import nothing heavy."""


@hookspec
def vicinal_stage_finished(report: Mapping[str, Any]) -> None:
    """Hear that a stage finished: its name, backend and seconds."""


@hookspec
def vicinal_embed_finished(summary: Mapping[str, Any]) -> None:
    """Hear that a map is finished: parameters, backends, timings and scores."""
