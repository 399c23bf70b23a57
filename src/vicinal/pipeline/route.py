"""Sends each parameter to the one backend that has it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vicinal.contract.errors import InputError, did_you_mean, listing
from vicinal.contract.words import SYNONYMS, elsewhere

IN_OTHERS = {"n_epochs": "n_training_epochs"}
"""Arguments to what does the same in backends that do not take them."""

SEPARATOR = "__"


def route(
    params: Mapping[str, Any],
    takers: Sequence[tuple[str, str, Sequence[str]]],
    arguments: Sequence[str],
    whose: Callable[[str], str] = lambda name: "",
) -> dict[tuple[str, str], dict[str, Any]]:
    """Return the parameters by ``(stage, backend)``.

    Parameters
    ----------
    params
        Name to value; ``stage__name`` or ``backend__name`` says whose parameter is meant.
    takers
        ``(stage, backend, field names)`` of every chosen backend.
    arguments
        Names of the function's own arguments, for suggestions.
    whose
        Says in a sentence what has a parameter that none of the chosen backends has.

    Raises
    ------
    InputError
        If no chosen backend has the parameter, or several have.
    """
    routed: dict[tuple[str, str], dict[str, Any]] = {(stage, backend): {} for stage, backend, _ in takers}
    for given, value in params.items():
        owners, name = _owners(given, takers)
        if not owners:
            raise InputError(_unknown(given, takers, arguments, whose))
        if len(owners) > 1:
            raise InputError(_ambiguous(given, name, owners))
        routed[owners[0]][name] = value
    return routed


def taken_by(params: Mapping[str, Any], stage: str, backend: str, fields: Sequence[str]) -> dict[str, Any]:
    """Return those of the parameters that one backend has, whatever the others are."""
    owned = ((*_owners(given, [(stage, backend, fields)]), value) for given, value in params.items())
    return {name: value for owners, name, value in owned if owners}


def _owners(given: str, takers: Sequence[tuple[str, str, Sequence[str]]]) -> tuple[list[tuple[str, str]], str]:
    prefix, separator, rest = given.partition(SEPARATOR)
    if separator and rest:
        return [(stage, b) for stage, b, fields in takers if prefix in (stage, b) and rest in fields], rest
    return [(stage, backend) for stage, backend, fields in takers if given in fields], given


def _ambiguous(given: str, name: str, owners: Sequence[tuple[str, str]]) -> str:
    stages = [stage for stage, _ in owners]
    prefixes = stages if len(set(stages)) == len(stages) else [backend for _, backend in owners]
    taken = ", ".join(f"{stage} {backend!r}" for stage, backend in owners)
    ways = listing(f"{prefix}{SEPARATOR}{name}" for prefix in prefixes)
    hint = f". Did you mean {SYNONYMS[given]!r}? Else" if given in SYNONYMS else ":"
    return f"{given!r} is ambiguous{hint} {taken} take it; give one of {ways}"


def _unknown(
    given: str,
    takers: Sequence[tuple[str, str, Sequence[str]]],
    arguments: Sequence[str],
    whose: Callable[[str], str],
) -> str:
    names = [field for _, _, fields in takers for field in fields]
    meant = IN_OTHERS.get(given) if IN_OTHERS.get(given) in names else SYNONYMS.get(given)
    others = [name for name in (*names, *arguments) if name != given]
    hint = f" Did you mean {meant!r}?" if meant else elsewhere(given) or whose(given) or did_you_mean(given, others)
    taken = "; ".join(f"{stage} {backend!r}: {', '.join(fields) or 'none'}" for stage, backend, fields in takers)
    return f"unknown parameter {given!r}.{hint} The chosen backends take: {taken}"
