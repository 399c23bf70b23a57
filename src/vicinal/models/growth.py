"""What cells are added to a map with: what the map was made with, wherever nothing else is given."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import Layout
from vicinal.contract.errors import InputError, PluginError
from vicinal.contract.options import EmbedOptions
from vicinal.contract.schema import number
from vicinal.contract.spec import BackendSpec, Preset
from vicinal.pipeline.plan import check_options
from vicinal.pipeline.repeat import name_as_given
from vicinal.pipeline.run import is_scalar
from vicinal.plugin.manager import get_manager

from .manifest import Manifest
from .schema import check_part
from .store import Model

OF_THE_MAP = {"method", "init", "fixed", "use_rep", "n_pcs", "metric", "metric_kwds", "n_components"}
NOT_HERE = {"checkpoint", "checkpoint_every"}
OF_A_WHOLE_RUN = {"n_epochs", "n_training_epochs", "learning_rate", "momentum", "early_exaggeration"}
KERNEL = {"min_dist", "spread", "a", "b"}
"""Parameters that say together how near cells are: one that is given replaces all that are recorded."""
EPOCHS_SMALL, EPOCHS_LARGE, SMALL_UP_TO = 100, 50, 10_000
LEARNING_RATE = 0.05
EPOCHS_TSNE, RATE_A_CELL, MOMENTUM = 250, 0.1, 0.8
"""First steps are shorter than those of a new map: all cells start near where they belong. The rate of t-SNE is in
units of the number of cells."""
OTHERWISE = "umap"
"""The preset for maps of other tools."""


def check_arguments(max_drift: Any, of_the_run: Mapping[str, Any], params: Mapping[str, Any]) -> None:
    """Raise `InputError` for arguments that no update can have."""
    check_options(EmbedOptions(**of_the_run))
    is_number = isinstance(max_drift, numbers.Real) and not isinstance(max_drift, bool)
    if not is_number or not 0 <= max_drift < math.inf:
        raise InputError(f"max_drift={max_drift!r} is not allowed; give a share of the map's spread, 0 or more")
    for name in params:
        if name in OF_THE_MAP:
            raise InputError(f"{name} is not allowed here: it is that of the map")
        if name in NOT_HERE:
            raise InputError(f"{name} is not allowed here: an update is not kept on the way")


def check_fits(model: Model, given: Mapping[str, Any], encoder: Any) -> None:
    """Raise `InputError` for arguments of the other kind of map."""
    if model.fitted is None and encoder is not None:
        raise InputError("encoder is given, but the map is not a network's; leave it out")
    asked = [name for name, value in given.items() if value is not None]
    if model.fitted is not None and asked:
        msg = f"{asked[0]} is given, but the map is a network's, which is applied and not changed; leave it out"
        raise InputError(f"{msg}, or train it further: vc.tl.embed(..., continue_from=model)")


def options_of(
    manifest: Manifest, given: Mapping[str, Any], *, first: Layout, fixed: NDArray[np.bool_] | None
) -> EmbedOptions:
    """Return the options of the joint map.

    Parameters
    ----------
    manifest
        Of the map that cells are added to.
    given
        Arguments of `vicinal.tl.embed`; None for those that are left open.
    first
        Places of all cells before any move.
    fixed
        Boolean ``(n_obs,)``: cells that stand still; None for none.
    """
    representation, manager = manifest.representation or {}, get_manager()
    presets = [entry.spec.name for entry in manager.entries() if isinstance(entry.spec, Preset)]
    method = manifest.method if manifest.method in presets else OTHERWISE
    asked = {name: value for name, value in given.items() if value is not None}
    if "neighbors_key" in asked:
        asked = {"graph": "precomputed", **asked}
    recorded = _recorded(manifest, asked)
    taken = {"optimizer": manager.preset(method).stages["optimizer"], **recorded, **asked}
    n_neighbors = manifest.params.get("n_neighbors", manifest.placement["n_neighbors"])
    check_part(number(1), n_neighbors, "params['n_neighbors']")
    # A preset that names its graph leaves to it how many it wants, where the map does not state it.
    is_open = "n_neighbors" not in manifest.params and manager.preset(method).stages["graph"] != "auto"
    if "neighbors_key" not in asked and not is_open:
        taken = {"n_neighbors": max(2, min(int(n_neighbors), len(first) - 1)), **taken}
    taken = {**_gentle(taken, len(first)), **taken}
    of_the_map = {
        "n_components": first.shape[1],
        "use_rep": representation["name"],
        "n_pcs": representation["n_pcs"],
        "metric": representation["metric"],
        "metric_kwds": representation.get("metric_kwds"),
        "init": first,
        "fixed": fixed,
    }
    return EmbedOptions.collect(method, {**taken, **of_the_map})


def _gentle(taken: Mapping[str, Any], n_obs: int) -> dict[str, Any]:
    """Return how many short steps are taken, by the optimizers whose steps are known."""
    if taken["optimizer"] == "numba_sgd":
        gentle = {"n_epochs": EPOCHS_SMALL if n_obs <= SMALL_UP_TO else EPOCHS_LARGE, "learning_rate": LEARNING_RATE}
    elif taken["optimizer"] == "numba_fft":
        exaggeration = taken.get("exaggeration", taken.get("optimizer__exaggeration", 1.0))
        rate = {"learning_rate": RATE_A_CELL * n_obs, "momentum": MOMENTUM}
        gentle = {"n_epochs": EPOCHS_TSNE, "early_exaggeration": exaggeration, **rate}
    else:
        return {}
    return {name: value for name, value in gentle.items() if name != "n_epochs" or "phases" not in taken}


def _recorded(manifest: Manifest, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return the backends of a map, and their parameters, that can be used again."""
    taken: dict[str, Any] = {}
    for stage in ("graph", "objective", "optimizer"):
        spec = None if stage in asked else _spec(stage, manifest.backends.get(stage, ""))
        if spec is None or (stage == "graph" and "neighbors" not in spec.capabilities.inputs):
            continue
        taken[stage] = name_as_given(manifest.backends[stage])
        taken |= _params_again(stage, spec, manifest.params, asked)
    if "objective" not in taken and {"a", "b"} <= set(manifest.params) and not KERNEL & set(asked):
        taken |= {name: manifest.params[name] for name in ("a", "b")}
    return taken


def _params_again(stage: str, spec: BackendSpec, params: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    given = {name.removeprefix(f"{stage}__") for name in asked}
    left_out = given | OF_A_WHOLE_RUN | (KERNEL if KERNEL & given else set())
    values = {name: params.get(f"{stage}__{name}", params.get(name)) for name in spec.fields if name not in left_out}
    return {f"{stage}__{name}": value for name, value in values.items() if is_scalar(value)}


def _spec(stage: str, name: str) -> BackendSpec | None:
    """Return what a map was made by; None for an object, or for what is not here."""
    try:
        spec = get_manager().resolve(stage, name).spec
    except (InputError, PluginError):
        return None
    return spec if isinstance(spec, BackendSpec) else None
