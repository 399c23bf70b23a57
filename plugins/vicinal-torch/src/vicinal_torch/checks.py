"""Checks of the values users give as parameters."""

from __future__ import annotations

import math
import numbers
from collections.abc import Hashable, Sequence
from typing import Any

from vicinal.api import InputError

DEEPEST = 1000


def require_count(name: str, value: Any, *, low: int = 1) -> None:
    """Raise `InputError` unless given an integer of at least ``low``."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < low:
        raise InputError(f"{name}={value!r} is not allowed; give an integer of at least {low}")


def require_depth(value: int) -> None:
    """Raise `InputError` for more layers than can be built and trained in any time."""
    if value > DEEPEST:
        raise InputError(f"depth={value!r} is not allowed; give at most {DEEPEST}")


def require_number(name: str, value: Any, *, above: bool = False) -> None:
    """Raise `InputError` unless given a finite number that is not negative, or above 0."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not is_number or not math.isfinite(value) or value < 0 or (above and value == 0):
        raise InputError(
            f"{name}={value!r} is not allowed; give a finite number {'above' if above else 'of at least'} 0"
        )


def require_flag(name: str, value: Any) -> None:
    """Raise `InputError` unless given True or False."""
    if not isinstance(value, bool):
        raise InputError(f"{name}={value!r} is not allowed; give True or False")


def require_one_of(name: str, value: Any, allowed: Sequence[str], other: str = "") -> None:
    """Raise `InputError` unless given one of some words; ``other`` says what else would do."""
    if not isinstance(value, Hashable) or value not in allowed:
        words = ", ".join(map(repr, allowed))
        raise InputError(f"{name}={value!r} is not allowed; give one of {words}{other}")
