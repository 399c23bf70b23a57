"""Functions that users give: what they must be, and how they are recorded."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from .errors import InputError


def is_jitted(value: object) -> bool:
    """Return whether a value is a function that `numba.njit` compiles."""
    if "numba" not in sys.modules or not hasattr(value, "py_func"):
        return False
    from numba.core.registry import CPUDispatcher

    return isinstance(value, CPUDispatcher)


def require_jitted(name: str, value: object, call: str) -> None:
    """Raise `InputError` unless a value is a jitted function; ``call`` shows how it is called."""
    if is_jitted(value):
        return
    given = f"the function {function_name(value)!r}" if callable(value) else f"a {type(value).__name__}"
    msg = f"{name} is {given}, which compiled code cannot call; give a function {call} decorated with numba.njit"
    raise InputError(msg)


def function_name(function: Callable[..., Any]) -> str:
    """Return ``module:qualname``, by which a function is recorded: the function itself cannot be stored."""
    plain = getattr(function, "py_func", function)
    return f"{getattr(plain, '__module__', '')}:{getattr(plain, '__qualname__', type(plain).__name__)}"


def recordable(value: object) -> object:
    """Return a value, or the name of a function."""
    return function_name(value) if is_jitted(value) else value  # type: ignore[arg-type]
