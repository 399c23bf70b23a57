"""What is made beside a map: where it fails, it costs only itself."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from .files import EXTRA_FAILED, one_line, replacing


def make_extra(name: str, target: Path | None, make: Callable[[Path], object]) -> int:
    """Make a file beside the map, or say in one line why it is not there; return the exit code.

    Parameters
    ----------
    name
        The option it was asked for by.
    target
        Where it goes; None where it was not asked for.
    make
        Writes it to a path that is given.
    """
    if target is None:
        return 0
    try:
        with replacing([target]) as (path,):
            assert path is not None
            make(path)
    except Exception as error:  # noqa: BLE001  whatever it is, the map is there
        print(f"vicinal: {name} {target.name} is not made: {one_line(error)}. The map is written", file=sys.stderr)
        return EXTRA_FAILED
    return 0
