"""Plain threads over disjoint row ranges."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np


def over_rows(work: Callable[[int, int], None], n_rows: int, n_jobs: int, *, chunk: int = 1024) -> None:
    """Call ``work(start, stop)`` on ranges that cover the rows, in up to ``n_jobs`` threads.

    The ranges do not depend on ``n_jobs``; work that writes only its own rows gives the same bits for any number.
    """
    in_threads(work, [*range(0, n_rows, chunk), n_rows], n_jobs)


def in_threads(work: Callable[[int, int], None], edges: Sequence[int] | np.ndarray, n_jobs: int) -> None:
    """Call ``work(start, stop)`` on the ranges between consecutive edges, in up to ``n_jobs`` threads."""
    with workers(min(n_jobs, len(edges) - 1)) as run:
        run(work, edges)


@contextmanager
def workers(n_jobs: int) -> Iterator[Callable[[Callable[[int, int], None], Sequence[int] | np.ndarray], None]]:
    """Keep threads for work that comes again and again.

    Yields ``run(work, edges)``, which calls ``work(start, stop)`` on the ranges and returns when all are done.
    """
    if n_jobs <= 1:
        yield in_turn
        return
    with ThreadPoolExecutor(n_jobs - 1) as pool:

        def run(work: Callable[[int, int], None], edges: Sequence[int] | np.ndarray) -> None:
            tasks = iter([(int(start), int(stop)) for start, stop in itertools.pairwise(edges)])

            def take() -> None:  # each thread takes the next task; this one works too instead of waiting
                for start, stop in tasks:
                    work(start, stop)

            others = [pool.submit(take) for _ in range(min(n_jobs, len(edges) - 1) - 1)]
            try:
                take()
            finally:
                for other in others:
                    other.result()

        yield run


def in_turn(work: Callable[[int, int], None], edges: Sequence[int] | np.ndarray) -> None:
    """Call ``work(start, stop)`` on the ranges between consecutive edges, one after the other."""
    for start, stop in itertools.pairwise(edges):
        work(int(start), int(stop))
