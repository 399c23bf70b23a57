"""Which of the stages that a user asked for read the rows of a representation themselves."""

from __future__ import annotations

from typing import Any

from vicinal.contract.options import EmbedOptions
from vicinal.contract.spec import BackendSpec, Capabilities
from vicinal.plugin.manager import Manager, get_manager

ROWS = "representation"


def reads_rows(options: EmbedOptions, manager: Manager | None = None) -> bool:
    """Tell whether a first layout that is named, or the optimizer, reads rows; a graph alone will not do for these."""
    manager = manager or get_manager()
    return _reads_rows("init", options.init, manager) or trains_on_rows(options, manager)


def trains_on_rows(options: EmbedOptions, manager: Manager | None = None) -> bool:
    """Tell whether the optimizer makes places of rows, as networks do, whatever the graph was made from."""
    manager = manager or get_manager()
    given, by_preset = options.optimizer, manager.preset(options.method).stages.get("optimizer", "auto")
    is_open = isinstance(given, str) and given == "auto"
    return _reads_rows("optimizer", by_preset if is_open else given, manager)


def _reads_rows(stage: str, given: Any, manager: Manager) -> bool:
    if not isinstance(given, str):
        return ROWS in getattr(given, "capabilities", Capabilities()).inputs
    if given == "auto" or given.partition("@")[0] not in manager.names(stage):
        return False
    spec = manager.resolve(stage, given).spec
    return isinstance(spec, BackendSpec) and ROWS in spec.capabilities.inputs
