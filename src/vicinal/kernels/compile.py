"""How kernels are compiled: cached on disk where possible, without the GIL, never with a thread layer.

Parallelism comes from plain threads that call these kernels on disjoint rows (`parallel.py`). That keeps one
compiled variant a kernel and cannot abort under fork, joblib or several Python threads, as numba's layers can.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any, TypeVar

import numba
from numba.core import event

# Numpy's rules for division: checks for zero would keep loops from becoming vector instructions.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
OURS = __name__.rpartition(".")[0]
ONCE = "once per machine: about 15 s (`vicinal warmup` does it ahead)"
NOWHERE = "in every process, about 15 s: no folder is writable, set NUMBA_CACHE_DIR to one that is"

F = TypeVar("F", bound=Callable[..., Any])

logger = logging.getLogger("vicinal")


def kernel(function: F) -> F:
    """Compile at first call; without a writable cache folder, without the cache."""
    try:
        return forgiving(numba.njit(function, cache=True, **OPTIONS))
    except RuntimeError:  # numba found no folder to cache in
        announcement.reason = NOWHERE
        return numba.njit(function, **OPTIONS)


def forgiving(dispatcher: F) -> F:
    """Go on without the cache where the disk is full, or what the cache holds cannot be read."""
    cache: Any = getattr(dispatcher, "_cache", None)
    if cache is None:  # NUMBA_DISABLE_JIT leaves plain functions
        return dispatcher
    load, save = cache.load_overload, cache.save_overload

    def load_or_compile(*key: Any) -> Any:
        try:
            return load(*key)
        except Exception:  # noqa: BLE001  damaged pickles raise of every kind
            return None

    def save_or_not(*entry: Any) -> None:
        try:
            save(*entry)
        except Exception as error:  # noqa: BLE001  as above: it reads the index before it adds to it
            if not announcement.cannot_cache:
                announcement.cannot_cache = True
                logger.warning("Compiled kernels cannot be cached: %s. Set NUMBA_CACHE_DIR to another folder", error)

    cache.load_overload, cache.save_overload = load_or_compile, save_or_not
    return dispatcher


def inline(function: F) -> F:
    """Compile a small function that only other kernels call."""
    return numba.njit(function, inline="never", **OPTIONS)


class Announcement(event.Listener):
    """Says, once a process, that the wait before the first result is compilation, and counts its seconds.

    It is a warning, so that it is seen where nobody has set up logging: without it nothing would be, for that long.
    """

    def __init__(self) -> None:
        self.said = False
        self.reason = ONCE
        self.cannot_cache = False
        self.seconds = 0.0
        self._depth, self._since = 0, 0.0

    def on_start(self, event: Any) -> None:
        """Hear that numba compiles a function that its cache does not have."""
        if not self._depth:
            self._since = time.perf_counter()
        self._depth += 1
        if not self.said and event.data["dispatcher"].py_func.__module__.startswith(OURS):
            self.said = True
            logger.warning("Compiling kernels, %s", self.reason)

    def on_end(self, event: Any) -> None:
        """Hear that it is done; what a function calls is compiled within it."""
        self._depth -= 1
        if not self._depth:
            self.seconds += time.perf_counter() - self._since


announcement = Announcement()
event.register("numba:compile", announcement)
