"""What a record that is read from a file may set: values that decide the map, never what is of the reader's machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from vicinal.contract.spec import MACHINE_LOCAL, BackendSpec
from vicinal.plugin.manager import get_manager

FROM_RECORDS = frozenset(
    (
        *("n_components", "n_neighbors", "neighbors_key", "use_rep", "n_pcs", "metric", "metric_kwds"),
        *(
            "random_state",
            "labels",
            "knn",
            "graph",
            "init",
            "objective",
            "optimizer",
            "min_dist",
            "spread",
            "n_epochs",
            "phases",
            "fixed",
        ),
    )
)
"""Arguments of `vicinal.tl.embed` that a record may set, besides parameters of backends."""
NEVER = frozenset(
    (
        *("checkpoint", "checkpoint_every", "continue_from", "callbacks", "n_jobs", "key_added", "copy", "host"),
        *("logger", "trainer_params", "accelerator", "devices", "profiler", "default_root_dir", "cache", "cache_dir"),
    )
)
"""Names that are of the machine in any backend."""
ENDS = ("path", "paths", "file", "filename", "files", "dir", "directory", "folder", "url", "uri", "command")
NEEDED = frozenset(("continue_from",))
"""Local names without which the map would be another one."""


def is_local(name: str, value: Any = None) -> bool:
    """Tell whether an argument names a place, a device or a helper on the machine where a map is made.

    So do parameters that a backend declares so (`vicinal.api.MACHINE_LOCAL`), those with some names in any backend, and
    text with a separator of paths in it, at any depth.
    """
    words = name.rpartition("__")[2]
    if words in NEVER or words in _declared() or words.rpartition("_")[2] in ENDS:
        return True
    return _holds_local(value)


def _holds_local(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(is_local(str(name), inner) for name, inner in value.items())
    if isinstance(value, list | tuple):
        return any(_holds_local(inner) for inner in value)
    return isinstance(value, str) and ("/" in value or "\\" in value or value.startswith("~"))


def _declared() -> frozenset[str]:
    """Return the names that some backend, whichever it is, declares to be of the machine."""
    specs = [entry.spec for entry in get_manager().entries() if isinstance(entry.spec, BackendSpec)]
    fields = [f for spec in specs for f in getattr(spec.params, "__dataclass_fields__", {}).values()]
    return frozenset(f.name for f in fields if f.metadata.get(MACHINE_LOCAL))


def sorted_by_trust(kept: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return recorded arguments that may be used as they are, and those that only the user may give."""
    local = {name for name, value in kept.items() if name not in FROM_RECORDS and is_local(name, value)}
    return {n: v for n, v in kept.items() if n not in local}, {n: v for n, v in kept.items() if n in local}
