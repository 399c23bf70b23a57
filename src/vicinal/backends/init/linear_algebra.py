"""What the initialisations share."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

FLAT = 1e-6
NOISE = 1e-2


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread: how many it takes changes the last bits, and many small products only wait."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1, user_api="blas"):
        yield


def leading_eigenvectors(matrix: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Return the eigenvectors of the ``k`` largest eigenvalues of a symmetric matrix, largest first."""
    from scipy.linalg import eigh

    n = len(matrix)
    _, vectors = eigh(matrix, subset_by_index=[n - k, n - 1], driver="evx")
    return vectors[:, ::-1]


def with_fixed_signs(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Flip columns so that the first entry of at least half the largest size is positive.

    The largest entry itself would not do: in a symmetric vector rounding decides which of two it is.
    """
    size = np.abs(vectors)
    first = (size >= size.max(axis=0) / 2).argmax(axis=0)
    return vectors * np.where(np.take_along_axis(vectors, first[None, :], axis=0) < 0, -1.0, 1.0)


def with_noise_for_flat(layout: NDArray[np.float64], draw: np.random.Generator) -> NDArray[np.float64]:
    """Replace dimensions without extent by noise, small beside the others."""
    extent = np.ptp(layout, axis=0)
    widest = extent.max()
    flat = extent <= FLAT * widest
    noise = draw.normal(scale=NOISE * widest or 1.0, size=(len(layout), int(flat.sum())))
    layout = layout.copy()
    layout[:, flat] = noise
    return layout
