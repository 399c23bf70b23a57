"""What a model says of itself: plain JSON, in its file and in the handle an AnnData carries."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import NoneType
from typing import Any

import numpy as np

from vicinal.contract.errors import ModelError
from vicinal.contract.metrics import TheirKwds, kwds_as_json

FORMAT = "vicinal-model"
SCHEMA = 1
PLACEMENT_RULE, MEAN_RULE = "kernel_median", "kernel_mean"
N_STEPS = 10
"""Steps that new cells take down the objective, by default."""

_ENVELOPE = ("format", "schema", "fingerprint")


@dataclass(frozen=True, kw_only=True)
class ArrayEntry:
    """What the manifest states of one array.

    Attributes
    ----------
    file
        Member of the zip.
    dtype
        As numpy spells it, with its byte order.
    sha256
        Of the member's bytes.
    """

    file: str
    dtype: str
    shape: tuple[int, ...]
    sha256: str

    @classmethod
    def parse(cls, name: str, record: Any) -> ArrayEntry:
        """Read an entry, or raise `ModelError` saying which part of it is wrong."""
        where = f"arrays[{name!r}]"
        if not isinstance(record, dict):
            raise ModelError(f"model.json: {where} is a {type(record).__name__}, expected an object")
        text = {key: _typed(record, key, str, where) for key in ("file", "dtype", "sha256")}
        shape = _typed(record, "shape", list, where)
        if not all(type(size) is int and size >= 0 for size in shape):
            raise ModelError(f"model.json: {where} has shape {shape}; expected integers that are not negative")
        return cls(shape=tuple(shape), **text)


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """All of a model but its arrays.

    Attributes
    ----------
    kind
        How rows become places: ``landmarks`` or ``network``.
    method, backends, versions, params
        How the map was made.
    basis
        ``obsm`` key the map was written to; None for a checkpoint.
    representation
        ``name``, ``n_features``, ``n_pcs`` and ``metric`` of what the map was made from, and ``metric_kwds`` where
        the metric has arguments, ``metric_kwds_by`` where another tool recorded them; None for a graph alone.
    placement
        ``rule``, ``n_neighbors`` and ``n_steps``; ``a`` and ``b`` where the objective has no such parameters.
    features
        Names of the representation's columns where they are genes; None elsewhere.
    n_obs_reference
        Cells of the map; None in a handle, where the AnnData says it.
    landmarks
        How the stored reference cells were chosen among them; None in a handle.
    arrays
        Name to `ArrayEntry`; empty in a handle.
    extra
        Fields that a later version added; kept, not used.
    """

    kind: str
    method: str
    backends: Mapping[str, str]
    versions: Mapping[str, str]
    params: Mapping[str, Any]
    representation: Mapping[str, Any] | None
    placement: Mapping[str, Any]
    basis: str | None = None
    features: tuple[str, ...] | None = None
    n_obs_reference: int | None = None
    landmarks: Mapping[str, Any] | None = None
    arrays: Mapping[str, ArrayEntry] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Return the manifest as plain data, without its fingerprint."""
        own = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "extra"}
        own["arrays"] = {name: dataclasses.asdict(entry) for name, entry in self.arrays.items()}
        return {"format": FORMAT, "schema": SCHEMA, **plain({**self.extra, **own})}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of all the manifest says, the arrays' own SHA-256 among it."""
        return _fingerprint(self.record())

    def to_json(self) -> str:
        """Return the text of ``model.json``."""
        record = self.record()
        return json.dumps(
            {**record, "fingerprint": _fingerprint(record)}, indent=1, ensure_ascii=False, allow_nan=False
        )


_TYPES: dict[str, type | tuple[type, ...]] = {
    "kind": str,
    "method": str,
    "basis": (str, NoneType),
    "backends": dict,
    "versions": dict,
    "params": dict,
    "representation": (dict, NoneType),
    "placement": dict,
    "features": (list, NoneType),
    "n_obs_reference": (int, NoneType),
    "landmarks": (dict, NoneType),
    "arrays": dict,
}


def parse_manifest(text: str | bytes) -> Manifest:
    """Read a manifest, trusting nothing in it.

    Raises
    ------
    ModelError
        If it is not JSON, of another format, of a newer schema, altered, or lacks a field.
    """
    record = _envelope(text)
    values = {name: _typed(record, name, kinds) for name, kinds in _TYPES.items()}
    values["arrays"] = {name: ArrayEntry.parse(name, entry) for name, entry in values["arrays"].items()}
    values["features"] = None if values["features"] is None else tuple(map(str, values["features"]))
    extra = {name: value for name, value in record.items() if name not in _TYPES and name not in _ENVELOPE}
    manifest = Manifest(extra=extra, **values)
    _check_representation(manifest.representation)
    _check_count(_typed(manifest.placement, "n_neighbors", int, "placement"), "placement['n_neighbors']")
    return manifest


def _envelope(text: str | bytes) -> dict[str, Any]:
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"model.json is not JSON ({error})") from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ModelError(f"model.json does not describe a vicinal model (its format must be {FORMAT!r})")
    schema = record.get("schema")
    if type(schema) is not int or schema < 1:
        raise ModelError(f"model.json has schema {schema!r}; expected an integer from 1 to {SCHEMA}")
    if schema > SCHEMA:
        msg = f"model.json has schema {schema}, this version reads up to {SCHEMA}; run: pip install --upgrade vicinal"
        raise ModelError(msg)
    if record.get("fingerprint") != _fingerprint(record):
        raise ModelError("model.json was altered after it was written: its fingerprint does not fit what it says")
    return record


def _fingerprint(record: Mapping[str, Any]) -> str:
    content = {name: value for name, value in record.items() if name != "fingerprint"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _typed(record: Mapping[str, Any], name: str, kinds: type | tuple[type, ...], where: str = "") -> Any:
    shown = f"{where}[{name!r}]" if where else repr(name)
    if name not in record:
        raise ModelError(f"model.json lacks {shown}")
    value = record[name]
    if not isinstance(value, kinds) or isinstance(value, bool):
        raise ModelError(f"model.json: {shown} is a {type(value).__name__}, which is not allowed there")
    return value


def _check_representation(representation: Mapping[str, Any] | None) -> None:
    if representation is None:
        return
    for name in ("name", "metric"):
        _typed(representation, name, str, "representation")
    _check_count(_typed(representation, "n_features", int, "representation"), "representation['n_features']")
    if "metric_kwds" in representation:
        _typed(representation, "metric_kwds", dict, "representation")
    n_pcs = _typed(representation, "n_pcs", (int, NoneType), "representation")
    if n_pcs is not None:
        _check_count(n_pcs, "representation['n_pcs']")
    center = representation.get("center")
    if center is not None and not _is_row(center, representation["n_features"]):
        n_features = representation["n_features"]
        raise ModelError(f"model.json: representation['center'] is not {n_features} finite numbers")


def _is_row(values: Any, length: int) -> bool:
    is_list = isinstance(values, list) and len(values) == length
    return is_list and all(type(value) in (int, float) and abs(value) < 1e300 for value in values)


def _check_count(value: int, shown: str) -> None:
    if value < 1:
        raise ModelError(f"model.json: {shown} is {value}; expected at least 1")


def manifest_of_map(reusable: Mapping[str, Any], basis: str) -> Manifest:
    """Return the manifest of a map whose model is the AnnData itself.

    Parameters
    ----------
    reusable
        ``kind``, ``method``, ``backends``, ``versions``, ``params``, ``representation`` (``name``, ``n_features``,
        ``n_pcs``, or None), ``metric`` and ``n_neighbors`` of the map; ``placement``, what of it is not as by default.
    basis
        ``obsm`` key the map is written to.
    """
    representation = reusable["representation"]
    return Manifest(
        kind=reusable["kind"],
        method=reusable["method"],
        backends=reusable["backends"],
        versions=reusable["versions"],
        params=reusable["params"],
        representation=None if representation is None else {**representation, **_metric(reusable)},
        placement={
            "rule": PLACEMENT_RULE,
            "n_neighbors": reusable["n_neighbors"],
            "n_steps": N_STEPS,
            **reusable.get("placement", {}),
        },
        basis=basis,
    )


def _metric(reusable: Mapping[str, Any]) -> dict[str, Any]:
    given = reusable.get("metric_kwds") or {}
    kwds = kwds_as_json(given)
    if kwds is None:
        return {"metric": reusable["metric"]}
    of_others = {"metric_kwds_by": "another tool"} if isinstance(given, TheirKwds) else {}
    return {"metric": reusable["metric"], "metric_kwds": json.loads(kwds), **of_others}


def parse_handle(handle: Mapping[str, Any]) -> Manifest:
    """Read a handle back, as it was or as h5ad and zarr return it."""
    text = handle.get("manifest") if isinstance(handle, Mapping) else None
    if not isinstance(text, str):
        raise ModelError("the model handle holds no manifest text; make the map again with vc.tl.embed")
    return parse_manifest(text)


def plain(value: Any) -> Any:
    """Return a value as strict JSON can hold it; what it has no form for becomes text."""
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)
