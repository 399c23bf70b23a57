"""Seeds by stage, and generators that belong to one call."""

from __future__ import annotations

import functools
import hashlib
import logging
import numbers
from typing import Any

import numpy as np

from .errors import InputError
from .showing import refused

logger = logging.getLogger("vicinal")


def child_seed(seed: int, *path: str) -> int:
    """Return a 63-bit seed for a named part of the work.

    Keyed by name, so that exchanging one stage leaves the draws of the others alone.
    """
    text = "/".join([str(int(seed)), *path])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int) -> np.random.Generator:
    """Return a counter-based generator of its own (Philox), never numpy's global one."""
    return np.random.Generator(np.random.Philox(key=seed))


def as_seed(given: Any) -> int:
    """Return the seed that `random_state` stands for: what `numpy.random.default_rng` takes, and None for 0.

    A generator gives its next integer; sequences and large integers are hashed.

    Raises
    ------
    InputError
        If it is nothing of the kind.
    """
    if given is None:
        _say_once("random_state=None means 0 here: a map made twice is the same. Give another integer for another map")
        return 0
    if is_integer(given) and abs(int(given)) < 2**63:
        return int(given)
    if isinstance(given, np.random.RandomState):
        return int(given.randint(2**63 - 1, dtype=np.int64))
    try:
        return int(np.random.default_rng(_entropy(given)).integers(2**63 - 1))
    except (TypeError, ValueError) as error:
        wanted = "give an integer, or a numpy.random.Generator: every map here is made from a seed"
        raise InputError(f"{refused('random_state', given)}; {wanted}") from error


def _entropy(given: Any) -> Any:
    """Return what may be given to numpy's `default_rng`, which would also take text and booleans; else raise."""
    if isinstance(given, np.random.Generator | np.random.BitGenerator | np.random.SeedSequence):
        return given
    values = np.asarray(given, dtype=object)
    if isinstance(given, str | bytes) or any(not is_integer(value) for value in values.ravel()):
        raise TypeError
    return given


def is_integer(value: Any) -> bool:
    """Tell whether a value is an integer, Python's or numpy's, and no truth value."""
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


@functools.cache
def _say_once(text: str) -> None:
    logger.warning(text)
