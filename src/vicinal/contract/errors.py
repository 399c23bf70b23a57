"""The errors users meet; each message says what was given, what is allowed and what to do."""

from __future__ import annotations

import difflib
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


def did_you_mean(name: object, options: Iterable[str]) -> str:
    """Return `` Did you mean 'x'?`` for the nearest option, upper or lower case, or an empty string."""
    lowered = {option.lower(): option for option in options}
    near = difflib.get_close_matches(str(name).lower(), list(lowered), n=1, cutoff=0.6)
    return f" Did you mean {lowered[near[0]]!r}?" if near else ""


def listing(names: Iterable[object]) -> str:
    """Return the names sorted, quoted and comma-separated, or ``none``."""
    return ", ".join(sorted(repr(str(name)) for name in names)) or "none"
