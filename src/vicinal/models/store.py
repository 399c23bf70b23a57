"""A model, and the one file that holds it: a zip of ``model.json`` and ``.npy`` arrays, never a pickle."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import math
import os
import re
import struct
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import Layout
from vicinal.contract.errors import InputError, ModelError, listing
from vicinal.contract.network import FittedModel
from vicinal.contract.schema import described

from . import genes
from .genes import GeneChain, check_genes, without_genes
from .landmarks import SEED, SPREAD, landmarks_of
from .manifest import ArrayEntry, Manifest, manifest_of_map, parse_manifest
from .network import RECORD, check_network, flatten, unflatten
from .novelty import Calibration
from .novelty import pack as packed_novelty
from .novelty import unpack as unpacked_novelty
from .ours import CHECKPOINT, MODEL, check_replaceable
from .strangers import AT_LEAST, REFERENCE, Familiarity, kept_of, recall
from .write import write_whole

LANDMARKS, N_UNIFORM = "landmarks", "n_uniform"
NETWORK = "network"

MANIFEST_MEMBER = "model.json"
MAX_MANIFEST_BYTES = 64 * 2**20
MAX_HEADER_BYTES = 4096
MAX_LANDMARKS = 100_000
DTYPES = {
    np.dtype(name).newbyteorder("<").str: np.dtype(name).newbyteorder("<")
    for name in ("bool", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64")
}
"""What arrays may hold: plain numbers, little-endian."""

_MEMBER = re.compile(r"[A-Za-z0-9_]+\.npy")
_UNREADABLE = (OSError, EOFError, ValueError, RuntimeError, struct.error, zipfile.BadZipFile)


@dataclass(frozen=True, eq=False)
class Model:
    """A map that can place new cells.

    Attributes
    ----------
    manifest
        All that is known of it.
    arrays
        ``reference`` float32 ``(n_landmarks, n_features)``, the landmarks' rows in the representation, and
        ``layout`` float32 ``(n_landmarks, n_components)``, their places; of a network, its weights and
        ``strangers_reference``, rows of some of its cells. Of a map made from a PCA also
        ``genes_loadings``, ``genes_mean`` and ``genes_offset``, if cells may be given as genes, and with these
        ``novelty_scores`` and ``novelty_variances``, which new cells are compared with.

    Raises
    ------
    ModelError
        If the arrays are not what the manifest states, or hold NaN or infinity.
    """

    manifest: Manifest
    arrays: Mapping[str, np.ndarray]

    def __post_init__(self) -> None:
        check_kind(self.manifest)
        _check_stated(self.manifest, self.arrays)
        arrays = self.arrays
        if self.manifest.kind != CHECKPOINT:
            check_genes(self.manifest, arrays)
            arrays = without_genes(arrays)
        _KINDS[self.manifest.kind](self.manifest, arrays)

    @property
    def method(self) -> str:
        """The method the map was made with."""
        return self.manifest.method

    @property
    def n_components(self) -> int:
        """Dimensions of the map."""
        if self.fitted is not None:
            return math.prod(self.fitted.encoder.output_dims)
        return int(self.arrays["layout"].shape[1])

    @cached_property
    def fitted(self) -> FittedModel | None:
        """The networks; None for a model that has none."""
        return unflatten(self.manifest, self.arrays) if self.manifest.kind == NETWORK else None

    @cached_property
    def genes(self) -> GeneChain | None:
        """What makes components of genes; None for a model that new cells cannot be given to as genes."""
        return genes.unpack(self.manifest, self.arrays)

    @cached_property
    def novelty(self) -> Calibration | None:
        """How strange its own cells look to a PCA that has not seen them; None where that is not known."""
        return unpacked_novelty(self.arrays)

    @property
    def reference(self) -> NDArray[np.float32]:
        """Rows of reference cells as they are in the map, or a uniform sample of them; a network may keep none."""
        name = REFERENCE if self.manifest.kind == NETWORK else "reference"
        rows = self.arrays.get(name, np.empty((0, 0), dtype=np.float32))
        return rows[: (self.manifest.landmarks or {}).get(N_UNIFORM)]

    def familiarity(self, n_jobs: int) -> Familiarity | None:
        """Return what the reference cells say of how far cells are apart, learned once; None where they are too few."""
        known: Familiarity | None = self.__dict__.get("_familiarity")
        seen = self.manifest.representation
        if known is None and seen is not None and len(self.reference) >= AT_LEAST:
            try:
                known = recall(self.reference, seen["metric"], n_jobs=n_jobs)
            except ValueError as error:  # a metric that is not defined for such rows
                raise ModelError(f"its reference cells cannot be compared with each other: {error}") from error
            self.__dict__["_familiarity"] = known
        return known

    @property
    def n_landmarks(self) -> int:
        """Reference cells it holds; a network needs none."""
        return len(self.arrays["reference"]) if self.manifest.kind == LANDMARKS else 0

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to one file; see `vicinal.models.save`."""
        save(self, path)

    def __repr__(self) -> str:
        if self.fitted is not None:
            encoder, seen = self.fitted.encoder, self.manifest.representation or {}
            named = encoder.builder or "the user's own network"
            return f"Model({self.method}: {named}, {seen['name']!r} {encoder.input_dims} to {encoder.output_dims})"
        if self.manifest.kind != LANDMARKS:
            return f"Model({self.method}: {self.manifest.kind} with {listing(self.arrays)})"
        cells = f"{self.n_landmarks:,}"
        if self.n_landmarks != self.manifest.n_obs_reference:
            cells += f" of {self.manifest.n_obs_reference:,}"
        seen = self.manifest.representation or {}
        return (
            f"Model({self.method}: {cells} cells, {seen['name']!r} ({seen['n_features']} columns, {seen['metric']})"
            f" to {self.n_components} dimensions, placed by {self.manifest.placement['n_neighbors']} neighbours)"
        )


def from_reference(
    handle: Manifest,
    reference: NDArray[np.float32],
    layout: Layout,
    *,
    features: tuple[str, ...] | None = None,
    max_landmarks: int = MAX_LANDMARKS,
) -> Model:
    """Return a self-contained model of a map, from its handle, its rows and its places.

    Above ``max_landmarks`` cells it holds a sample of them that is spread over the map, the same at every call.
    """
    n_obs = len(reference)
    landmarks: dict[str, Any] = {"choice": "all"}
    if n_obs > max_landmarks:
        chosen, n_uniform = landmarks_of(layout, max_landmarks)
        reference, layout = reference[chosen], layout[chosen]
        landmarks = {"choice": SPREAD, "seed": SEED, N_UNIFORM: n_uniform}
    # Copies: the map in the AnnData goes its own way.
    arrays = {"reference": np.array(reference, order="C"), "layout": np.array(layout, order="C")}
    manifest = dataclasses.replace(
        handle,
        features=features,
        n_obs_reference=n_obs,
        landmarks=landmarks,
        arrays=describe(arrays),
    )
    return Model(manifest, arrays)


def with_genes(model: Model, found: GeneChain | str | None) -> Model:
    """Return a model that carries what makes components of genes, or says why it does not."""
    if found is None:
        return model
    record, arrays = ({"absent": found}, {}) if isinstance(found, str) else genes.pack(found)
    arrays = {**model.arrays, **arrays}
    extra = {**model.manifest.extra, genes.RECORD: record}
    return Model(dataclasses.replace(model.manifest, arrays=describe(arrays), extra=extra), arrays)


def with_novelty(model: Model, calibration: Calibration) -> Model:
    """Return a model that keeps how strange its own cells look to a PCA that has not seen them."""
    arrays = {**model.arrays, **packed_novelty(calibration)}
    return Model(dataclasses.replace(model.manifest, arrays=describe(arrays)), arrays)


def handle_of(reusable: Mapping[str, Any], basis: str, features: tuple[str, ...] | None = None) -> dict[str, Any]:
    """Return what ``uns[key]["model"]`` holds: the manifest's text, and of a network the arrays.

    A network keeps the names of its columns, where they have some: the AnnData may be in another order later; and
    some of its cells, to tell strangers by.
    """
    fitted = reusable.get("fitted")
    if fitted is None:
        return {"manifest": manifest_of_map(reusable, basis).to_json()}
    records, arrays = flatten(fitted)
    if (rows := reusable.get("rows")) is not None:
        arrays |= kept_of(rows)
    manifest = manifest_of_map(reusable, basis)
    manifest = dataclasses.replace(
        manifest, features=features, arrays=describe(arrays), extra={**manifest.extra, RECORD: records}
    )
    return {"manifest": manifest.to_json(), "arrays": arrays}


def from_handle(manifest: Manifest, arrays: Mapping[str, Any]) -> Model:
    """Return the model of a handle that holds all of it."""
    if not isinstance(arrays, Mapping):
        raise ModelError(f"the arrays of the handle are {described(arrays)}; make the map again with vc.tl.embed")
    # In the order they were in before a file sorted them: equal models are equal files.
    names = [name for name in manifest.arrays if name in arrays]
    kept = {str(name): _as_stated(arrays[name], manifest.arrays.get(name)) for name in dict.fromkeys([*names, *arrays])}
    return Model(manifest, kept)


def _as_stated(value: Any, entry: ArrayEntry | None) -> np.ndarray:
    """Return an array of a handle; those of no dimension come back from files as Python's numbers."""
    if not isinstance(value, np.ndarray | np.generic | int | float):
        raise ModelError(f"an array of the handle is {described(value)}; make the map again with vc.tl.embed")
    is_number = entry is not None and entry.shape == () and np.ndim(value) == 0
    try:
        array = np.array(value, dtype=entry.dtype if entry is not None and is_number else None)
    except (ValueError, TypeError, OverflowError) as error:
        raise ModelError(f"a number of the handle cannot be read ({error})") from error
    if array.dtype.newbyteorder("<").str not in DTYPES:
        raise ModelError(f"an array of the handle holds {array.dtype}; allowed are {listing(DTYPES)}")
    return array


def check_kind(manifest: Manifest) -> None:
    """Raise `ModelError` for a kind of model that nothing here can use."""
    if manifest.kind not in _KINDS:
        known = listing(_KINDS)
        raise ModelError(
            f"it is of kind {manifest.kind!r}; known are {known}. Upgrade vicinal, or install what made it"
        )


def _check_stated(manifest: Manifest, arrays: Mapping[str, np.ndarray]) -> None:
    if set(manifest.arrays) != set(arrays):
        raise ModelError(f"the manifest states arrays {listing(manifest.arrays)}; there are {listing(arrays)}")
    for name, entry in manifest.arrays.items():
        there = (arrays[name].dtype.str, arrays[name].shape)
        if there != (entry.dtype, entry.shape):
            stated = f"{entry.dtype} and {entry.shape}"
            raise ModelError(f"array {name!r} has dtype {there[0]} and shape {there[1]}; stated are {stated}")


def _check_landmarks(manifest: Manifest, arrays: Mapping[str, np.ndarray]) -> None:
    if set(arrays) != {"reference", "layout"}:
        raise ModelError(f"a landmark model holds 'layout' and 'reference'; this one holds {listing(arrays)}")
    for name, array in arrays.items():
        if array.dtype != np.float32 or array.ndim != 2 or 0 in array.shape:
            msg = f"array {name!r} has dtype {array.dtype} and shape {array.shape}; expected float32 rows and columns"
            raise ModelError(msg)
        if not np.isfinite(array).all():
            raise ModelError(f"array {name!r} holds {int((~np.isfinite(array)).sum())} values that are NaN or infinite")
    reference, layout = arrays["reference"], arrays["layout"]
    n_uniform = (manifest.landmarks or {}).get(N_UNIFORM, 0)
    if type(n_uniform) is not int or not 0 <= n_uniform <= len(reference):
        raise ModelError(f"model.json: landmarks[{N_UNIFORM!r}] is {n_uniform!r}, of {len(reference)} landmarks")
    if len(reference) != len(layout):
        raise ModelError(
            f"'reference' has {len(reference)} rows and 'layout' {len(layout)}; they must be the same cells"
        )
    if manifest.representation is None or manifest.n_obs_reference is None:
        raise ModelError("the manifest states no representation, or not how many cells the map has")
    wanted = manifest.representation["n_features"]
    if reference.shape[1] != wanted:
        raise ModelError(f"'reference' has {reference.shape[1]} columns; the manifest states {wanted}")
    if manifest.features is not None and len(manifest.features) != wanted:
        raise ModelError(f"the manifest names {len(manifest.features)} features for {wanted} columns")


def _check_nothing(manifest: Manifest, arrays: Mapping[str, np.ndarray]) -> None:
    """Leave a checkpoint's arrays to the optimiser they belong to."""


_KINDS: dict[str, Callable[[Manifest, Mapping[str, np.ndarray]], None]] = {
    LANDMARKS: _check_landmarks,
    NETWORK: check_network,
    CHECKPOINT: _check_nothing,
}


def save(model: Model, path: str | os.PathLike[str]) -> None:
    """Write a model beside its target and rename it, so that a failure leaves what was there before."""
    check_path(path)
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        raise ModelError(f"path={str(path)!r}: there is no folder {str(target.parent)!r} to write to")
    if target.is_dir():
        raise ModelError(f"path={str(path)!r} is a folder; name a file")
    check_replaceable(path, CHECKPOINT if model.manifest.kind == CHECKPOINT else MODEL)
    # Described and checked again: the owner of a model's arrays may have changed them.
    model = Model(dataclasses.replace(model.manifest, arrays=describe(model.arrays)), model.arrays)
    write_whole(path, lambda file: _write(model, file))


def check_path(path: object) -> None:
    """Raise `InputError` for what is no path; a number would be taken for an open file."""
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str) or not os.fspath(path):
        raise InputError(f"path={path!r} is not allowed; give the path of a file, as text or a pathlib.Path")


def _write(model: Model, file: IO[bytes]) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(_member(MANIFEST_MEMBER), model.manifest.to_json().encode())
        for name, entry in model.manifest.arrays.items():
            archive.writestr(_member(entry.file), _npy(model.arrays[name]))


def _member(name: str) -> zipfile.ZipInfo:
    # The date and the system are fixed, so that equal models are equal files.
    info = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
    info.create_system, info.external_attr = 3, 0o644 << 16
    return info


def describe(arrays: Mapping[str, np.ndarray]) -> dict[str, ArrayEntry]:
    """Return what a manifest states of arrays."""
    return {name: _entry(name, array) for name, array in arrays.items()}


def _entry(name: str, array: np.ndarray) -> ArrayEntry:
    digest = hashlib.sha256(_npy(array)).hexdigest()
    return ArrayEntry(file=f"{name}.npy", dtype=_portable(array).dtype.str, shape=array.shape, sha256=digest)


def _npy(array: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, _portable(array), version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _portable(array: np.ndarray) -> np.ndarray:
    return np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")


def load(path: str | os.PathLike[str]) -> Model:
    """Read a model file, checking every part of it before it is used.

    Raises
    ------
    ModelError
        If anything about the file is not as `save` writes it.
    InputError
        If ``path`` is no path.
    """
    check_path(path)
    try:
        with _open(path) as archive:
            members = _members(archive, os.path.getsize(path))
            manifest = parse_manifest(_read_member(archive, members[MANIFEST_MEMBER]))
            check_kind(manifest)
            _check_declared(members, manifest)
            arrays = {n: _read_array(archive, members[e.file], n, e) for n, e in manifest.arrays.items()}
        return Model(manifest, arrays)
    except ModelError as error:
        raise ModelError(f"Model file {os.fspath(path)!r}: {error}") from error.__cause__


def _open(path: str | os.PathLike[str]) -> zipfile.ZipFile:
    try:
        with open(path, "rb") as file:
            is_zip = file.read(4) == b"PK\x03\x04"
        if not is_zip:
            raise ModelError("this is not a vicinal model (not a zip file)")
        return zipfile.ZipFile(path)
    except FileNotFoundError as error:
        raise ModelError("there is no such file") from error
    except IsADirectoryError as error:
        raise ModelError("this is a folder; name the file of a model") from error
    except _UNREADABLE as error:
        if isinstance(error, ModelError):
            raise
        raise ModelError(f"the file is truncated or damaged ({error})") from error


def _members(archive: zipfile.ZipFile, n_bytes: int) -> dict[str, zipfile.ZipInfo]:
    """Return the members by name, none of them compressed, encrypted, repeated or outside the zip."""
    members: dict[str, zipfile.ZipInfo] = {}
    for info in archive.infolist():
        name = info.orig_filename
        if name != MANIFEST_MEMBER and not _MEMBER.fullmatch(name):
            raise ModelError(f"it holds a member {name!r}, whose name is not allowed (plain names, no folders)")
        if name in members:
            raise ModelError(f"it holds {name!r} twice")
        if info.compress_type != zipfile.ZIP_STORED or info.compress_size != info.file_size or info.flag_bits & 1:
            raise ModelError(f"its member {name!r} is compressed or encrypted; a model stores its parts as they are")
        members[name] = info
    if sum(info.file_size for info in members.values()) > n_bytes:
        raise ModelError("its members overlap: they are larger together than the file is")
    if MANIFEST_MEMBER not in members:
        raise ModelError("it is a zip file without model.json, not a vicinal model")
    if members[MANIFEST_MEMBER].file_size > MAX_MANIFEST_BYTES:
        raise ModelError(f"its model.json is larger than {MAX_MANIFEST_BYTES} bytes")
    return members


def _check_declared(members: Mapping[str, zipfile.ZipInfo], manifest: Manifest) -> None:
    """Raise unless the zip holds what the manifest states and nothing else, each in the size it states."""
    declared = [entry.file for entry in manifest.arrays.values()]
    missing, extra = set(declared) - set(members), set(members) - set(declared) - {MANIFEST_MEMBER}
    if missing:
        raise ModelError(f"arrays are missing from it: {listing(missing)}")
    if extra or len(set(declared)) != len(declared) or MANIFEST_MEMBER in declared:
        raise ModelError(f"its members are not what its model.json states; not stated: {listing(extra)}")
    for name, entry in manifest.arrays.items():
        size, stated = members[entry.file].file_size, _stated_bytes(name, entry)
        if not stated < size <= stated + MAX_HEADER_BYTES:
            raise ModelError(f"array {name!r} takes {size} bytes; its stated shape {entry.shape} takes {stated}")


def _stated_bytes(name: str, entry: ArrayEntry) -> int:
    if entry.dtype not in DTYPES:
        raise ModelError(f"array {name!r} has dtype {entry.dtype!r}; allowed are {listing(DTYPES)}")
    return math.prod(entry.shape) * DTYPES[entry.dtype].itemsize


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        return archive.read(info)
    except _UNREADABLE as error:
        raise ModelError(f"its member {info.filename!r} is truncated or damaged ({error})") from error


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, entry: ArrayEntry) -> np.ndarray:
    data = _read_member(archive, info)
    if hashlib.sha256(data).hexdigest() != entry.sha256:
        raise ModelError(f"array {name!r} was altered: its SHA-256 is not the one model.json states")
    try:
        return _parse_npy(data, entry)
    except (ValueError, TypeError, SyntaxError) as error:
        raise ModelError(f"array {name!r} cannot be read ({error})") from error


def _parse_npy(data: bytes, entry: ArrayEntry) -> np.ndarray:
    """Return an array whose own header says what the manifest states; nothing is allocated before that is known."""
    buffer = io.BytesIO(data)
    if np.lib.format.read_magic(buffer) != (1, 0):
        raise ValueError("not version 1.0 of the npy format")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(buffer)
    if (shape, fortran_order, dtype.str) != (entry.shape, False, entry.dtype):
        raise ValueError(f"its header says {dtype.str} and {shape}, stated are {entry.dtype} and {entry.shape}")
    if len(data) - buffer.tell() != math.prod(shape) * dtype.itemsize:
        raise ValueError("its length is not what its header says")
    return np.ndarray(shape, dtype, buffer=data, offset=buffer.tell()).copy()
