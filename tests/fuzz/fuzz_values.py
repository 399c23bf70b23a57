"""Hostile values, and where to put them: in nested data, in arrays, in the bytes of a file."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from typing import Any

import numpy as np


def nested(depth: int, inner: Any = 0) -> Any:
    for _ in range(depth):
        inner = [inner]
    return inner


PLAIN: list[Callable[[], Any]] = [
    lambda: 2**31,
    lambda: 2**63,
    lambda: -(2**63) - 1,
    lambda: 10**30,
    lambda: 10**400,
    lambda: -1,
    lambda: 0,
    lambda: 1,
    lambda: 7,
    lambda: math.inf,
    lambda: -math.inf,
    lambda: math.nan,
    lambda: 1e308,
    lambda: 1e-320,
    lambda: 0.5,
    lambda: -2.5,
    lambda: True,
    lambda: None,
    lambda: "",
    lambda: "umap",
    lambda: "X_pca",
    lambda: "cosine",
    lambda: "no such thing",
    lambda: "12",
    lambda: "nan",
    lambda: "a\0b",
    lambda: "../taken",
    lambda: "\ud800",
    lambda: "x" * 70_000,
    lambda: "[1, 2",
    lambda: [],
    lambda: {},
    lambda: [1],
    lambda: [None],
    lambda: ["a", "b"],
    lambda: [[1.0, 2.0], [3.0]],
    lambda: {"a": 1},
    lambda: {"\udfff": 1},
    lambda: {"path": "taken", "checkpoint": "taken"},
    lambda: list(range(3000)),
    lambda: nested(40),
    lambda: nested(500),
]
"""Values that JSON can spell."""

OF_PYTHON: list[Callable[[], Any]] = [
    lambda: np.array([]),
    lambda: np.array(3),
    lambda: np.array(["a", "b"]),
    lambda: np.array([{}, None], dtype=object),
    lambda: np.array([np.nan, 1.0]),
    lambda: np.zeros((2, 3)),
    lambda: np.float32("inf"),
    lambda: np.int64(-5),
    lambda: np.str_("umap"),
    lambda: b"bytes",
    lambda: 1 + 2j,
    lambda: object(),
    lambda: {1: 2},
    lambda: (1, 2),
    lambda: {"a", "b"},
    lambda: nested(5000),
    lambda: np.datetime64("2020-01-01"),
]
"""Further values that `uns` may hold in memory."""


def told(value: Any) -> str:
    """Return a short account of a value."""
    try:
        text = ascii(value)
    except (RecursionError, ValueError) as error:
        text = f"a {type(value).__name__} ({error})"
    text = " ".join(text.split())
    return text if len(text) <= 80 else f"{text[:70]}... ({len(text)} characters)"


def spots(tree: Any) -> list[tuple[Any, ...]]:
    """Return the path of each part of nested dicts and lists, those of long lists sampled."""
    found: list[tuple[Any, ...]] = []
    stack: list[tuple[tuple[Any, ...], Any]] = [((), tree)]
    while stack:
        path, value = stack.pop()
        found.append(path)
        if isinstance(value, dict):
            stack += [((*path, name), inner) for name, inner in value.items()]
        elif isinstance(value, list):
            stack += [((*path, i), value[i]) for i in range(min(len(value), 3))]
    return found


def altered(tree: Any, draw: random.Random, *, in_memory: bool = False) -> tuple[Any, str]:
    """Return nested data with one part replaced, removed, added or wrapped, and what was done."""
    path = draw.choice(spots(tree)[1:] or [()])
    if not path:
        value = draw.choice(PLAIN)()
        return value, f"all of it = {told(value)}"
    parent = tree
    for name in path[:-1]:
        parent = parent[name]
    how = draw.choices(["put", "scale", "remove", "wrap", "add"], [14, 2, 2, 1, 1])[0]
    old = parent[path[-1]]
    if how == "remove":
        del parent[path[-1]]
        return tree, f"{path} removed"
    if how == "add" and isinstance(parent, dict):
        name = draw.choice(["", "checkpoint", "logger", "center", "metric_kwds", "update", "n_pcs", "\ud800", "a"])
        path, value = (*path[:-1], name), draw.choice(PLAIN)()
    elif how == "wrap":
        value = [old]
    elif how == "scale" and isinstance(old, int | float):
        value = old * draw.choice([-1, 2, 1000, 10**12])
    else:
        value = draw.choice(PLAIN + OF_PYTHON * in_memory)()
    parent[path[-1]] = value
    return tree, f"{path} = {told(value)}"


def as_json(tree: Any) -> str:
    return json.dumps(tree)


ARRAYS: dict[str, Callable[[np.ndarray, random.Random], np.ndarray]] = {
    "nan": lambda a, d: placed(a.astype(np.float32), d, np.nan),
    "inf": lambda a, d: placed(a.astype(np.float32), d, np.inf),
    "3e38": lambda a, d: placed(a.astype(np.float32), d, 3e38),
    "-1": lambda a, d: placed(a, d, -1) if a.dtype.kind in "if" else a,
    "the largest": lambda a, d: placed(a, d, np.iinfo(a.dtype).max if a.dtype.kind in "iu" else 1e38),
    "a million": lambda a, d: placed(a, d, 10**6 if a.dtype.itemsize > 2 else 100),
    "all 0": lambda a, d: np.zeros_like(a),
    "all nan": lambda a, d: np.full(a.shape, np.nan, dtype=np.float32),
    "tiny": lambda a, d: (a.astype(np.float64) * 1e-40).astype(a.dtype),
    "huge": lambda a, d: (np.clip(a.astype(np.float64), -3, 3) * 1e38).astype(np.float32),
    "empty": lambda a, d: a[:0] if a.ndim else np.empty(0, a.dtype),
    "no columns": lambda a, d: a[..., :0] if a.ndim else a,
    "one row short": lambda a, d: a[:-1] if a.ndim else a,
    "one column short": lambda a, d: a[..., :-1] if a.ndim else a,
    "flat": lambda a, d: a.reshape(-1),
    "one dimension more": lambda a, d: a[None],
    "transposed": lambda a, d: np.ascontiguousarray(a.T),
    "one number": lambda a, d: a.reshape(-1)[0] if a.size else a,
    "float64": lambda a, d: a.astype(np.float64),
    "int8": lambda a, d: np.nan_to_num(a).astype(np.int8),
    "uint64": lambda a, d: np.abs(np.nan_to_num(a)).astype(np.uint64),
    "bool": lambda a, d: a.astype(bool),
    "a hundred times": lambda a, d: np.concatenate([a] * 100) if a.ndim else a,
    "shuffled": lambda a, d: np.random.default_rng(d.getrandbits(30)).permutation(a) if a.ndim else a,
}
"""What is done to an array, by name."""
IN_MEMORY: dict[str, Callable[[np.ndarray, random.Random], Any]] = {
    "objects": lambda a, d: a.astype(object),
    "text": lambda a, d: a.astype(str),
    "a list": lambda a, d: a.tolist(),
    "None": lambda a, d: None,
    "complex": lambda a, d: a.astype(complex),
    "a view": lambda a, d: np.broadcast_to(a.reshape(-1)[:1].sum(), a.shape),
    "float16": lambda a, d: a.astype(np.float16),
    "big-endian": lambda a, d: a.astype(a.dtype.newbyteorder(">")),
    "dates": lambda a, d: np.zeros(a.shape, dtype="M8[D]"),
}
"""What only an array in memory can be."""


def placed(array: np.ndarray, draw: random.Random, value: Any) -> np.ndarray:
    """Return a copy with a value at one place, or in half of them."""
    out = array.copy().reshape(-1)
    if out.size:
        where: Any = draw.randrange(out.size) if draw.random() < 0.7 else slice(None, None, 2)
        with np.errstate(all="ignore"):
            out[where] = np.asarray(value).astype(out.dtype)
    return out.reshape(array.shape)


def altered_array(array: np.ndarray, draw: random.Random, *, in_memory: bool = False) -> tuple[Any, str]:
    """Return an array that something was done to, and what."""
    ways: dict[str, Callable[[np.ndarray, random.Random], Any]] = {**ARRAYS, **(IN_MEMORY if in_memory else {})}
    how = draw.choice(list(ways))
    with np.errstate(all="ignore"):
        return ways[how](np.asarray(array), draw), how


def altered_bytes(content: bytes, draw: random.Random) -> tuple[bytes, str]:
    """Return bytes that were cut, changed, moved or repeated, and what was done."""
    how, at = draw.choice(["cut", "flip", "zero", "drop", "insert", "tail"]), draw.randrange(len(content))
    if draw.random() < 0.5:  # the zip's directory, at the end, and its first header
        at = draw.choice([draw.randrange(60), len(content) - 1 - draw.randrange(min(400, len(content)))])
    length = draw.choice([1, 2, 4, 30, 1000])
    if how == "cut":
        return content[:at], f"cut at {at}"
    if how == "tail":
        return content + bytes(draw.randrange(256) for _ in range(length)), f"{length} bytes at the end"
    middle = {
        "flip": bytes(draw.randrange(256) for _ in range(length)),
        "zero": bytes([draw.choice([0, 255])]) * length,
        "drop": b"",
        "insert": content[at : at + length] * 2,
    }[how]
    return content[:at] + middle + content[at + length :], f"{how} {length} bytes at {at}"
