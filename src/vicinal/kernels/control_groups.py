"""The control groups of Linux that bind this process: what a container, a service or a batch job may use."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path


def groups_of(controller: str, root: Path) -> Iterator[tuple[int, Path]]:
    """Yield the version, 1 or 2, and the folder of each group that may limit this process, and of those above it.

    Parameters
    ----------
    controller
        Such as ``"memory"`` or ``"cpu"``.
    root
        Where ``proc`` and ``sys`` are.
    """
    try:
        lines = [line.split(":", 2) for line in (root / "proc/self/cgroup").read_text().splitlines()]
    except (OSError, ValueError):
        return
    for _, controllers, group in (parts for parts in lines if len(parts) == 3):
        if not controllers:
            yield from _with_those_above(2, root / "sys/fs/cgroup", group)
        elif controller in controllers.split(","):
            # Some systems mount "cpu,cpuacct" under that name alone.
            names = dict.fromkeys([controller, controllers])
            bases = [base for name in names if (base := root / "sys/fs/cgroup" / name).is_dir()]
            yield from _with_those_above(1, bases[0], group) if bases else ()


def _with_those_above(version: int, base: Path, group: str) -> Iterator[tuple[int, Path]]:
    # In a container the group's own folder may be mounted as the base, and its path lead nowhere.
    folder = base / group.strip("/")
    for above in (folder, *folder.parents):
        if above == base or base in above.parents:
            yield version, above
