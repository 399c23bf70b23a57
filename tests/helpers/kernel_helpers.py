"""What the tests of several kernels need; on the path of every test (`pythonpath` in pyproject.toml)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import numpy as np
from scipy import sparse

from vicinal.kernels.lanes import LARGEST_WEIGHT, arrange


@contextmanager
def interpreted(*modules: ModuleType) -> Iterator[None]:
    """Run these modules' kernels, and what they call, as plain Python."""
    compiled = [(module, name, value) for module in modules for name, value in vars(module).items() if is_kernel(value)]
    for module, name, value in compiled:
        setattr(module, name, value.py_func)
    try:
        with np.errstate(all="ignore"):
            yield
    finally:
        for module, name, value in compiled:
            setattr(module, name, value)


def is_kernel(value: object) -> bool:
    return hasattr(value, "py_func")


MISSING = -1


def make_table(
    seed: int, n: int, k: int, *, missing: float = 0.0, zeros: float = 0.0, scale: float = 1.0
) -> tuple[np.ndarray, np.ndarray]:
    """Return random neighbours, none of them the row itself, nearest first, missing ones last."""
    rng = np.random.default_rng(seed)
    k = min(k, max(n - 1, 0))
    indices = np.array([rng.permutation(np.delete(np.arange(n), i))[:k] for i in range(n)], np.int32).reshape(n, k)
    distances = scale * rng.gamma(3.0, size=(n, k))
    distances[rng.random((n, k)) < zeros] = 0
    distances[rng.random((n, k)) < missing] = np.inf
    distances = np.sort(distances, axis=1).astype(np.float32)
    indices[np.isinf(distances)] = MISSING
    return indices, distances


def random_graph(
    n: int, density: float, rng: np.random.Generator, *, directed: bool = False
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return ``indptr``, ``indices`` and ``weights`` without a diagonal, as kernels take them."""
    matrix = sparse.random(n, n, density, random_state=rng, dtype=np.float32, format="csr")
    matrix = sparse.csr_matrix(matrix if directed else matrix.maximum(matrix.T))
    matrix.setdiag(0)
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix.indptr.astype(np.int64), matrix.indices.astype(np.int32), matrix.data


def scale_of(weights: np.ndarray) -> np.float32:
    """Return what brings the largest weight to that of an edge used in every epoch."""
    return LARGEST_WEIGHT / np.float32(weights.max(initial=0) or 1)


def arranged(graph, scale, fixed, order):
    """Return the edges as the kernel takes them, and the place of each vertex."""
    n, rank = len(order), np.argsort(order).astype(np.int32)
    starts = np.append(0, np.cumsum(np.where(fixed, 0, np.diff(graph[0]))[order]))
    ends, shares = np.empty(starts[-1], dtype=np.int32), np.empty(starts[-1], dtype=np.uint16)
    arrange(*graph, scale, order, rank, starts, ends, shares, 0, n)
    return (starts, ends, shares), rank
