"""Matching the columns of new cells to those a model knows, by name."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.errors import InputError

SHOWN = 5


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
        msg = (
            f"{len(missing)} of the model's {len(wanted)} features are not in var_names: {_first(missing)}."
            f" There the names are like {_first(given)}; give the cells with the names the map was made with"
        )
        raise InputError(msg)
    repeated = _repeated(wanted) or _repeated([name for name in given if name in set(wanted)])
    if repeated:
        msg = f"{len(repeated)} feature names stand for several columns: {_first(repeated)}; make var_names unique"
        raise InputError(msg)
    return np.fromiter((place[name] for name in wanted), dtype=np.intp, count=len(wanted))


def _repeated(names: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _first(names: Sequence[str]) -> str:
    return ", ".join(repr(str(name)) for name in names[:SHOWN]) + (", …" if len(names) > SHOWN else "")
