"""How many threads to use: what the machine has, less what the container, the job or the user allows."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

from .control_groups import groups_of

ROOT = Path("/")
LIMITS = (
    "OMP_NUM_THREADS",
    "OMP_THREAD_LIMIT",
    "NUMBA_NUM_THREADS",
    "SLURM_CPUS_PER_TASK",
    "SLURM_CPUS_ON_NODE",
    "PBS_NUM_PPN",
    "NSLOTS",
    "LSB_DJOB_NUMPROC",
    "PYTHON_CPU_COUNT",
)
"""Environment variables by which users and batch systems (Slurm, PBS, Grid Engine, LSF) say how many threads to use."""


def threads_for(n_jobs: int | None) -> int:
    """Return the threads that ``n_jobs`` asks for; None and -1 ask for all that are available."""
    return available_threads() if n_jobs is None or n_jobs == -1 else int(n_jobs)


def available_threads() -> int:
    """Return the processors this process may use, or fewer where the environment says so (`LIMITS`)."""
    return min([processors(), *_asked_for()])


def processors() -> int:
    """Return the processors this process may use, within the quota of its control groups."""
    try:
        allowed = len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        allowed = os.cpu_count() or 1
    return min([allowed, *_quotas()])


def _asked_for() -> Iterator[int]:
    for name in LIMITS:
        # OpenMP takes one number for each level of nesting: "4,2".
        first = os.environ.get(name, "").split(",")[0].strip()
        if first.isascii() and first.isdigit() and int(first) > 0:
            yield int(first)


def _quotas() -> Iterator[int]:
    """Yield the processors that each control group's quota of processor time amounts to, rounded up."""
    for version, folder in groups_of("cpu", ROOT):
        try:
            quota, period = _quota_2(folder) if version == 2 else _quota_1(folder)
        except (OSError, ValueError):  # no such group, or no limit: "max"
            continue
        if quota > 0 and period > 0:
            yield max(1, math.ceil(quota / period))


def _quota_2(folder: Path) -> tuple[int, int]:
    quota, period = (folder / "cpu.max").read_text().split()
    return int(quota), int(period)


def _quota_1(folder: Path) -> tuple[int, int]:
    return int((folder / "cpu.cfs_quota_us").read_text()), int((folder / "cpu.cfs_period_us").read_text())
