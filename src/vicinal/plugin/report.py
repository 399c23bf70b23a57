"""What became of each plugin, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from vicinal.contract.spec import BackendSpec, Preset

BUILTIN_DISTRIBUTION = "vicinal"


@dataclass(frozen=True, kw_only=True)
class PluginReport:
    """The outcome of loading one plugin.

    Attributes
    ----------
    distribution, version
        The installed package it came from.
    entry_point
        ``name = value`` as the package states it.
    status
        ``ok``, ``broken`` or ``disabled``.
    error
        Why it is broken or disabled, in one line.
    traceback
        The whole traceback where there was one.
    """

    distribution: str
    version: str
    entry_point: str
    status: Literal["ok", "broken", "disabled"]
    error: str = ""
    traceback: str = ""


@dataclass(frozen=True, kw_only=True)
class Registered:
    """A backend or preset that was admitted, and where it came from."""

    spec: BackendSpec | Preset
    distribution: str
    version: str

    @property
    def builtin(self) -> bool:
        """Whether it ships with the host."""
        return self.distribution == BUILTIN_DISTRIBUTION

    @property
    def stage(self) -> str:
        """Its stage, ``method`` for a preset."""
        return self.spec.stage if isinstance(self.spec, BackendSpec) else "method"

    @property
    def full_name(self) -> str:
        """``name@distribution``, unique."""
        return f"{self.spec.name}@{self.distribution}"
