"""Which entry points are installed, in which order they are walked, and which of them are switched off."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import metadata

from .hookspecs import ENTRY_POINT_GROUP

ONLY = "VICINAL_PLUGINS"
WITHOUT = "VICINAL_DISABLE_PLUGINS"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """An entry point and the distribution it comes from; nothing of it is imported yet."""

    distribution: str
    version: str
    entry_point: metadata.EntryPoint

    @property
    def described(self) -> str:
        """``name = value``, as the distribution states it."""
        return f"{self.entry_point.name} = {self.entry_point.value}"


@functools.cache
def installed_entry_points() -> tuple[metadata.EntryPoint, ...]:
    """Return the installed entry points of the plugin group."""
    return tuple(metadata.entry_points(group=ENTRY_POINT_GROUP))


def candidates(entry_points: Iterable[metadata.EntryPoint]) -> list[Candidate]:
    """Return the entry points in (distribution, name) order.

    A distribution found through two folders on the path counts once: the first hides the others, as for imports.
    """
    found: dict[tuple[str, str, str], Candidate] = {}
    first_version: dict[str, str] = {}
    for entry_point in entry_points:
        distribution, version = _origin(entry_point)
        if first_version.setdefault(distribution, version) == version:
            key = (distribution, entry_point.name, entry_point.value)
            found[key] = Candidate(distribution=distribution, version=version, entry_point=entry_point)
    return [found[key] for key in sorted(found)]


def why_disabled(candidate: Candidate) -> str:
    """Return which environment variable switches a plugin off, or an empty string.

    Both variables list distributions or entry point names, with commas between; ``VICINAL_PLUGINS`` names
    the only ones to load (none, where it is empty), ``VICINAL_DISABLE_PLUGINS`` those to leave out
    (``1`` or ``all`` for every one).
    """
    names = {candidate.distribution, normalized(candidate.entry_point.name)}
    only, without = os.environ.get(ONLY), os.environ.get(WITHOUT, "")
    if only is not None and not names & _listed(only):
        return f"not listed in {ONLY}"
    if {*names, "1", "all"} & _listed(without):
        return f"listed in {WITHOUT}"
    return ""


def normalized(name: str) -> str:
    """Return a distribution's name as package indexes compare it: ``Vicinal_Torch`` is ``vicinal-torch``."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def version_of(distribution: str) -> str:
    """Return the installed version, or an empty string."""
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return ""


def _origin(entry_point: metadata.EntryPoint) -> tuple[str, str]:
    dist = getattr(entry_point, "dist", None)
    try:
        return (normalized(dist.name), dist.version or "") if dist is not None else ("unknown", "")
    except Exception:  # noqa: BLE001  a folder of metadata may lack any of its parts
        return "unknown", ""


def _listed(text: str) -> set[str]:
    return {normalized(item) for item in text.split(",") if item.strip()}
