"""What a manifest may say, in one table; `vicinal.contract.schema` has the words."""

from __future__ import annotations

from typing import Any

from vicinal.contract.errors import ModelError
from vicinal.contract.schema import (
    Check,
    Misfit,
    either,
    integer,
    key,
    list_of,
    mapping_of,
    name,
    number,
    optional,
    plain,
    record,
    text,
)

COUNT = integer(1, 2**53)
MOST_STEPS = 1000
LOSS = either(number(), name)
"""NaN and infinity are written as text."""
MOST_VALUES, MOST_PARTS = 4_000_000, 400_000
"""Values, and lists or objects, that a manifest may have: each takes a hundred bytes once it is read."""
NOTHING_LEFT_OUT = "model.json"

ARRAY = record(
    {"file": text, "dtype": text, "sha256": text, "shape": list_of(integer(0, 2**53), longest=32)},
    called=NOTHING_LEFT_OUT,
)
FINGERPRINT = record({"mean": list_of(number()), "std": list_of(number(0))}, called=NOTHING_LEFT_OUT)
REPRESENTATION = record(
    {"name": name, "metric": name, "n_features": COUNT, "n_pcs": optional(COUNT)},
    {"fingerprint": FINGERPRINT, "metric_kwds": mapping_of(plain), "metric_kwds_by": text},
    called=NOTHING_LEFT_OUT,
)
PLACEMENT = record(
    {"n_neighbors": COUNT},
    {"rule": name, "n_steps": integer(0, MOST_STEPS), "a": number(0), "b": number(0)},
    called=NOTHING_LEFT_OUT,
)
LANDMARKS = record({}, {"choice": name, "seed": integer(), "n_uniform": integer(0)})
SHAPE = list_of(COUNT, longest=32)
MANIFEST = record(
    {
        "kind": name,
        "method": key,
        "basis": optional(key),
        "backends": mapping_of(text),
        "versions": mapping_of(text),
        "params": mapping_of(plain),
        "representation": optional(REPRESENTATION),
        "placement": PLACEMENT,
        "features": optional(list_of(text)),
        "n_obs_reference": optional(integer(0, 2**53)),
        "landmarks": optional(LANDMARKS),
        "arrays": mapping_of(ARRAY),
    },
    called=NOTHING_LEFT_OUT,
)
HISTORY = record(
    {
        "epoch": integer(0, 2**53),
        "losses": mapping_of(mapping_of(LOSS)),
        "called_back": integer(),
        "stopped_by": optional(text),
        "seconds": mapping_of(number(0)),
    },
    {"phases": list_of(plain)},
)
BELONGS_TO = record({"arguments": name, "graph": name})


def check_manifest(values: Any) -> None:
    """Raise `ModelError` unless a manifest says what it may, and no more than fits."""
    _check(MANIFEST, values, "")


def check_part(schema: Check, values: Any, where: str) -> None:
    """Raise `ModelError` unless a part of a manifest is what its schema allows."""
    _check(schema, values, where)


def check_plain(values: Any) -> None:
    """Raise `ModelError` unless all of a manifest is plain, and not nested deeply."""
    _check(plain, values, "it")


def check_size(content: str | bytes) -> None:
    """Raise `ModelError` for a text that takes far more memory than its length, once it is read."""
    marks = (",", "[", "{") if isinstance(content, str) else (b",", b"[", b"{")
    n_values, n_lists, n_objects = (content.count(mark) for mark in marks)  # type: ignore[arg-type]
    if n_values > MOST_VALUES or n_lists + n_objects > MOST_PARTS:
        found = f"{n_values:,} values in {n_lists + n_objects:,} lists and objects"
        raise ModelError(f"model.json has {found}; expected at most {MOST_VALUES:,} in {MOST_PARTS:,}")


def _check(schema: Check, values: Any, where: str) -> None:
    try:
        schema(values, where)
    except Misfit as error:
        said = str(error)
        raise ModelError(said if said.startswith(NOTHING_LEFT_OUT) else f"model.json: {said}") from None
