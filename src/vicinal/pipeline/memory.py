"""How much memory there is, and the error, before any work, where a plan needs more."""

from __future__ import annotations

import dataclasses
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vicinal.contract.errors import InputError
from vicinal.contract.options import EmbedOptions
from vicinal.kernels.control_groups import groups_of

from .plan import Plan
from .units import shown_bytes

MARGIN = 1.25
"""How far beyond the memory there is a forecast must be for a plan to be refused: as far as forecasts may be off."""
ROOT = Path("/")
FEWER_NEIGHBORS = 15
WITHOUT_GRAPH = {"init": "sample_place", "n_epochs": 0}
KIB = 1024
NAMES = {
    1: ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_"),
    2: ("memory.max", "memory.current", ""),
}
"""Of each version of control groups: the files of the limit and of what is used, and the prefix in ``memory.stat``."""

logger = logging.getLogger("vicinal")


@dataclass(frozen=True)
class Memory:
    """Bytes that can still be taken.

    Attributes
    ----------
    free
        Without swapping, within the limits of the container or job.
    swap
        Beyond that, slowly.
    """

    free: int
    swap: int = 0


def require_memory(plan: Plan, options: EmbedOptions, replan: Callable[[EmbedOptions], Plan]) -> None:
    """Check that a plan fits into memory; log a warning where that is not certain.

    Parameters
    ----------
    replan
        Makes the plan of other options, to find some that would fit.

    Raises
    ------
    InputError
        If the forecast is beyond the memory there is by more than forecasts are off.
    """
    memory, need = available_memory(), _need(plan)
    if memory is None or need <= memory.free:
        return
    there = f"{plan.n_obs:,} cells need about {shown_bytes(need)} more memory, {shown_bytes(memory.free)} are available"
    remedy = what_fits(plan, options, replan, memory.free)
    if need > MARGIN * (memory.free + memory.swap):
        raise InputError(f"{there}; {remedy}")
    logger.warning("%s: it may not suffice; %s", there, remedy)


def what_fits(plan: Plan, options: EmbedOptions, replan: Callable[[EmbedOptions], Plan], free: int) -> str:
    """Return the first change of the arguments, the mildest first, whose forecast fits, or how many cells would."""
    for change in _changes(plan, options):
        try:
            need = _need(replan(dataclasses.replace(options, **change)))
        except InputError:  # what else was given does not go with it
            continue
        if need <= free:
            arguments = ", ".join(f"{name}={value!r}" for name, value in change.items())
            return f"{arguments} would fit, with about {shown_bytes(need)}"
    cells = plan.n_obs * free / _need(plan)
    return f"with these arguments about {float(f'{cells:.1g}'):,.0f} cells would fit"


def _need(plan: Plan) -> int:
    """Return the bytes still to be taken."""
    return 0 if plan.forecast is None else plan.forecast.peak - plan.forecast.read


def _changes(plan: Plan, options: EmbedOptions) -> Iterator[dict[str, Any]]:
    milder: dict[str, Any] = {}
    if plan.stages["init"].name == "spectral":
        milder["init"] = "pca"
        yield dict(milder)
    if (plan.n_neighbors or 0) > FEWER_NEIGHBORS:
        milder["n_neighbors"] = FEWER_NEIGHBORS
        yield dict(milder)
    # Neighbours that are asked for are searched, though placement needs none.
    asked: dict[str, Any] = {"n_neighbors": None} if options.n_neighbors is not None else {}
    if "knn" in options.fresh_neighbors:
        asked["knn"] = "auto"
    if options.phases is not None:
        asked["phases"] = None
    yield {**WITHOUT_GRAPH, **asked}


def available_memory() -> Memory | None:
    """Return what this process can still take; None where the system does not say.

    Where only the size of the whole memory is known, that: too much, so that nothing is refused that would work.
    """
    host = _host_memory()
    limits = list(_left_in_groups())
    if host is None and not limits:
        return None
    free = min([*limits, *([host.free] if host is not None else [])])
    return Memory(max(free, 0), host.swap if host is not None else 0)


def _host_memory() -> Memory | None:
    try:
        lines = (line.split() for line in (ROOT / "proc/meminfo").read_text().splitlines())
        found = {words[0]: int(words[1]) * KIB for words in lines if len(words) > 1}
        return Memory(found["MemAvailable:"], found.get("SwapFree:", 0))
    except (OSError, ValueError, KeyError):
        pass
    try:
        return Memory(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except (AttributeError, ValueError, OSError):
        return None


def _left_in_groups() -> Iterator[int]:
    """Yield what is left below each limit that Linux's control groups, versions 1 and 2, set this process."""
    for version, folder in groups_of("memory", ROOT):
        yield from _left(folder, *NAMES[version])


def _left(folder: Path, limit: str, usage: str, prefix: str) -> Iterator[int]:
    try:
        most = int((folder / limit).read_text())
        used = int((folder / usage).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
        files = sum(int(stat.get(f"{prefix}{kind}_file", 0)) for kind in ("active", "inactive"))
    except (OSError, ValueError):  # no such group, or no limit: "max"
        return
    yield most - max(used - files, 0)  # files are dropped from memory when it is needed
