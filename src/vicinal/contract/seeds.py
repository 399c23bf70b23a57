"""Seeds by stage, and generators that belong to one call."""

from __future__ import annotations

import hashlib

import numpy as np


def child_seed(seed: int, *path: str) -> int:
    """Return a 63-bit seed for a named part of the work.

    Keyed by name, so that exchanging one stage leaves the draws of the others alone.
    """
    text = "/".join([str(int(seed)), *path])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int) -> np.random.Generator:
    """Return a counter-based generator of its own (Philox), never numpy's global one."""
    return np.random.Generator(np.random.Philox(key=seed))
