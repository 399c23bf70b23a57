"""A run under way in one file, of the same format as a model's."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from vicinal.contract.errors import ModelError
from vicinal.pipeline.run import Run

from . import store
from .manifest import Manifest, plain
from .schema import BELONGS_TO, HISTORY, check_part
from .store import CHECKPOINT, Model

STATE_PREFIX = "state_"
SNAPSHOT_PREFIX = "snapshot_"

logger = logging.getLogger("vicinal")


def save_checkpoint(path: str | os.PathLike[str], run: Run) -> None:
    """Write what a run needs to go on: its optimiser's state, what it has recorded, and what it belongs to."""
    arrays = {f"{STATE_PREFIX}{name}": np.asarray(value) for name, value in run.optimization.state().items()}
    arrays |= {f"{SNAPSHOT_PREFIX}{epoch}": layout for epoch, layout in run.snapshots.items()}
    record = run.provenance()
    manifest = Manifest(
        kind=CHECKPOINT,
        method=run.plan.method,
        backends=record["backends"],
        versions=record["versions"],
        params=record["params"],
        representation=None,
        placement={"rule": "none", "n_neighbors": 1},
        arrays=store.describe(arrays),
        extra={"belongs_to": run.identity, "history": run.history()},
    )
    store.save(Model(manifest, arrays), path)


def load_checkpoint(path: str | os.PathLike[str], run: Run) -> None:
    """Bring a fresh run to where a checkpoint was written.

    Raises
    ------
    ModelError
        If the file is damaged, is no checkpoint, or belongs to other data or other arguments.
    """
    take_up(read_checkpoint(path), path, run)


def read_checkpoint(path: str | os.PathLike[str]) -> Model:
    """Read a checkpoint, checking every part of it before it is used.

    Raises
    ------
    ModelError
        If the file is damaged, or is no checkpoint.
    """
    try:
        saved = store.load(path)
    except ModelError as error:
        raise ModelError(f"checkpoint: {error}. Remove the file to start afresh, or name another") from error
    if saved.manifest.kind != CHECKPOINT:
        raise ModelError(f"{os.fspath(path)!r} is a model, not a checkpoint; load it with vc.models.load")
    return saved


def take_up(saved: Model, path: str | os.PathLike[str], run: Run) -> None:
    """Bring a fresh run to where a checkpoint that was read is.

    Raises
    ------
    ModelError
        If it belongs to other data or other arguments, or states what cannot be.
    """
    try:
        belongs_to, history = saved.manifest.extra["belongs_to"], saved.manifest.extra["history"]
        check_part(BELONGS_TO, belongs_to, "belongs_to")
        _check_owner(belongs_to, saved.manifest.params, path, run)
        check_part(HISTORY, history, "history")
        run.restore(history, _of(saved, STATE_PREFIX), _snapshots(saved, run))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RuntimeError) as error:
        if isinstance(error, ModelError):
            raise
        problem = f"checkpoint {os.fspath(path)!r} states what cannot be ({type(error).__name__}: {error})"
        raise ModelError(f"{problem}. Remove the file to start afresh, or name another") from error


def _check_owner(belongs_to: Mapping[str, str], params: Mapping[str, Any], path: Any, run: Run) -> None:
    same_graph = belongs_to["graph"] == run.identity["graph"]
    if belongs_to["arguments"] != run.identity["arguments"] or (not same_graph and run.repeats):
        differing = _differing(params, run.provenance()["params"])
        msg = (
            f"checkpoint {os.fspath(path)!r} belongs to other data or arguments{differing};"
            " start the run as it was started then, remove the file to start afresh, or name another"
        )
        raise ModelError(msg)
    if not same_graph:
        logger.warning(
            "The neighbours are not quite those of the checkpoint: their backend gives others each time. The map will"
            " be as good, but not the same to the bit as one without interruption"
        )


def _differing(then: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    now = plain(now)
    names = sorted(name for name in {*then, *now} if then.get(name) != now.get(name))
    return f" ({', '.join(f'{n} was {then.get(n)!r}, is {now.get(n)!r}' for n in names)})" if names else ""


def _of(saved: Model, prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in saved.arrays.items() if name.startswith(prefix)}


def _snapshots(saved: Model, run: Run) -> dict[int, np.ndarray]:
    snapshots = {int(epoch): layout for epoch, layout in _of(saved, SNAPSHOT_PREFIX).items()}
    for epoch, layout in snapshots.items():
        shape = (run.plan.n_obs, run.plan.n_components)
        if layout.dtype != np.float32 or layout.shape != shape or not 0 <= epoch <= run.n_epochs:
            found = f"{layout.dtype} of shape {layout.shape} at epoch {epoch}"
            raise ModelError(f"a snapshot is {found}; expected float32 {shape} at an epoch up to {run.n_epochs}")
        if not np.isfinite(layout).all():
            raise ModelError(f"the snapshot of epoch {epoch} holds NaN or infinity")
    return snapshots
