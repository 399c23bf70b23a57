"""What a file is, before anything is written over it."""

from __future__ import annotations

import json
import os
import zipfile
from typing import Any

from vicinal.contract.errors import ModelError

MANIFEST, MAX_BYTES = "model.json", 64 * 2**20
BEGINNING, HEADER = b"PK\x03\x04", 30
MODEL, OTHER = "model", "other"
CHECKPOINT = "checkpoint"
"""A run under way, kept in the same format; not a model that new cells can be given to."""


def kind_of_file(path: str | os.PathLike[str]) -> str | None:
    """Return whether a file is a model, a checkpoint or another; None where there is none, or nothing of use in it."""
    if not os.path.exists(path):
        return None
    if not os.path.isfile(path):
        return OTHER
    kind = _stated_kind(path)
    if isinstance(kind, str):
        return CHECKPOINT if kind == CHECKPOINT else MODEL
    with open(path, "rb") as file:
        begins = file.read(HEADER + len(MANIFEST))
    damaged = begins.startswith(BEGINNING) and begins.endswith(MANIFEST.encode())
    return None if damaged or not begins else OTHER


def _stated_kind(path: str | os.PathLike[str]) -> Any:
    """Return the kind that the manifest of a zip states; None of anything else, whatever is wrong with it."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(MANIFEST).file_size > MAX_BYTES:
                return None
            return json.loads(archive.read(MANIFEST)).get("kind")
    except Exception:  # noqa: BLE001  a zip made by others can fail in any way
        return None


def check_replaceable(path: str | os.PathLike[str], kind: str) -> None:
    """Raise `ModelError` if something of another kind than what is to be written is at a path."""
    there = kind_of_file(path)
    if there in (None, kind):
        return
    what = {CHECKPOINT: "the checkpoint of a run", MODEL: "a model"}
    is_now = what.get(there or "", "neither a model nor a checkpoint")
    msg = f"path={os.fspath(path)!r}: what is there is {is_now}, and is not overwritten with {what[kind]}"
    raise ModelError(f"{msg}. Remove it, or name another file")
