"""What a model says of itself: plain JSON, in its file and in the handle an AnnData carries."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vicinal.contract.errors import ModelError
from vicinal.contract.metrics import TheirKwds, kwds_as_json

from .schema import check_manifest, check_plain, check_size

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
    def parse(cls, record: Mapping[str, Any]) -> ArrayEntry:
        """Read an entry that was checked."""
        return cls(**{**{key: record[key] for key in ("file", "dtype", "sha256")}, "shape": tuple(record["shape"])})


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


def parse_manifest(text: str | bytes) -> Manifest:
    """Read a manifest, trusting nothing in it.

    Raises
    ------
    ModelError
        If it is not JSON, of another format, of a newer schema, altered, or lacks a field.
    """
    record = _envelope(text)
    check_manifest(record)
    _check_center(record["representation"])
    fields = [f.name for f in dataclasses.fields(Manifest) if f.name != "extra"]
    values = {name: record[name] for name in fields}
    values["arrays"] = {name: ArrayEntry.parse(entry) for name, entry in record["arrays"].items()}
    values["features"] = None if record["features"] is None else tuple(record["features"])
    extra = {name: value for name, value in record.items() if name not in values and name not in _ENVELOPE}
    return Manifest(extra=extra, **values)


def _envelope(text: str | bytes) -> dict[str, Any]:
    check_size(text)
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"model.json is not JSON ({error})") from error
    check_plain(record)
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ModelError(f"model.json does not describe a vicinal model (its format must be {FORMAT!r})")
    schema = record.get("schema")
    if type(schema) is not int or schema < 1:
        raise ModelError(f"model.json has schema {repr(schema)[:50]}; expected an integer from 1 to {SCHEMA}")
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


def _check_center(representation: Mapping[str, Any] | None) -> None:
    center = (representation or {}).get("center")
    if representation is not None and center is not None and not _is_row(center, representation["n_features"]):
        n_features = representation["n_features"]
        raise ModelError(f"model.json: representation['center'] is not {n_features} finite numbers")


def _is_row(values: Any, length: int) -> bool:
    is_list = isinstance(values, list) and len(values) == length
    return is_list and all(type(value) in (int, float) and abs(value) < 1e300 for value in values)


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
