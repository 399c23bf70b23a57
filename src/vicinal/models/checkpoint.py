"""A run under way in one file, of the same format as a model's."""

from __future__ import annotations

import hashlib
import os

import numpy as np

from vicinal.contract.errors import ModelError
from vicinal.pipeline.run import Run

from . import store
from .manifest import Manifest
from .store import CHECKPOINT, Model

STATE_PREFIX = "state_"


def save_checkpoint(path: str | os.PathLike[str], run: Run) -> None:
    """Write what a run needs to go on: its optimiser's state, its loss so far, and what it belongs to."""
    arrays = {f"{STATE_PREFIX}{name}": np.asarray(value) for name, value in run.optimization.state().items()}
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
        extra={"epoch": run.epoch, "belongs_to": belongs_to(run), "losses": run.losses},
    )
    store.save(Model(manifest, arrays), path)


def load_checkpoint(path: str | os.PathLike[str], run: Run) -> None:
    """Bring a fresh run to where a checkpoint was written.

    Raises
    ------
    ModelError
        If the file is damaged, is no checkpoint, or belongs to other data or other arguments.
    """
    saved = store.load(path)
    if saved.manifest.kind != CHECKPOINT:
        raise ModelError(f"{os.fspath(path)!r} is a model, not a checkpoint; load it with vc.models.load")
    if saved.manifest.extra["belongs_to"] != belongs_to(run):
        msg = f"checkpoint {os.fspath(path)!r} belongs to other data or arguments; start the run as it was started then"
        raise ModelError(msg)
    state = {name.removeprefix(STATE_PREFIX): array for name, array in saved.arrays.items()}
    run.restore(state, saved.manifest.extra["epoch"], saved.manifest.extra["losses"])


def belongs_to(run: Run) -> str:
    """Return a SHA-256 of the graph, the parameters and the plan of a run."""
    graph = run.graph
    digest = hashlib.sha256(repr(sorted(run.provenance()["params"].items())).encode())
    for array in (graph.indptr.astype(np.int64), graph.indices, graph.weights):
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
