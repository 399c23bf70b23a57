"""Where torch works, and how it is held to what it may use there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

from vicinal.api import InputError

if TYPE_CHECKING:
    import torch

KNOWN = re.compile(r"auto|cpu|mps|cuda(:\d+)?")
MEBIBYTE = 2**20
CPU_TILE = 16 * MEBIBYTE
"""Bytes of a tile on the CPU: much of it stays in cache between the product and the search."""
LARGEST_TILE = 2048 * MEBIBYTE


def choose_device(name: str) -> torch.device:
    """Return the device of a name: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` and so on, ``mps``.

    ``auto`` is CUDA where there is any, else MPS, else the CPU.

    Raises
    ------
    InputError
        If the name is unknown, or names a device that is not there.
    """
    import torch

    there = available()
    if name not in there:
        known = isinstance(name, str) and KNOWN.fullmatch(name)
        problem = "is not available to torch here" if known else "is unknown"
        msg = f"device={name!r} {problem}; allowed are {', '.join(map(repr, there))}. Give one of them"
        raise InputError(msg)
    best = next(kind for kind in ("cuda", "mps", "cpu") if kind in there)
    return torch.device(best if name == "auto" else name)


def available() -> list[str]:
    """Return the names `choose_device` takes on this machine."""
    import torch

    names = ["auto", "cpu"]
    if torch.cuda.is_available():
        names += ["cuda", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
    return names + ["mps"] * torch.backends.mps.is_available()


def tile_bytes(device: torch.device) -> int:
    """Return how large the largest array of intermediate results should be."""
    import torch

    if device.type == "cpu":
        return CPU_TILE
    if device.type != "cuda":
        return 256 * MEBIBYTE
    # A tile is read by operations that make arrays of their own, and others may use the device as well.
    return max(min(torch.cuda.mem_get_info(device)[0] // 8, LARGEST_TILE), 16 * MEBIBYTE)


@contextmanager
def threads(n_jobs: int) -> Iterator[None]:
    """Let torch use some threads; afterwards as many as before."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(max(int(n_jobs), 1))
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def full_precision() -> Iterator[None]:
    """Multiply float32 matrices as float32, whatever the process has chosen; afterwards as before.

    TF32 on a GPU and bfloat16 on a CPU keep 8 to 11 bits of each factor. Autocast, which does as well, is a matter of
    the thread that switched it on.
    """
    settings = _settings()
    before = [get() for get, _, _ in settings]
    try:
        for _, put, value in settings:
            put(value)
        yield
    finally:
        for (_, put, _), value in zip(settings, before, strict=True):
            put(value)


def _settings() -> list[tuple[Callable[[], Any], Callable[[Any], None], str]]:
    """Return what reads and what writes each setting of precision, and the value that means float32."""
    import torch

    parts = [torch.backends.cuda.matmul, getattr(torch.backends.mkldnn, "matmul", None)]
    if all(hasattr(part, "fp32_precision") for part in parts):
        name = "fp32_precision"
        return [(partial(getattr, part, name), partial(setattr, part, name), "ieee") for part in parts]
    # Before torch 2.9 one setting stands for all.
    return [(torch.get_float32_matmul_precision, torch.set_float32_matmul_precision, "highest")]
