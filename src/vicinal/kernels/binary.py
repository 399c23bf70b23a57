"""Metrics of what is there and what is not: distances from counts of columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

Counts = NDArray[np.float64]


def _share(part: Counts, whole: Counts) -> Counts:
    return np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=whole != 0)


def _yule(both: Counts, first: Counts, second: Counts, n: int) -> Counts:
    half = first * second
    return _share(2 * half, np.where(half == 0, 0, both * (n - both - first - second) + half))


def _kulsinski(both: Counts, first: Counts, second: Counts, n: int) -> Counts:
    unequal = first + second
    return np.where(unequal == 0, 0, (unequal - both + n) / (unequal + n))


FORMULAS: Mapping[str, Callable[[Counts, Counts, Counts, int], Counts]] = {
    "jaccard": lambda both, first, second, n: _share(first + second, both + first + second),
    "dice": lambda both, first, second, n: _share(first + second, 2 * both + first + second),
    "russellrao": lambda both, first, second, n: (n - both) / n,
    "rogerstanimoto": lambda both, first, second, n: 2 * (first + second) / (n + first + second),
    "sokalmichener": lambda both, first, second, n: 2 * (first + second) / (n + first + second),
    "sokalsneath": lambda both, first, second, n: _share(first + second, 0.5 * both + first + second),
    "yule": _yule,
    "kulsinski": _kulsinski,
    "matching": lambda both, first, second, n: (first + second) / n,
}
"""Each metric, of the columns that both rows have, that the first or the second alone has, and the number of columns.

As in scipy; ``kulsinski``, ``matching`` and ``sokalmichener`` as in pynndescent, which has 0 for ``russellrao`` of rows
that are equal.
"""
METRICS = tuple(FORMULAS)
"""Metrics by which a value counts as there where it is not zero."""


def binary_distances(metric: str, both: Counts, n_first: Counts, n_second: Counts, n_features: int) -> Counts:
    """Return distances from the number of columns that both rows have, and that each has."""
    both = np.asarray(both, np.float64)
    return FORMULAS[metric](both, n_first - both, n_second - both, n_features)
