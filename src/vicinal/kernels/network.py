"""A network as a list of layers, applied to rows without the library it was trained in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .parallel import over_rows

CHUNK = 256
ACTIVATIONS = ("relu", "none")


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
        One mapping a layer, in order; ``op`` is ``affine`` (``rows * scale + shift``, both ``(n_inputs,)``), ``dense``
        (``weight`` ``(n_outputs, n_inputs)``, ``bias`` ``(n_outputs,)``; ``activation`` is ``relu`` or ``none``),
        ``residual`` (``layers``, whose result, as wide, is added to what went in) or ``sigmoid``. All else names
        arrays.
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
        return op, (_vector(arrays, layer["scale"]), _vector(arrays, layer["shift"]))
    if op == "dense":
        return op, (_weights(arrays, layer["weight"]), _vector(arrays, layer["bias"]), _is_rectified(layer))
    if op == "residual":
        return op, tuple(_prepared(inner, arrays) for inner in layer["layers"])
    if op == "sigmoid":
        return op, ()
    raise ValueError(f"unknown layer {op!r}; known are 'affine', 'dense', 'residual' and 'sigmoid'")


def _vector(arrays: Mapping[str, np.ndarray], name: str) -> NDArray[np.float32]:
    return _float32(arrays[name], name, n_dims=1)


def _weights(arrays: Mapping[str, np.ndarray], name: str) -> NDArray[np.float32]:
    """Return weights as the kernel reads them, ``(n_inputs, n_outputs)``."""
    return np.ascontiguousarray(_float32(arrays[name], name, n_dims=2).T)


def _float32(array: np.ndarray, name: str, *, n_dims: int) -> NDArray[np.float32]:
    if np.ndim(array) != n_dims:
        raise ValueError(f"{name!r} has shape {np.shape(array)}; its layer takes {n_dims} dimensions")
    return np.ascontiguousarray(array, dtype=np.float32)


def _is_rectified(layer: Mapping[str, Any]) -> bool:
    if layer["activation"] not in ACTIVATIONS:
        raise ValueError(f"unknown activation {layer['activation']!r}; known are 'relu' and 'none'")
    return bool(layer["activation"] == "relu")


def _apply(steps: Sequence[tuple[str, tuple[Any, ...]]], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    for op, parts in steps:
        if op == "affine":
            rows = _affine(rows, *parts)
        elif op == "residual":
            rows = _residual(rows, parts)
        elif op == "sigmoid":
            rows = (1 + np.tanh(rows / 2)) / 2
        else:
            rows = _dense(rows, *parts)
    return rows


def _affine(rows: NDArray[np.float32], scale: NDArray[np.float32], shift: NDArray[np.float32]) -> NDArray[np.float32]:
    if not scale.shape == shift.shape == rows.shape[1:]:
        raise ValueError(f"a layer of {scale.shape} and {shift.shape} cannot take {rows.shape[1]} columns")
    return rows * scale + shift


def _residual(rows: NDArray[np.float32], steps: Sequence[tuple[str, tuple[Any, ...]]]) -> NDArray[np.float32]:
    made = _apply(steps, rows)
    if made.shape != rows.shape:
        raise ValueError(f"layers make {made.shape[1]} columns that are to be added to {rows.shape[1]}")
    return rows + made


def _dense(
    rows: NDArray[np.float32], weights: NDArray[np.float32], bias: NDArray[np.float32], rectified: bool
) -> NDArray[np.float32]:
    from .dense import dense

    if rows.shape[1] != weights.shape[0] or bias.shape != weights.shape[1:]:
        raise ValueError(f"a layer of {weights.shape} with a bias of {bias.shape} cannot take {rows.shape[1]} columns")
    out = np.empty((len(rows), weights.shape[1]), dtype=np.float32)
    dense(np.ascontiguousarray(rows), weights, bias, rectified, out)
    return out
