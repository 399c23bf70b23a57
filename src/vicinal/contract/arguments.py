"""The door: what users call refuses arguments whose type is not the annotated one, before any work."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import numbers
import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np
import pandas as pd

from .errors import InputError, did_you_mean, listing
from .options import EmbedOptions
from .seeds import as_seed, is_integer
from .showing import refused
from .words import SYNONYMS, WANTED, elsewhere

F = TypeVar("F", bound=Callable[..., Any])

SEED = "random_state"
ANYTHING = {"Any", "object", ""}
KINDS: Mapping[str, Callable[[Any], bool]] = {
    "None": lambda value: value is None,
    "bool": lambda value: isinstance(value, bool | np.bool_),
    "int": lambda value: is_integer(value) and abs(int(value)) < 2**63,
    "float": lambda value: isinstance(value, numbers.Real) and not isinstance(value, bool),
    "str": lambda value: isinstance(value, str),
    "PathLike": lambda value: isinstance(value, os.PathLike),
    "ndarray": lambda value: isinstance(value, np.ndarray),
    "Callable": callable,
    "Mapping": lambda value: isinstance(value, Mapping),
    "Sequence": lambda value: _is_list(value),
    "AnnData": lambda value: holds_cells(value),
}
"""Parts of annotations, and what fits them; another part is the name of a class."""
IN_WORDS = {"bool": "True or False", "int": "an integer", "float": "a number", "str": "a name", "None": "None"}
READ_INSIDE = {"callbacks", "fixed", "phases"}
"""Arguments of many forms, which are read where they are used, and refused there."""


def checks_arguments(function: F) -> F:
    """Refuse arguments of another type than annotated, and names the function does not have; read the seed.

    What goes through ``**options`` under a name of `EmbedOptions` is checked as annotated there.
    """
    signature = inspect.signature(function)
    parts = {name: parts_of(p.annotation) for name, p in signature.parameters.items() if p.kind is not p.VAR_KEYWORD}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in signature.parameters.values())
    every = {**OPTIONS, **parts} if takes_any else parts

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        if not takes_any:
            _check_names(function.__name__, kwargs, list(parts))
        given = {**dict(zip(parts, args, strict=False)), **kwargs}
        _check_order(given, every, list(parts))
        for name, value in given.items():
            if name != SEED and name not in READ_INSIDE:
                check_type(name, value, every.get(name, ANYTHING), WANTED.get(f"{function.__name__} {name}", ""))
        if SEED in kwargs and SEED in every:
            kwargs[SEED] = as_seed(kwargs[SEED])
        return function(*args, **kwargs)

    return checked  # type: ignore[return-value]


def check_type(name: str, value: Any, parts: set[str], wanted: str = "") -> None:
    """Raise `InputError`, saying what is wanted, unless a value is of one of the kinds that an annotation names."""
    # Whether it is an AnnData is said by the one check of it, which also counts its cells.
    if parts & ANYTHING or parts == {"AnnData"} or any(_fits(value, part) for part in parts):
        return
    is_one_name = "str" in parts and isinstance(value, list) and len(value) == 1 and isinstance(value[0], str)
    hint = f". Did you mean {value[0]!r}?" if is_one_name else ""
    raise InputError(f"{refused(name, value)}; {wanted or WANTED.get(name) or _in_words(parts)}{hint}")


def _in_words(parts: set[str]) -> str:
    return f"give {', or '.join(words for part, words in IN_WORDS.items() if part in parts)}"


def parts_of(annotation: Any) -> set[str]:
    """Return the kinds that an annotation, as it is written, allows."""
    text = "" if annotation is inspect.Parameter.empty else str(annotation)
    while "[" in text:
        text = re.sub(r"\[[^\[\]]*\]", "", text)
    return {part.strip().rpartition(".")[2] for part in text.split("|")}


def holds_cells(value: Any) -> bool:
    """Tell whether a value is an AnnData, or has slots as one."""
    return all(hasattr(value, slot) for slot in ("obs", "obsm", "uns"))


def _is_list(value: Any) -> bool:
    if isinstance(value, np.ndarray):
        return value.ndim == 1
    return isinstance(value, Sequence | pd.Index) and not isinstance(value, str | bytes)


def _fits(value: Any, part: str) -> bool:
    if part in KINDS:
        return KINDS[part](value)
    return any(base.__name__ == part for base in type(value).__mro__)


def _check_names(function: str, given: Mapping[str, Any], known: Sequence[str]) -> None:
    """Raise `InputError` for a keyword that a function does not have."""
    for name in given:
        if name not in known:
            meant = SYNONYMS.get(name)
            hint = f" Did you mean {meant!r}?" if meant in known else did_you_mean(name, known)
            raise InputError(f"{function} has no argument {name!r}; it has {listing(known)}.{hint or elsewhere(name)}")


def _check_order(given: Mapping[str, Any], parts: Mapping[str, set[str]], names: Sequence[str]) -> None:
    """Raise `InputError` where the first two arguments are given in the place of each other."""
    if len(names) < 2 or names[0] not in given or names[1] not in given or not names[0].startswith("adata"):
        return
    first, second = given[names[0]], given[names[1]]
    others = parts[names[1]] - {"AnnData", "None"}
    if holds_cells(second) and not holds_cells(first) and any(_fits(first, part) for part in others):
        raise InputError(f"{names[0]} and {names[1]} are swapped: the AnnData comes first")


OPTIONS = {f.name: parts_of(f.type) for f in dataclasses.fields(EmbedOptions) if f.name != "params"}
