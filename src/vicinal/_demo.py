"""``vicinal demo``: one map from end to end, and cells it has never seen placed in it by another process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from . import datasets, models, pl, pp, tl
from .contract.errors import VicinalError
from .contract.seeds import child_seed, generator

if TYPE_CHECKING:
    from anndata import AnnData

CELL_TYPE = "bulk_labels"
HELD_OUT_SHARE = 0.2
VOTERS = 15
COMPILED = 0.5
"""Seconds of compiling that are worth a line."""
SAFELY = ("-P", "-m", "vicinal")
"""Without the working folder, whose files may be anybody's, on the import path."""


def demo(folder: Path) -> Iterator[str]:
    """Make, score, save and reuse a map of 700 blood cells; yield what was done, line by line.

    Parameters
    ----------
    folder
        Where the files go; made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    reference, held_out = _split(datasets.pbmc68k_reduced())
    yield f"{reference.n_obs} blood cells make the map; {held_out.n_obs} more are held out."

    from .kernels.compile import announcement

    pp.neighbors(reference)
    compiled = announcement.seconds
    tl.embed(reference)
    compiled = announcement.seconds - compiled
    scores = tl.score(reference, labels=CELL_TYPE)
    total = reference.uns["umap"]["timings"]["total"]
    if announcement.seconds >= COMPILED:
        yield f"Compiling kernels took {announcement.seconds:.1f} s; it is done once per machine, and they are kept."
    yield f"The map took {max(total - compiled, 0):.1f} s. Its scores, each at most 1:"
    yield from (f"  {name:<20}{value:.3f}" for name, value in scores.items())

    reference.write_h5ad(folder / "map.h5ad")
    models.save(reference, folder / "model.zip")
    placed = _project_in_new_process(held_out, folder / "model.zip", folder / "held_out.h5ad")
    right = _own_type(reference, placed).sum()
    share = right / placed.n_obs
    yield f"A new process placed the held-out cells with the saved model: {right} of {placed.n_obs} ({share:.0%})"
    yield f"lie among cells of their own type; of the map's own cells {scores['label_accuracy']:.0%} do."

    _draw_map(reference, placed, folder / "map.png")
    _draw_loss(reference, folder / "loss.png")
    yield "Written:"
    width = max(len(str(folder / name)) for name in FILES)
    yield from (f"  {folder / name!s:<{width}}  {text}" for name, text in FILES.items())


FILES = {
    "map.png": "the map by cell type, held-out cells ringed",
    "loss.png": "the loss along the way",
    "map.h5ad": "the cells with their map: obsm['X_umap'], uns['umap']",
    "model.zip": "the model, for `vicinal project`",
    "held_out.h5ad": "the held-out cells in their places",
}


def _split(cells: AnnData) -> tuple[AnnData, AnnData]:
    """Hold cells out, and forget what was computed with them: neighbours and scanpy's map."""
    del cells.uns["neighbors"], cells.obsp, cells.obsm["X_umap"]
    chance = generator(child_seed(0, "demo")).random(cells.n_obs)
    kept = chance >= np.quantile(chance, HELD_OUT_SHARE)
    return cells[kept].copy(), cells[~kept].copy()


def _project_in_new_process(cells: AnnData, model: Path, output: Path) -> AnnData:
    import anndata as ad

    with TemporaryDirectory() as scratch:
        cells.write_h5ad(Path(scratch) / "cells.h5ad")
        command = [sys.executable, *SAFELY, "project", f"{scratch}/cells.h5ad", str(model), str(output)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, env=os.environ)
    if done.returncode:
        raise VicinalError("the new process failed; what it says stands above")
    return ad.read_h5ad(output)


def _own_type(reference: AnnData, placed: AnnData) -> np.ndarray:
    """Tell which placed cells have the type that most of the reference cells around them have."""
    offsets = placed.obsm["X_umap"][:, None, :] - reference.obsm["X_umap"][None, :, :]
    nearest = np.argsort(np.square(offsets).sum(axis=2), axis=1, kind="stable")[:, :VOTERS]
    types = reference.obs[CELL_TYPE].cat.categories
    around = reference.obs[CELL_TYPE].cat.codes.to_numpy()[nearest]
    votes = np.array([np.bincount(row, minlength=len(types)) for row in around])
    return types[votes.argmax(axis=1)].to_numpy() == placed.obs[CELL_TYPE].to_numpy()


def _draw_map(reference: AnnData, placed: AnnData, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots(figsize=(8, 6.5))
    title = f"{reference.n_obs} blood cells, and {placed.n_obs} (ringed) placed by the model"
    pl.embedding(reference, color=CELL_TYPE, ax=ax, show=False, size=90, title=title)
    colors = dict(zip(reference.obs[CELL_TYPE].cat.categories, reference.uns[f"{CELL_TYPE}_colors"], strict=True))
    ring: dict[str, Any] = {"s": 45, "edgecolor": "black", "linewidth": 0.9}
    ax.scatter(*placed.obsm["X_umap"].T, c=[colors[name] for name in placed.obs[CELL_TYPE]], **ring)
    _save(figure, path)


def _draw_loss(reference: AnnData, path: Path) -> None:
    _save(pl.loss(reference).figure, path)


def _save(figure: Any, path: Path) -> None:
    import matplotlib.pyplot as plt

    figure.savefig(path, dpi=150, bbox_inches="tight", facecolor="white")
    plt.close(figure)
