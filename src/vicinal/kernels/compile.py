"""How kernels are compiled: cached on disk where possible, without the GIL, never with a thread layer.

Parallelism comes from plain threads that call these kernels on disjoint rows (`parallel.py`). That keeps one
compiled variant a kernel and cannot abort under fork, joblib or several Python threads, as numba's layers can.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba.core import event

# Numpy's rules for division: checks for zero would keep loops from becoming vector instructions.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
OURS = __name__.rpartition(".")[0]

F = TypeVar("F", bound=Callable[..., Any])

logger = logging.getLogger("vicinal")


def kernel(function: F) -> F:
    """Compile at first call; without a writable cache folder, without the cache."""
    try:
        return numba.njit(function, cache=True, **OPTIONS)
    except RuntimeError:  # numba found no folder to cache in
        announcement.reason = "in every process: no folder is writable, set NUMBA_CACHE_DIR to one that is"
        return numba.njit(function, **OPTIONS)


def inline(function: F) -> F:
    """Compile a small function that only other kernels call."""
    return numba.njit(function, inline="never", **OPTIONS)


class Announcement(event.Listener):
    """Says, once a process, that the wait before the first result is compilation."""

    def __init__(self) -> None:
        self.said = False
        self.reason = "once for this machine: later processes load them; `vicinal warmup` does it ahead"

    def on_start(self, event: Any) -> None:
        """Hear that numba compiles a function that its cache does not have."""
        if not self.said and event.data["dispatcher"].py_func.__module__.startswith(OURS):
            self.said = True
            logger.info("Compiling kernels (a few seconds), %s", self.reason)

    def on_end(self, event: Any) -> None:
        """Hear that it is done, of which there is nothing to say."""


announcement = Announcement()
event.register("numba:compile", announcement)
