"""A network as a list of layers, applied to rows without the library it was trained in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .parallel import over_rows

CHUNK = 256


def apply_layers(
    layers: Sequence[Mapping[str, Any]],
    arrays: Mapping[str, np.ndarray],
    rows: NDArray[np.float32],
    n_jobs: int = 1,
) -> NDArray[np.float32]:
    """Return what a network makes of rows; a row's result is a function of that row alone, to the bit.

    Parameters
    ----------
    layers
        One mapping a layer, in order; ``op`` is ``affine`` (``rows * scale + shift``), ``dense`` (``weight``
        ``(n_outputs, n_inputs)``, ``bias``; ``activation`` is ``relu`` or ``none``), ``residual`` (``layers``, whose
        result is added to what went in) or ``sigmoid``. All else names arrays.
    arrays
        The layers' arrays by name.
    rows
        float32 ``(n, n_inputs)``.
    n_jobs
        Threads.

    Raises
    ------
    ValueError
        If a layer is unknown, or the arrays do not fit together.
    """
    steps = [_prepared(layer, arrays) for layer in layers]
    rows = np.ascontiguousarray(rows, dtype=np.float32)
    width = _apply(steps, rows[:0]).shape[1]
    out = np.empty((len(rows), width), dtype=np.float32)

    def work(start: int, stop: int) -> None:
        out[start:stop] = _apply(steps, rows[start:stop])

    over_rows(work, len(rows), n_jobs, chunk=CHUNK)
    return out


def _prepared(layer: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> tuple[str, tuple[Any, ...]]:
    """Return an operation with its arrays, laid out as the kernel reads them."""
    op = layer["op"]
    if op == "affine":
        return op, (_float32(arrays[layer["scale"]]), _float32(arrays[layer["shift"]]))
    if op == "dense":
        weights = np.ascontiguousarray(_float32(arrays[layer["weight"]]).T)
        return op, (weights, _float32(arrays[layer["bias"]]), layer["activation"] == "relu")
    if op == "residual":
        return op, tuple(_prepared(inner, arrays) for inner in layer["layers"])
    if op == "sigmoid":
        return op, ()
    raise ValueError(f"unknown layer {op!r}; known are 'affine', 'dense', 'residual' and 'sigmoid'")


def _float32(array: np.ndarray) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, dtype=np.float32)


def _apply(steps: Sequence[tuple[str, tuple[Any, ...]]], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    for op, parts in steps:
        if op == "affine":
            rows = rows * parts[0] + parts[1]
        elif op == "residual":
            rows = rows + _apply(parts, rows)
        elif op == "sigmoid":
            rows = (1 + np.tanh(rows / 2)) / 2
        else:
            rows = _dense(rows, *parts)
    return rows


def _dense(
    rows: NDArray[np.float32], weights: NDArray[np.float32], bias: NDArray[np.float32], rectified: bool
) -> NDArray[np.float32]:
    from .dense import dense

    if rows.shape[1] != weights.shape[0] or bias.shape != weights.shape[1:]:
        raise ValueError(f"a layer of {weights.shape} with a bias of {bias.shape} cannot take {rows.shape[1]} columns")
    out = np.empty((len(rows), weights.shape[1]), dtype=np.float32)
    dense(np.ascontiguousarray(rows), weights, bias, rectified, out)
    return out
