"""Matching the columns of new cells to those a model knows, by name."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vicinal.contract.errors import InputError

SHOWN = 5
ENSEMBL = re.compile(r"ENS[A-Z]*[GT]\d{11}(\.\d+)?")
VERSION = re.compile(r"\.\d+$")


@dataclass(frozen=True, eq=False)
class Match:
    """Which wanted names are there, and where.

    Attributes
    ----------
    present
        Places among the wanted names, ascending.
    columns
        Their places among the given names.
    """

    present: NDArray[np.intp]
    columns: NDArray[np.intp]


def match_columns(wanted: Sequence[str], given: Sequence[str]) -> NDArray[np.intp]:
    """Return, for each wanted name, the column among the given ones that has it.

    Raises
    ------
    InputError
        If names are missing, or stand for several columns.
    """
    if list(wanted) == list(given):
        return np.arange(len(given))
    place = {name: column for column, name in enumerate(given)}
    missing = [name for name in wanted if name not in place]
    if missing:
        msg = f"{len(missing)} of the model's {len(wanted)} features are not in var_names: {_first(missing)}."
        example = f" There the names are like {_first(given)}; give the cells with the names the map was made with"
        raise InputError(msg + example + naming_hint(missing, given))
    _check_unique(wanted, given)
    return np.fromiter((place[name] for name in wanted), dtype=np.intp, count=len(wanted))


def match_genes(
    wanted: Sequence[str],
    given: Sequence[str],
    weights: ArrayLike,
    min_overlap: float,
    *,
    others: Mapping[str, Sequence[str]] | None = None,
    otherwise: str = "",
) -> Match:
    """Return which of a model's genes are there, in any order, where those make up enough.

    Parameters
    ----------
    weights
        How much each wanted gene counts; together 1.
    min_overlap
        How much of that must be there.
    others
        Further names of the given columns, by the name of the column of ``var`` that holds them.
    otherwise
        What else the user might do.

    Raises
    ------
    InputError
        If too much is missing, or a wanted name stands for several columns.
    """
    place = {name: column for column, name in enumerate(given)}
    present = np.array([i for i, name in enumerate(wanted) if name in place], dtype=np.intp)
    share = float(np.asarray(weights)[present].sum())
    if len(present) == 0 or share < min_overlap * (1 - 1e-6):  # all of them may add up to a little less than 1
        missing = [name for name in wanted if name not in place]
        msg = (
            f"{len(missing):,} of the model's {len(wanted):,} genes are not in var_names: {_first(missing)}. The others"
            f" make up {share:.0%} of its squared loadings, min_overlap={min_overlap:g} asks for {min_overlap:.0%}."
            f" There the names are like {_first(given)}"
        )
        raise InputError(msg + naming_hint(missing, given, others) + otherwise)
    _check_unique(wanted, given)
    return Match(present, np.array([place[wanted[i]] for i in present], dtype=np.intp))


def naming_hint(missing: Sequence[str], given: Sequence[str], others: Mapping[str, Sequence[str]] | None = None) -> str:
    """Return a sentence on why names do not fit, if most of the missing would fit in another way; else nothing."""
    for column, names in (others or {}).items():
        if _most(missing, set(names)):
            return f". adata_new.var[{column!r}] has them: adata_new.var_names = adata_new.var[{column!r}]"
    for change, says in _READINGS:
        if _most([change(name) for name in missing], {change(name) for name in given}):
            return f". They differ only in {says}"
    kinds = [_is_mostly(ENSEMBL, names) for names in (missing, given)]
    if kinds[0] == kinds[1]:
        return ""
    known, theirs = ("Ensembl ids", "gene symbols") if kinds[0] else ("gene symbols", "Ensembl ids")
    return f". The model knows {known}, those look like {theirs}: put the other names into adata_new.var_names"


def _unversioned(name: str) -> str:
    return VERSION.sub("", name)


_READINGS: tuple[tuple[Callable[[str], str], str], ...] = (
    (str.casefold, "upper and lower case"),
    (_unversioned, "version suffixes such as '.1': take them off var_names, or put them back"),
    (str.strip, "spaces around them"),
)


def _most(names: Sequence[str], there: set[str]) -> bool:
    return sum(name in there for name in names) > len(names) / 2


def _is_mostly(pattern: re.Pattern[str], names: Sequence[str]) -> bool:
    return sum(pattern.fullmatch(name) is not None for name in names) > len(names) / 2


def _check_unique(wanted: Sequence[str], given: Sequence[str]) -> None:
    known = set(wanted)
    repeated = _repeated(wanted) or _repeated([name for name in given if name in known])
    if repeated:
        msg = f"{len(repeated)} feature names stand for several columns: {_first(repeated)}; make var_names unique"
        raise InputError(msg)


def _repeated(names: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _first(names: Sequence[str]) -> str:
    return ", ".join(repr(str(name)) for name in names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
