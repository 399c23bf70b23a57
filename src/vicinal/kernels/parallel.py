"""Plain threads over disjoint row ranges."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np


def available_threads() -> int:
    """Return the processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def over_rows(work: Callable[[int, int], None], n_rows: int, n_jobs: int, *, chunk: int = 1024) -> None:
    """Call ``work(start, stop)`` on ranges that cover the rows, in up to ``n_jobs`` threads.

    The ranges do not depend on ``n_jobs``; work that writes only its own rows gives the same bits for any number.
    """
    in_threads(work, [*range(0, n_rows, chunk), n_rows], n_jobs)


def in_threads(work: Callable[[int, int], None], edges: Sequence[int] | np.ndarray, n_jobs: int) -> None:
    """Call ``work(start, stop)`` on the ranges between consecutive edges, in up to ``n_jobs`` threads."""
    ranges = [(int(start), int(stop)) for start, stop in itertools.pairwise(edges)]
    if n_jobs <= 1 or len(ranges) <= 1:
        for start, stop in ranges:
            work(start, stop)
        return
    with ThreadPoolExecutor(min(n_jobs, len(ranges))) as pool:
        for _ in pool.map(lambda span: work(*span), ranges):
            pass
