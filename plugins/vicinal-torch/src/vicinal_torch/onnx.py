"""Networks written as ONNX files, for programs that have neither torch nor vicinal."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from vicinal.api import FittedNetwork, InputError

from .checks import require_count, require_one_of
from .rebuilt import rebuilt
from .surroundings import isolated

if TYPE_CHECKING:
    from onnx import FunctionProto, GraphProto, ModelProto

NAMES = {"encoder": ("rows", "places"), "decoder": ("places", "rows")}
"""What goes in and what comes out, by part."""
LARGEST = 2**31 - 2**20
"""Bytes of weights one file can hold: protobuf ends at 2 GiB, and some are for the rest."""
TALKATIVE = ("torch.onnx", "onnxscript", "onnx_ir")
INSTALL = "pip install onnx onnxscript"


def to_onnx(
    model: Any,
    path: str | os.PathLike[str],
    *,
    part: str = "encoder",
    encoder: Any = None,
    decoder: Any = None,
    opset: int | None = None,
) -> None:
    """Write a network of a parametric map to one ONNX file, its weights within.

    The encoder takes ``rows``, float32 ``(m, *dims)``, as they are in the representation, and makes ``places``
    ``(m, n_components)``; the decoder takes ``places`` and makes ``rows``. ``m`` may be any number. They are what
    `vicinal.tl.project` and `vicinal.tl.reconstruct` make, up to rounding.

    The file says what made it: its ``metadata_props`` are ``part``, ``method``, ``fingerprint`` (of the model),
    ``representation`` and, where the columns are genes, ``features``, their names as a JSON list.

    The file is written under another name and then renamed: what was at ``path`` stays whole until then.

    Parameters
    ----------
    model
        A `vicinal.models.Model`, such as ``vicinal.models.load`` returns.
    path
        The file; one that exists is replaced.
    part
        ``encoder`` or ``decoder``.
    encoder, decoder
        The network, of a model that was trained with the user's own; it is copied, not changed.
    opset
        Version of ONNX's operators; None for what torch.onnx takes.

    Raises
    ------
    InputError
        If the model has no such network, or torch.onnx cannot export it; if onnx is not installed; if there is no
        folder to write to.
    """
    network = _network(model, part)
    target = _target(path)
    if opset is not None:
        require_count("opset", opset)
    _require_onnx()
    _check_size(part, network)
    with isolated(torch.get_num_threads()), _quiet():
        module = rebuilt(part, network, {"encoder": encoder, "decoder": decoder}[part])
        proto = _exported(module, network, part, opset)
    _describe(proto, model.manifest, part)
    _write(proto.SerializeToString(deterministic=True), target)


def _network(model: Any, part: str) -> FittedNetwork:
    require_one_of("part", part, tuple(NAMES))
    if not hasattr(model, "manifest") or not hasattr(model, "fitted"):
        how = "save what an AnnData carries by vicinal.models.save and give what vicinal.models.load(path) returns"
        raise InputError(f"model is a {type(model).__name__}; a vicinal.models.Model is needed: {how}")
    if model.fitted is None:
        raise InputError(f"model={model!r} has no network; give one that was made by method='parametric_umap'")
    if part not in model.fitted.networks:
        msg = f"part={part!r}: the model has no {part}, only {', '.join(model.fitted.networks)}; make the map with"
        raise InputError(f"{msg} reconstruction=True, or give part='encoder'")
    return model.fitted.networks[part]


def _target(path: Any) -> Path:
    if not isinstance(path, str | os.PathLike) or not isinstance(os.fspath(path), str) or not os.fspath(path):
        raise InputError(f"path={path!r} is not allowed; give the path of a file, as text or a pathlib.Path")
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise InputError(f"path={str(path)!r} is a folder; name a file")
    if not target.parent.is_dir():
        raise InputError(f"path={str(path)!r}: there is no folder {str(target.parent)!r}; make it first")
    return target


def _require_onnx() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        msg = f"ONNX files need onnx and onnxscript, which cannot be imported ({error}); run: {INSTALL}"
        raise InputError(msg) from error


def _check_size(part: str, network: FittedNetwork) -> None:
    size = sum(array.nbytes for array in network.arrays.values())
    if size > LARGEST:
        msg = f"part={part!r}: its weights take {size:,} bytes; one ONNX file holds at most {LARGEST:,}"
        raise InputError(f"{msg}. Train a smaller network")


class Alone(nn.Module):
    """A module whose only argument has a known name."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = module

    def forward(self, given: Tensor) -> Tensor:
        """Return what the module makes."""
        return self.module(given)


def _exported(module: nn.Module, network: FittedNetwork, part: str, opset: int | None) -> ModelProto:
    """Return what torch.onnx makes of a module."""
    into, out = NAMES[part]
    try:
        program = torch.onnx.export(
            Alone(module).eval(),
            (torch.zeros(2, *network.input_dims),),
            dynamo=True,
            dynamic_shapes=({0: torch.export.Dim("m")},),
            input_names=[into],
            output_names=[out],
            opset_version=opset,
            verbose=False,
        )
        assert program is not None and program.exported_program is not None
        _try_out(program.exported_program.module(), network)
        proto = program.model_proto
    except Exception as error:  # a user's module may fail in any way, and so may the exporter
        what = f"{part}: torch.onnx cannot export this network ({_reason(error)})"
        raise InputError(f"{what}; write its module with operations that torch.onnx has") from error
    _check_opset(proto, opset)
    return proto


def _try_out(traced: nn.Module, network: FittedNetwork) -> None:
    """Raise unless what was traced from two rows takes other numbers of rows as well."""
    for m in (1, 3):
        with torch.no_grad():
            made = tuple(traced(torch.zeros(m, *network.input_dims)).shape)
        if made != (m, *network.output_dims):
            raise ValueError(f"of {m} rows it makes {made}, not {(m, *network.output_dims)}")


def _reason(error: BaseException) -> str:
    """Return the first line of what went wrong first; the rest is instructions to the exporter's authors."""
    while error.__cause__ is not None:
        error = error.__cause__
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def _check_opset(proto: ModelProto, opset: int | None) -> None:
    """Raise where the exporter could not convert its operators, of which it only logs."""
    made = next(found.version for found in proto.opset_import if not found.domain)
    if opset not in (None, made):
        msg = f"opset={opset} is not allowed: torch.onnx of torch {torch.__version__} made {made}"
        raise InputError(f"{msg}, and it cannot be converted. Give {made}, or None")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what the exporter says of its own steps from being logged or printed; errors tell what matters."""
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    with contextlib.redirect_stdout(sys.stderr):
        try:
            for logger in loggers:
                logger.setLevel(logging.CRITICAL)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _describe(proto: ModelProto, manifest: Any, part: str) -> None:
    """Say in the file what made it, and nothing else: the exporter notes paths of this machine."""
    _strip(proto.graph)
    for function in proto.functions:
        _strip(function)
    proto.producer_name, proto.producer_version = "vicinal", version("vicinal")
    said = {"part": part, "method": manifest.method, "fingerprint": manifest.fingerprint}
    if manifest.representation is not None:
        said["representation"] = manifest.representation["name"]
    if manifest.features is not None:
        said["features"] = json.dumps(list(manifest.features), ensure_ascii=False)
    del proto.metadata_props[:]
    for key, value in said.items():
        proto.metadata_props.add(key=key, value=value)


def _strip(graph: GraphProto | FunctionProto) -> None:
    """Take out the notes of a graph, its nodes and values, and of the graphs in it."""
    ends = [] if not hasattr(graph, "initializer") else [*graph.input, *graph.output, *graph.initializer]
    for noted in (graph, *graph.node, *graph.value_info, *ends):
        noted.ClearField("metadata_props")
        noted.ClearField("doc_string")
    for attribute in (attribute for node in graph.node for attribute in node.attribute):
        for inner in (*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])):
            _strip(inner)


def _write(data: bytes, target: Path) -> None:
    """Write a file beside its target and rename it, so that a failure leaves what was there before."""
    temporary = target.with_name(f".vicinal-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
