"""Tables to draw by weight from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def alias_tables(
    starts: NDArray[np.integer], weights: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int32]]:
    """Return the alias tables of consecutive stretches of weights.

    To draw from the stretch between ``starts[i]`` and ``starts[i + 1]`` in proportion to weight, take any entry ``j``
    of it, keep it with the chance ``shares[j]``, and else take the entry ``others[j]`` of the stretch.

    Parameters
    ----------
    starts
        Integers ``(n + 1,)``: where stretches begin and end, as in compressed rows.
    weights
        float32 ``(m,)``, not negative; entries that weigh nothing are not drawn, unless a whole stretch does.

    Returns
    -------
    ``shares``, float32 ``(m,)``, and ``others``, int32 ``(m,)``, counted from the beginning of the stretch.
    """
    from .alias import fill_alias

    shares, others = np.empty(len(weights), dtype=np.float32), np.empty(len(weights), dtype=np.int32)
    weights = np.require(weights, dtype=np.float32, requirements="CW")
    fill_alias(np.ascontiguousarray(starts, dtype=np.int64), weights, shares, others)
    return shares, others
