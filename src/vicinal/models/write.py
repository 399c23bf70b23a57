"""A file written whole or not at all, and what writers that were killed have left."""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import IO

from vicinal.contract.errors import WriteError


def write_whole(path: str | os.PathLike[str], write: Callable[[IO[bytes]], None]) -> None:
    """Write beside a file and rename, so that a failure leaves what was there before, and nothing else.

    Raises
    ------
    WriteError
        If the disk is full, or the folder cannot be written to.
    """
    target = Path(os.path.realpath(path))
    remove_unfinished(target)
    temporary = target.with_name(f"{_beginning(target)}{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            _lock(file)
            write(file)
            file.flush()
            os.fsync(file.fileno())
            os.replace(temporary, target)
    except OSError as error:
        why = error.strerror or str(error)
        raise WriteError(f"path={os.fspath(path)!r} cannot be written: {why}. What was there is unchanged") from error
    finally:
        _unlink(temporary)


def remove_unfinished(path: str | os.PathLike[str]) -> None:
    """Remove what processes that were killed while they wrote this file have left beside it."""
    target = Path(os.path.realpath(path))
    for left in target.parent.glob(f"{_beginning(target)}*.tmp"):
        if not _is_being_written(left):
            _unlink(left)


def _beginning(target: Path) -> str:
    return f".vicinal-{hashlib.sha256(target.name.encode(errors='surrogateescape')).hexdigest()[:16]}-"


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:  # the folder has become read-only, or the file is open elsewhere
        return


def _lock(file: IO[bytes]) -> bool:
    """Lock a file for as long as it is open, and its process lives; false where another has locked it."""
    try:
        import fcntl
    except ImportError:  # Windows, where files that are open cannot be removed
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _is_being_written(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return not _lock(file)
    except OSError:
        return False
