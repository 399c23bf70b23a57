"""Whether compressed rows are their own transpose, in one pass and without making it."""

from __future__ import annotations

import numpy as np

from .compile import kernel


def is_symmetric(indptr: np.ndarray, indices: np.ndarray, weights: np.ndarray, tolerance: float = 1e-5) -> bool:
    """Return whether every entry has a mirror image; weights may differ by ``tolerance`` of the larger one.

    Rows must be sorted by column.
    """
    starts = indptr.astype(np.int64)
    return bool(mirrored(starts, np.require(indices, np.int32, "W"), np.require(weights, np.float32, "W"), tolerance))


@kernel
def mirrored(starts: np.ndarray, indices: np.ndarray, weights: np.ndarray, tolerance: float) -> bool:
    """Walk the rows; entry (i, j) must meet (j, i) at the cursor of row j, since mirror images come in this order."""
    cursors = starts[:-1].copy()
    for i in range(len(cursors)):
        for entry in range(starts[i], starts[i + 1]):
            j = indices[entry]
            mirror = cursors[j]
            if mirror >= starts[j + 1] or indices[mirror] != i:
                return False
            if abs(weights[mirror] - weights[entry]) > tolerance * max(abs(weights[mirror]), abs(weights[entry])):
                return False
            cursors[j] = mirror + 1
    return True
