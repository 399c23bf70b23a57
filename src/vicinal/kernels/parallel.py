"""Plain threads over disjoint row ranges."""

from __future__ import annotations

import os
from collections.abc import Callable
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
    ranges = [(start, min(start + chunk, n_rows)) for start in range(0, n_rows, chunk)]
    if n_jobs <= 1 or len(ranges) <= 1:
        for start, stop in ranges:
            work(start, stop)
        return
    with ThreadPoolExecutor(min(n_jobs, len(ranges))) as pool:
        for _ in pool.map(lambda span: work(*span), ranges):
            pass


def balanced_ranges(indptr: np.ndarray, n_parts: int) -> list[tuple[int, int]]:
    """Split rows into consecutive ranges of about equal numbers of entries."""
    total = int(indptr[-1])
    cuts = np.searchsorted(indptr, np.linspace(0, total, n_parts + 1)[1:-1])
    edges = np.concatenate([[0], cuts, [len(indptr) - 1]])
    return [(int(a), int(b)) for a, b in zip(edges[:-1], edges[1:], strict=True) if b > a]
