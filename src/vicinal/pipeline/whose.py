"""Which methods and backends have a parameter that the chosen ones do not have."""

from __future__ import annotations

from vicinal.contract.spec import BackendSpec, Preset
from vicinal.plugin.manager import Manager

MOST_NAMED = 3


def whose(name: str, manager: Manager) -> str:
    """Return a sentence on what has a parameter, methods before backends; an empty string where nothing does."""
    having = [e for e in manager.entries() if isinstance(e.spec, BackendSpec) and name in e.spec.fields]
    backends = {(e.stage, manager.name_of(e)) for e in having if e.stage != "network"}
    presets = [entry.spec for entry in manager.entries() if isinstance(entry.spec, Preset)]
    methods = [f"method={preset.name!r}" for preset in presets if backends & set(preset.stages.items())]
    found = methods or [f"{stage}={backend!r}" for stage, backend in sorted(backends)]
    return f" It is a parameter of {' and of '.join(found[:MOST_NAMED])}." if found else ""
