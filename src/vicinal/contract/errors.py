"""The errors users meet; each message says what was given, what is allowed and what to do."""

from __future__ import annotations

import difflib
import numbers
from collections.abc import Iterable


class VicinalError(Exception):
    """Base class of every error this package raises on purpose."""


class InputError(VicinalError, ValueError):
    """An argument or a value in the AnnData cannot be used."""


class PluginError(VicinalError, RuntimeError):
    """A backend is unknown, ambiguous, broken, or lacks something it requires."""


class StageError(VicinalError, RuntimeError):
    """A backend failed or returned something its stage does not allow."""

    def __init__(self, stage: str, backend: str, problem: str) -> None:
        super().__init__(f"Stage {stage!r}, backend {backend!r}: {problem}")
        self.stage, self.backend, self.problem = stage, backend, problem


class ModelError(VicinalError, ValueError):
    """A model file, or the model in an AnnData, cannot be used."""


class WriteError(ModelError, OSError):
    """A file cannot be written: the disk is full, or the folder is read-only."""


def did_you_mean(name: object, options: Iterable[object]) -> str:
    """Return `` Did you mean 'x'?`` for the nearest option, upper or lower case, or an empty string.

    Options may be numbers, as names of columns are at times.
    """
    lowered = {str(option).lower(): option for option in options if option is not None}
    near = difflib.get_close_matches(str(name).lower(), list(lowered), n=1, cutoff=0.6)
    return f" Did you mean {shown_name(lowered[near[0]])}?" if near else ""


def listing(names: Iterable[object]) -> str:
    """Return the names sorted and comma-separated, text quoted and numbers not, or ``none``.

    None, the name under which new versions of anndata keep ``.X`` among the layers, is left out.
    """
    shown = (shown_name(name) for name in names if name is not None)
    return ", ".join(sorted(shown)) or "none"


def shown_name(name: object) -> str:
    """Return a name as it stands in code: text quoted, numbers as they are."""
    return str(name) if isinstance(name, numbers.Number) else repr(str(name))
