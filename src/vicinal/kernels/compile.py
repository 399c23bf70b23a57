"""How kernels are compiled: cached on disk where possible, without the GIL, never with a thread layer.

Parallelism comes from plain threads that call these kernels on disjoint rows (`parallel.py`). That keeps one
compiled variant a kernel and cannot abort under fork, joblib or several Python threads, as numba's layers can.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba

# Numpy's rules for division: checks for zero would keep loops from becoming vector instructions.
OPTIONS: dict[str, Any] = {"nogil": True, "error_model": "numpy"}

F = TypeVar("F", bound=Callable[..., Any])


def kernel(function: F) -> F:
    """Compile at first call; without a writable cache folder, without the cache."""
    try:
        return numba.njit(function, cache=True, **OPTIONS)
    except RuntimeError:  # numba found no folder to cache in
        return numba.njit(function, **OPTIONS)


def inline(function: F) -> F:
    """Compile a small function that only other kernels call."""
    return numba.njit(function, inline="never", **OPTIONS)
