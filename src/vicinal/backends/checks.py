"""Checks of the values users give as parameters."""

from __future__ import annotations

import math
import numbers
from collections.abc import Sequence
from typing import Any

from vicinal.contract.errors import InputError, did_you_mean, listing
from vicinal.contract.showing import refused


def require_number(name: str, value: Any, *, low: float, high: float = math.inf, above: bool = False) -> None:
    """Raise `InputError` unless ``value`` is a finite number from ``low`` to ``high``; ``above`` excludes ``low``."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if is_number and math.isfinite(value) and (low < value if above else low <= value) and value <= high:
        return
    least = f"above {low:g}" if above else f"of at least {low:g}"
    allowed = f"from {low:g} to {high:g}" if math.isfinite(high) else least
    msg = f"{refused(name, value)}; give a finite number {allowed}"
    raise InputError(msg)


def require_flag(name: str, value: Any) -> None:
    """Raise `InputError` unless ``value`` is True or False."""
    if not isinstance(value, bool):
        msg = f"{refused(name, value)}; give True or False"
        raise InputError(msg)


def require_count(name: str, value: Any) -> None:
    """Raise `InputError` unless ``value`` is a positive integer."""
    if not isinstance(value, numbers.Integral) or isinstance(value, bool) or value < 1:
        msg = f"{refused(name, value)}; give a positive integer"
        raise InputError(msg)


def require_one_of(name: str, value: Any, allowed: Sequence[str]) -> None:
    """Raise `InputError` unless ``value`` is one of some words."""
    if not isinstance(value, str) or value not in allowed:
        hint = did_you_mean(str(value), allowed)
        raise InputError(f"{refused(name, value)}; give one of {listing(allowed)}.{hint}")
