"""Rows too many for memory, in a temporary file that the system reads and drops page by page."""

from __future__ import annotations

import errno
import math
import os
import shutil
import tempfile
from typing import IO

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.errors import InputError

from .units import shown_bytes

SPOOL_BYTES = 2 * 2**30
"""Bytes beyond which rows that have to be made go into a file."""
FULL = (errno.ENOSPC, errno.EDQUOT)


def new_rows(shape: tuple[int, int], name: str, *, copies: int = 1) -> NDArray[np.float32]:
    """Return an array for the rows of a representation; in a file, gone with the array, where they are many.

    Parameters
    ----------
    copies
        How many such arrays there will be at a time, this one included, that the disk must have room for.

    Raises
    ------
    InputError
        If the disk has no room.
    """
    if not is_spooled(shape):
        return np.empty(shape, dtype=np.float32)
    n_bytes = n_bytes_of(shape)
    if shutil.disk_usage(tempfile.gettempdir()).free < copies * n_bytes:
        raise InputError(_no_room(shape, name, copies * n_bytes))
    with tempfile.TemporaryFile() as file:
        try:
            _reserve(file, n_bytes)
        except OSError as error:
            if error.errno in FULL:
                raise InputError(_no_room(shape, name, copies * n_bytes)) from error
            raise
        # A plain array, which keeps the mapping alive, which keeps the file alive, whose name is gone already.
        return np.asarray(np.memmap(file, dtype=np.float32, mode="r+", shape=shape))


def is_spooled(shape: tuple[int, int]) -> bool:
    """Tell whether rows that have to be made go into a file."""
    return n_bytes_of(shape) > SPOOL_BYTES


def is_in_file(rows: NDArray[np.float32]) -> bool:
    """Tell whether rows are mapped from a file."""
    return isinstance(rows.base, np.memmap)


def n_bytes_of(shape: tuple[int, ...]) -> int:
    """Return the bytes of an array of float32."""
    return 4 * math.prod(shape)


def _reserve(file: IO[bytes], n_bytes: int) -> None:
    """Take the room at once: a disk found full while a mapped page is written ends the process."""
    if not hasattr(os, "posix_fallocate"):
        file.truncate(n_bytes)
        return
    try:
        os.posix_fallocate(file.fileno(), 0, n_bytes)
    except OSError as error:
        if error.errno in FULL:
            raise
        file.truncate(n_bytes)  # a file system that cannot reserve


def _no_room(shape: tuple[int, int], name: str, n_bytes: int) -> str:
    folder, need = tempfile.gettempdir(), shown_bytes(n_bytes)
    there = f"{folder!r} has {shown_bytes(shutil.disk_usage(folder).free)} free"
    remedy = "run sc.pp.pca(adata) and use that, or start again with TMPDIR naming a folder with more room"
    return f"representation {name!r} with shape {shape} needs {need} in temporary files, and {there}; {remedy}"
