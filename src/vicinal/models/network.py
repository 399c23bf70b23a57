"""Models that are networks: in and out of arrays, and applied to rows."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.errors import ModelError
from vicinal.contract.network import FittedModel, FittedNetwork, NetworkRequest
from vicinal.contract.spec import BackendSpec
from vicinal.kernels.network import apply_layers
from vicinal.kernels.processors import threads_for
from vicinal.plugin.manager import get_manager

from .layers import check_bounds, check_network_record
from .manifest import Manifest
from .strangers import check_kept

RECORD = "networks"
"""Field of the manifest that describes the networks."""
TRAINING = "training_"
ROLES = ("encoder", "decoder")


def flatten(fitted: FittedModel) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return a model's networks as plain data, and all its arrays under names that files can have."""
    networks = fitted.networks
    arrays = {f"{role}_{i}": a for role, network in networks.items() for i, a in enumerate(network.arrays.values())}
    arrays |= {f"{TRAINING}{name}": array for name, array in fitted.training.items()}
    return {role: network.record() for role, network in networks.items()}, arrays


def unflatten(manifest: Manifest, arrays: Mapping[str, np.ndarray]) -> FittedModel:
    """Return the networks that a manifest describes.

    Raises
    ------
    ModelError
        If a description is not one, or names arrays that are not there.
    """
    try:
        records = manifest.extra[RECORD]
        networks = {role: _network(role, records[role], arrays) for role in ROLES if role in records}
        training = {n.removeprefix(TRAINING): array for n, array in arrays.items() if n.startswith(TRAINING)}
        return FittedModel(**networks, training=training)
    except ModelError:
        raise
    except (KeyError, TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise ModelError(f"its networks cannot be read ({type(error).__name__}: {error})") from error


def _network(role: str, record: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> FittedNetwork:
    return FittedNetwork(
        builder=None if record["builder"] is None else str(record["builder"]),
        params=dict(record["params"]),
        input_dims=tuple(map(int, record["input_dims"])),
        output_dims=tuple(map(int, record["output_dims"])),
        layers=tuple(record["layers"]),
        arrays={str(name): arrays[f"{role}_{i}"] for i, name in enumerate(record["arrays"])},
        is_logit=bool(record["is_logit"]),
    )


def check_network(manifest: Manifest, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise `ModelError` unless the networks fit together, and are finite."""
    fitted = unflatten(manifest, arrays)
    for role, network in fitted.networks.items():
        check_bounds(network)
        check_network_record(role, manifest.extra[RECORD][role])
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise ModelError(f"array {name!r} holds values that are NaN or infinite")
    if manifest.representation is None:
        raise ModelError("the manifest states no representation")
    wanted, takes = manifest.representation["n_features"], math.prod(fitted.encoder.input_dims)
    if takes != wanted:
        raise ModelError(f"its network takes {takes} columns; the manifest states {wanted}")
    check_kept(arrays, wanted)
    if manifest.features is not None and len(manifest.features) != wanted:
        raise ModelError(f"the manifest names {len(manifest.features)} features for {wanted} columns")
    for network in fitted.networks.values():
        if network.layers:
            _try_out(network)
    decoder = fitted.decoder
    if decoder is not None and math.prod(decoder.input_dims) != math.prod(fitted.encoder.output_dims):
        raise ModelError(f"its decoder takes {decoder.input_dims}; its encoder makes {fitted.encoder.output_dims}")


def _try_out(network: FittedNetwork) -> None:
    """Let a network map no row at all, which shows whether its layers fit together."""
    try:
        rows = np.zeros((0, math.prod(network.input_dims)), dtype=np.float32)
        made = apply_layers(network.layers, network.arrays, rows)
    except (KeyError, TypeError, ValueError, AttributeError, IndexError, RecursionError) as error:
        raise ModelError(f"the layers of its network do not fit together ({error})") from error
    if made.shape[1] != math.prod(network.output_dims):
        raise ModelError(f"its network makes {made.shape[1]} numbers of a row; stated are {network.output_dims}")


def apply_network(
    manifest: Manifest,
    network: FittedNetwork,
    rows: NDArray[np.float32],
    *,
    module: Any = None,
    role: str = "encoder",
    n_jobs: int | None = None,
) -> NDArray[np.float32]:
    """Return what a network makes of rows, ``(n, n_outputs)``.

    One that is made of known layers is applied here, and a row's result has the same bits whatever comes with it.
    Others are built again by the backend that is named, or given, and applied by the optimizer that trained them.

    Parameters
    ----------
    module
        The network of a model that was trained with the user's own.

    Raises
    ------
    ModelError
        If a plugin is missing that is needed, or a user's network is not given again.
    """
    n_jobs = threads_for(n_jobs)
    if module is None and network.layers:
        return apply_layers(network.layers, network.arrays, rows, n_jobs)
    name = manifest.backends.get("optimizer", "")
    optimizer = _backend("optimizer", name)
    if not hasattr(optimizer, "apply"):
        raise ModelError(f"the model's network is applied by its optimizer, and {name!r} applies none")
    if module is None:
        module = _built_again(network, role)
    try:
        made = optimizer.apply(module, network, rows, n_jobs)
    except (RuntimeError, TypeError, ValueError) as error:  # also what a library says of weights that do not fit
        raise ModelError(f"new cells cannot be mapped by this model: {error}") from error
    return (1 + np.tanh(made / 2)) / 2 if network.is_logit else made


def _built_again(network: FittedNetwork, role: str) -> Any:
    if network.builder is None:
        msg = f"the model was trained with a network of the user's own; give it again: {role}=module"
        raise ModelError(msg)
    builder, request = _backend("network", network.builder, network.params), _request(network, role)
    _check_size(builder, request, network)
    try:
        return builder.build(request)
    except Exception as error:  # of whatever it makes of parameters from a file
        raise ModelError(f"the network {network.builder!r} cannot be built as the model states ({error})") from error


def _check_size(builder: Any, request: NetworkRequest, network: FittedNetwork) -> None:
    """Raise `ModelError`, before anything is built, where a network is not of the size of its stored weights."""
    if not hasattr(builder, "n_values"):
        return
    wanted, stored = int(builder.n_values(request)), sum(array.size for array in network.arrays.values())
    if wanted != stored:
        shown = f"has {wanted:,} weights, and {stored:,} are stored"
        raise ModelError(f"the network {network.builder!r} with the parameters that the model states {shown}")


def _request(network: FittedNetwork, role: str) -> NetworkRequest:
    """Return a request as the one before the training; what it says of features is in the weights, and put back."""
    n_inputs, n_outputs = math.prod(network.input_dims), math.prod(network.output_dims)
    is_centred = role == "decoder" and not network.is_logit
    return NetworkRequest(
        input_dims=network.input_dims,
        output_dims=network.output_dims,
        input_center=_filled(n_inputs, 0),
        input_scale=_filled(n_inputs, 1),
        output_center=_filled(n_outputs, 0) if is_centred else None,
        output_scale=_filled(n_outputs, 1) if is_centred else None,
    )


def _filled(size: int, value: float) -> NDArray[np.float32]:
    return np.full(size, value, dtype=np.float32)


def _backend(stage: str, name: str, params: Mapping[str, Any] | None = None) -> Any:
    """Return a backend that a model names, among those that are installed."""
    manager = get_manager()
    try:
        entry = manager.resolve(stage, name)
        assert isinstance(entry.spec, BackendSpec)
        return manager.load(entry)(entry.spec.params(**(params or {})))
    except Exception as error:  # a plugin of others may make anything of what a file states
        raise ModelError(f"the model needs the {stage} {name!r}, which cannot be had here: {error}") from error
