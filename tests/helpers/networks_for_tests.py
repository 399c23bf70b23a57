"""Networks made by hand, of layers that need no library; on the path of every test (`pythonpath` in pyproject.toml)."""

from __future__ import annotations

from typing import Any

import numpy as np

from vicinal.api import FittedModel, FittedNetwork


def drawn_layers(ops: str, n_inputs: int, rng: np.random.Generator) -> tuple[list[dict[str, Any]], dict[str, Any], int]:
    """Return layers, their arrays, and how many numbers come out.

    Parameters
    ----------
    ops
        A letter a layer: ``a`` affine, ``d`` dense with relu, ``l`` dense without, ``r`` residual, ``s`` sigmoid.
    """
    layers: list[dict[str, Any]] = []
    arrays: dict[str, Any] = {}
    width = n_inputs
    for i, op in enumerate(ops):
        made, width = _layer(op, f"{i}", width, arrays, rng)
        layers.append(made)
    return layers, arrays, width


def _layer(
    op: str, name: str, width: int, arrays: dict[str, Any], rng: np.random.Generator
) -> tuple[dict[str, Any], int]:
    if op == "s":
        return {"op": "sigmoid"}, width
    if op == "a":
        arrays |= {f"{name}.scale": rng.uniform(0.5, 2, width), f"{name}.shift": rng.normal(size=width)}
        return {"op": "affine", "scale": f"{name}.scale", "shift": f"{name}.shift"}, width
    if op == "r":
        first = _dense(f"{name}.first", width, 5, arrays, rng, "relu")
        return {"op": "residual", "layers": [first, _dense(f"{name}.second", 5, width, arrays, rng, "none")]}, width
    n_outputs = int(rng.integers(1, 8))
    return _dense(name, width, n_outputs, arrays, rng, "relu" if op == "d" else "none"), n_outputs


def _dense(
    name: str, n_inputs: int, n_outputs: int, arrays: dict[str, Any], rng: np.random.Generator, activation: str
) -> dict[str, Any]:
    arrays |= {
        f"{name}.weight": rng.normal(size=(n_outputs, n_inputs)) / np.sqrt(n_inputs),
        f"{name}.bias": rng.normal(size=n_outputs),
    }
    for key in (f"{name}.weight", f"{name}.bias"):
        arrays[key] = arrays[key].astype(np.float32)
    return {"op": "dense", "weight": f"{name}.weight", "bias": f"{name}.bias", "activation": activation}


def by_numpy(layers: Any, arrays: Any, rows: np.ndarray) -> np.ndarray:
    """Return what layers make of rows, by numpy in double precision."""
    rows = np.asarray(rows, dtype=np.float64)
    for layer in layers:
        if layer["op"] == "affine":
            rows = rows * arrays[layer["scale"]] + arrays[layer["shift"]]
        elif layer["op"] == "dense":
            rows = rows @ np.asarray(arrays[layer["weight"]], float).T + arrays[layer["bias"]]
            rows = np.maximum(rows, 0) if layer["activation"] == "relu" else rows
        elif layer["op"] == "residual":
            rows = rows + by_numpy(layer["layers"], arrays, rows)
        else:
            rows = 1 / (1 + np.exp(-rows))
    return rows


def a_network(
    n_inputs: int = 5, n_outputs: int = 2, *, builder: str | None = "mlp@plugin", layered: bool = True, seed: int = 0
) -> FittedNetwork:
    """Return a trained network of two dense layers around a residual block."""
    rng, arrays = np.random.default_rng(seed), {}
    layers = [
        _dense("in.0", n_inputs, 6, arrays, rng, "relu"),
        _layer("r", "block", 6, arrays, rng)[0],
        _dense("out.0", 6, n_outputs, arrays, rng, "none"),
    ]
    return FittedNetwork(
        builder=builder,
        params={"width": 6},
        input_dims=(n_inputs,),
        output_dims=(n_outputs,),
        layers=tuple(layers) if layered else (),
        arrays=arrays,
    )


def a_fitted_model(n_inputs: int = 5, n_outputs: int = 2, *, decoder: bool = True, **options: Any) -> FittedModel:
    """Return an encoder, a decoder if wanted, and what it takes to train on: arrays of several kinds and shapes."""
    training = {
        "step": np.array(7, dtype=np.int64),
        "rate": np.array([0.1, 0.2]),
        "flags": np.array([True, False]),
        "none": np.zeros((0, 3), dtype=np.float32),
    }
    return FittedModel(
        encoder=a_network(n_inputs, n_outputs, **options),
        decoder=a_network(n_outputs, n_inputs, seed=1, **options) if decoder else None,
        training=training,
    )
