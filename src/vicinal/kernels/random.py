"""Random numbers as a function of a counter: the same for any order of evaluation and any number of threads."""

from __future__ import annotations

import numpy as np

from .compile import inline

GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 over the golden ratio
FIRST_FACTOR = np.uint64(0xBF58476D1CE4E5B9)
SECOND_FACTOR = np.uint64(0x94D049BB133111EB)
U1, U27, U30, U31, U32, U40 = (np.uint64(value) for value in (1, 27, 30, 31, 32, 40))


@inline
def mix(bits: int) -> int:
    """Scramble 64 bits one to one, each input bit reaching every output bit (SplitMix64's finaliser, Steele 2014)."""
    bits = np.uint64(bits)
    bits = (bits ^ (bits >> U30)) * FIRST_FACTOR
    bits = (bits ^ (bits >> U27)) * SECOND_FACTOR
    return bits ^ (bits >> U31)


@inline
def draw(key: int, counter: int) -> int:
    """Return the 64 random bits number ``counter`` of a key; they may serve as the key of a finer stream."""
    return mix(np.uint64(key) + (np.uint64(counter) + U1) * GOLDEN)


@inline
def even_draw(key: int, counter: int) -> int:
    """Return bits number ``counter`` of a sequence with a random start whose every run is spread evenly (Weyl)."""
    return mix(key) + np.uint64(counter) * GOLDEN


@inline
def uniform(bits: int) -> float:
    """Return a float32 in [0, 1) from 64 random bits."""
    return np.float32(np.uint64(bits) >> U40) * np.float32(2.0**-24)


@inline
def below(bits: int, n: int) -> int:
    """Return an integer in [0, n) from 64 random bits, for ``n`` up to 2**31 (multiply and shift, Lemire 2019)."""
    return np.int64(((np.uint64(bits) >> U32) * np.uint64(n)) >> U32)
