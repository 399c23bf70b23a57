"""The paths of a call: each for one thing, and nothing of another kind where something is to be written."""

from __future__ import annotations

import itertools
import os
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from vicinal.contract.errors import InputError, listing
from vicinal.models.ours import CHECKPOINT, MODEL, check_replaceable

STORES = (".h5ad", ".zarr")
PICTURES = (".png", ".pdf", ".svg")
BEGINNINGS = {
    ".h5ad": (b"\x89HDF\r\n\x1a\n",),
    ".png": (b"\x89PNG",),
    ".pdf": (b"%PDF",),
    ".svg": (b"<?xml", b"<svg"),
}
MAY_BE_ONE = {"IN", "OUT"}


def require_distinct(reads: Mapping[str, Any], writes: Mapping[str, Any]) -> None:
    """Raise `InputError` if a path that is written is, by any name, one that is used for something else too.

    Parameters
    ----------
    reads, writes
        Paths by the names of their arguments; None for those that were not given. IN and OUT may be one.
    """
    given = {name: path for name, path in {**reads, **writes}.items() if path is not None}
    for (a, first), (b, second) in itertools.combinations(given.items(), 2):
        if a not in writes and b not in writes:
            continue
        if {a, b} != MAY_BE_ONE and is_one_file(first, second):
            shown = f"{str(first)!r}" if str(first) == str(second) else f"{str(first)!r} and {str(second)!r}"
            raise InputError(f"{a} and {b} are one file, {shown}; give each a file of its own")
        for (outer, folder), (inner, path) in (((a, first), (b, second)), ((b, second), (a, first))):
            if Path(os.path.realpath(folder)) in Path(os.path.realpath(path)).parents:
                raise InputError(f"{inner} {str(path)!r} is inside {outer} {str(folder)!r}; name a file elsewhere")


def is_one_file(path: Any, other: Any) -> bool:
    """Tell whether two paths lead to one file, through links, or where a file system ignores case."""
    real, other_real = os.path.realpath(path), os.path.realpath(other)
    if real == other_real:
        return True
    if os.path.exists(real) and os.path.exists(other_real):
        return os.path.samefile(real, other_real)
    # Of files that are not there yet nobody knows whether case will tell them apart.
    neither = not os.path.exists(real) and not os.path.exists(other_real)
    return neither and _plain(real) == _plain(other_real)


def _plain(path: str) -> str:
    return unicodedata.normalize("NFC", path).casefold()


def paths_in(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return those arguments of a map that may be paths of files that are read."""
    looks_like = {name: value for name, value in given.items() if isinstance(value, str) and "." in value}
    return {f"{name}=": value for name, value in looks_like.items() if name != CHECKPOINT and os.path.exists(value)}


def target_of(path: str | None, endings: Sequence[str] = ()) -> Path | None:
    """Return where to write, checked before any work; links are followed, so that they stay links."""
    if path is None:
        return None
    target = Path(os.path.realpath(path))
    if endings and target.suffix not in endings:
        raise InputError(f"{path}: the name must end in one of {listing(endings)}")
    if not target.parent.is_dir():
        raise InputError(f"{path}: there is no folder {str(target.parent)!r} to write to")
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"{path}: the folder {str(target.parent)!r} cannot be written to")
    if any(_is_zarr_store(folder) for folder in target.parents):
        raise InputError(f"{path}: is inside a zarr store; name a file elsewhere")
    if target.is_dir() and not (_is_zarr_store(target) and ".zarr" in endings):
        raise InputError(f"{path}: is a folder; name a file")
    if endings:
        _check_there(path, target)
    return target


def model_target(path: str | None) -> Path | None:
    """Return where to write a model, checked before any work."""
    target = target_of(path)
    if target is not None:
        check_replaceable(target, MODEL)
    return target


def _check_there(path: str, target: Path) -> None:
    """Raise `InputError` if there is something of another kind than the name says."""
    if not target.exists() or target.is_dir():
        return
    beginnings = BEGINNINGS.get(target.suffix, ())
    if not target.is_file():
        raise InputError(f"{path}: what is there is no file; name another")
    with open(target, "rb") as file:
        begins = file.read(8)
    if begins and not begins.startswith(tuple(beginnings)):
        raise InputError(f"{path}: what is there is no {target.suffix} file; remove it, or name another file")


def _is_zarr_store(folder: Path) -> bool:
    return folder.suffix == ".zarr" and any((folder / name).is_file() for name in ("zarr.json", ".zgroup"))
