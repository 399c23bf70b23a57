"""A small validator: what a part of a stored record may be, stated as a value."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

DEEPEST = 64
"""Lists and objects within each other; deeper ones exhaust the stack of whoever walks them."""
LARGEST = 2**256
"""Integers of free values stay below: random states may be wider than 64 bits, but any of these fits a float."""
NAMED, INT64 = 1_000, 2**63 - 1
QUOTE = "'"

Check = Callable[[Any, str], None]
"""Raises `Misfit` for a value that is not allowed; is told where the value is."""


class Misfit(ValueError):
    """A value is not what its schema allows; the message says where it is, what it is and what is allowed."""


def text(value: Any, where: str) -> None:
    """Take text that any file can hold."""
    if not isinstance(value, str):
        raise Misfit(f"{where} is {described(value)}, expected text")
    if not _is_unicode(value):
        raise Misfit(f"{where} is {value[:50]!a}, which is no valid Unicode")


def name(value: Any, where: str) -> None:
    """Take a name: short text without the character 0, which h5ad files cannot hold."""
    text(value, where)
    if not value or len(value) > NAMED or "\0" in value:
        raise Misfit(f"{where} is {value[:50]!r}, expected a name of 1 to {NAMED} characters, none of them 0")


def key(value: Any, where: str) -> None:
    """Take a name that can be a key of an AnnData."""
    name(value, where)
    if "/" in value:
        raise Misfit(f"{where} is {value[:50]!r}, which no key can be: it holds '/'")


def flag(value: Any, where: str) -> None:
    """Take true or false."""
    if not isinstance(value, bool | np.bool_):
        raise Misfit(f"{where} is {described(value)}, expected true or false")


def integer(low: int = -INT64, high: int = INT64) -> Check:
    """Take integers within bounds."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, int | np.integer) or isinstance(value, bool):
            raise Misfit(f"{where} is {described(value)}, expected an integer")
        if value < low:
            raise Misfit(f"{where} is {_short(value)}; expected {'not negative' if low == 0 else f'at least {low}'}")
        if value > high:
            raise Misfit(f"{where} is {_short(value)}; expected at most {high}")

    return check


def number(low: float = -1e300, high: float = 1e300) -> Check:
    """Take finite numbers within bounds."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, int | float | np.number) or isinstance(value, bool | np.complexfloating):
            raise Misfit(f"{where} is {described(value)}, expected a number")
        if not low <= value <= high:  # nor is NaN
            raise Misfit(f"{where} is {_short(value)}; expected a number from {low:g} to {high:g}")

    return check


def optional(check: Check) -> Check:
    """Take None too."""
    return lambda value, where: None if value is None else check(value, where)


def either(*checks: Check) -> Check:
    """Take what one of several checks takes; the last one's message is shown."""

    def check(value: Any, where: str) -> None:
        for one in checks[:-1]:
            try:
                return one(value, where)
            except Misfit:
                continue
        return checks[-1](value, where)

    return check


def list_of(item: Check, *, longest: int = INT64) -> Check:
    """Take lists, every item of which is checked."""

    def check(value: Any, where: str) -> None:
        if not isinstance(value, list | tuple):
            raise Misfit(f"{where} is {described(value)}, expected a list")
        if len(value) > longest:
            raise Misfit(f"{where} has {len(value)} items; expected at most {longest}")
        for i, one in enumerate(value):
            item(one, f"{where}[{i}]")

    return check


def numbers(value: Any, where: str) -> None:
    """Take a list of numbers, or an array of one dimension."""
    array = value if isinstance(value, np.ndarray) else np.asarray(value, dtype=object)
    if array.ndim != 1 or (array.dtype.kind not in "fiu" and not all(_is_number(one) for one in array)):
        raise Misfit(f"{where} is {described(value)}, expected a list of numbers")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number) and not isinstance(value, bool)


def anything(value: Any, where: str) -> None:
    """Take any value, which is not used."""


def mapping_of(item: Check) -> Check:
    """Take objects with any names, every value of which is checked."""

    def check(value: Any, where: str) -> None:
        _check_mapping(value, where)
        for one, inner in value.items():
            item(inner, _within(where, one))

    return check


def record(
    required: Mapping[str, Check],
    optional: Mapping[str, Check] | None = None,
    *,
    called: str | None = None,
    others: Check | None = None,
) -> Check:
    """Take objects that have some fields and may have others; fields of other names are `plain`, or what is said.

    Parameters
    ----------
    called
        What lacks a field, in messages.
    """
    fields = {**required, **(optional or {})}

    def check(value: Any, where: str) -> None:
        _check_mapping(value, where)
        for one in required:
            if one not in value:
                raise Misfit(f"{called or 'it'} lacks {_within(where, one)}")
        for one, inner in value.items():
            fields.get(one, others or plain)(inner, _within(where, one))

    return check


def plain(value: Any, where: str) -> None:
    """Take what strict JSON can hold, nested no deeper than `DEEPEST`; walked without recursion."""
    stack = [(value, 0)]
    while stack:
        found, depth = stack.pop()
        if isinstance(found, Mapping | list | tuple):
            if depth >= DEEPEST:
                raise Misfit(f"{where} is nested more than {DEEPEST} deep")
            names: Iterable[Any] = found if isinstance(found, Mapping) else ()
            if not all(isinstance(one, str) and _is_unicode(one) for one in names):
                raise Misfit(f"{where} has a name that is no valid Unicode text")
            stack += [(one, depth + 1) for one in (found.values() if isinstance(found, Mapping) else found)]
        else:
            _check_scalar(found, where)


def digits(value: Any, where: str) -> None:
    """Take an integer written as text."""
    text(value, where)
    if len(value) > 80 or not value.removeprefix("-").isdecimal():
        raise Misfit(f"{where} is {value[:50]!r}, expected an integer")


def json_of(inner: Check) -> Check:
    """Take text that is JSON of something."""

    def check(value: Any, where: str) -> None:
        text(value, where)
        try:
            found = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise Misfit(f"{where} is not JSON ({error})") from None
        plain(found, where)
        inner(found, where)

    return check


def phase_of(overrides: Check) -> Check:
    """Take the first epoch, the end, and the overrides of a phase."""

    def check(value: Any, where: str) -> None:
        list_of(anything, longest=3)(value, where)
        if len(value) != 3 or not all(type(epoch) is int and 0 <= epoch <= INT64 for epoch in value[:2]):
            raise Misfit(f"{where} is no first epoch, end and overrides")
        overrides(value[2], where)

    return check


def _check_scalar(value: Any, where: str) -> None:
    if isinstance(value, str):
        text(value, where)
    elif isinstance(value, int):  # True and False among them
        if abs(value) >= LARGEST:
            raise Misfit(f"{where} holds {_short(value)}, a number beyond all bounds")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise Misfit(f"{where} holds {value}, which is no finite number")
    elif value is not None:
        raise Misfit(f"{where} holds {described(value)}, which is no plain value")


def _check_mapping(value: Any, where: str) -> None:
    if not isinstance(value, Mapping):
        raise Misfit(f"{where} is {described(value)}, expected an object")
    for one in value:
        if not isinstance(one, str) or not _is_unicode(one):
            raise Misfit(f"{where} has a name that is no valid Unicode text")


def _within(where: str, field: str) -> str:
    return f"{where.strip(QUOTE)}[{field[:50]!r}]" if where else repr(field[:50])


def _is_unicode(value: str) -> bool:
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def _short(value: Any) -> str:
    if isinstance(value, int) and abs(value) >= LARGEST:  # Python refuses to spell very long ones
        return f"an integer of {value.bit_length()} bits"
    return str(value)


def described(value: Any) -> str:
    """Return the kind of a value as messages name it."""
    if isinstance(value, np.ndarray) and value.size != 1:
        return f"an array of {value.dtype} and shape {value.shape}"
    return "None" if value is None else f"a {type(value).__name__}"
