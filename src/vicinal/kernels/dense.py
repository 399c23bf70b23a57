"""Layers of networks applied to rows, each row by itself, with sums in a fixed order."""

from __future__ import annotations

from .compile import kernel


@kernel
def dense(rows, weights, bias, rectified, out):
    """Fill ``rows @ weights + bias``, for a rectified layer what of it is positive.

    Inputs are added one after the other to all outputs at once, which makes vector instructions and leaves the order
    of the sums as it is: a row's result has the same bits in any batch.

    Parameters
    ----------
    rows
        float32 ``(n, n_inputs)``.
    weights
        float32 ``(n_inputs, n_outputs)``, C-contiguous.
    bias
        float32 ``(n_outputs,)``.
    out
        Out: float32 ``(n, n_outputs)``.
    """
    n_inputs, n_outputs = weights.shape
    for i in range(rows.shape[0]):
        into = out[i]
        for o in range(n_outputs):
            into[o] = bias[o]
        for j in range(n_inputs):
            value = rows[i, j]
            if value == 0:  # most genes of a cell
                continue
            factors = weights[j]
            for o in range(n_outputs):
                into[o] += value * factors[o]
        if rectified:
            for o in range(n_outputs):
                into[o] = max(into[o], 0)
