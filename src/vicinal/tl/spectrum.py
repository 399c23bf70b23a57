"""Maps between attraction and repulsion, on one graph, each starting from the one before."""

from __future__ import annotations

import itertools
import json
import math
import numbers
from collections.abc import Sequence
from typing import Any

import numpy as np
from anndata import AnnData

from vicinal.adata.read import check_adata
from vicinal.contract.arguments import checks_arguments
from vicinal.contract.data import MOST_EPOCHS
from vicinal.contract.errors import InputError
from vicinal.contract.options import EmbedOptions
from vicinal.contract.showing import refused
from vicinal.contract.source import EmbedResult
from vicinal.pipeline.phases import read_phases

from ._keeper import Keeper
from .embed import make_map

METHOD, NAME = "tsne", "spectrum"
LARGEST, SMALLEST = 30.0, 1.5
"""The first exaggeration of the default for many cells, and for few."""
CELLS_PER_FACTOR = 1500
STEPS = (1.0, 0.73, 0.41, 0.2, 0.0)
"""The default's exaggerations down to 1, as powers of the first; for the largest these are 30, 12, 4, 2 and 1."""
LAST = 0.5
N_EPOCHS = 250
NOT_HERE = {
    "method": "the maps are t-SNE's",
    "phases": "exaggerations and n_epochs make them",
    "exaggeration": "exaggerations lists it",
    "early_exaggeration": "the first maps have the largest exaggerations",
}


@checks_arguments
def spectrum(
    adata: AnnData,
    exaggerations: Sequence[float] | None = None,
    *,
    n_epochs: int = N_EPOCHS,
    key_added: str | None = None,
    copy: bool = False,
    **options: Any,
) -> AnnData | None:
    """Make maps along the spectrum from attraction to repulsion.

    t-SNE whose attraction is multiplied by an exaggeration gives, from large to small, what looks like Laplacian
    eigenmaps, ForceAtlas2, UMAP and t-SNE itself (1): continuous structure stands out at the one end, discrete
    structure at the other (Boehm, Berens and Kobak 2022, JMLR 23:95, arXiv:2007.08902). All maps are of one graph,
    made once, and each starts from the one before, so that they can be compared cell by cell.

    Which exaggeration looks like which method depends on the number of cells and on the data. On some 70,000 cells
    30 is like ForceAtlas2 and 4 like UMAP, as published. On a few thousand, above about 2, groups shrink to dots and
    lines: a cell's neighbours are then a larger share of all cells, and hold it more firmly.

    It is one run of `vicinal.tl.embed` with a phase for each exaggeration and a snapshot at its end.

    Parameters
    ----------
    adata
        Annotated data, cells in rows. Only the slots of the maps are written, and only after every stage went well.
    exaggerations
        Factors of the attraction, above 0, falling. The first may be `math.inf`: the Laplacian eigenmaps of the graph,
        by the initialisation ``"spectral"``, before any move. None for six that follow the number of cells: 30, 12, 4,
        2, 1 and 0.5 from 45,000 cells on, and 1.8, 1.5, 1.3, 1.1, 1 and 0.5 for 2,700.
    n_epochs
        Steps for each map.
    key_added
        Key for both ``obsm`` and ``uns``; None for ``X_spectrum`` and ``spectrum``.
    copy
        Leave ``adata`` alone and return a copy with the maps.
    **options
        Other arguments of `vicinal.tl.embed`, such as ``perplexity``, ``graph``, ``init``, ``random_state`` or
        ``checkpoint``. The learning rate is by default the number of cells over the exaggeration.

    Returns
    -------
    None, or the copy. ``uns["spectrum"]`` holds what `vicinal.tl.embed` writes, and of the maps, in the order of the
    exaggerations: ``snapshots``, float32 ``(m, n_obs, n_components)``; ``exaggerations``, float64 ``(m,)``;
    ``snapshot_loss``, float64 ``(m,)``, the divergence of each without exaggeration; ``snapshot_epochs``, where each
    ends. ``obsm["X_spectrum"]`` is the map of exaggeration 1, else the last; scores are its. Where a callback ends it,
    maps that were not reached are missing.

    Raises
    ------
    InputError
        Before any work, if an argument or a value in ``adata`` cannot be used.
    StageError
        If a backend fails; ``adata`` is then unchanged.

    Examples
    --------
    >>> import vicinal as vc
    >>> adata = vc.datasets.pbmc68k_reduced()
    >>> vc.tl.spectrum(adata, [12, 4, 1], n_epochs=100)
    >>> adata.uns["spectrum"]["snapshots"].shape
    (3, 700, 2)
    """
    made, keeper = make_spectrum(
        adata, {**options, "key_added": key_added}, exaggerations=exaggerations, n_epochs=n_epochs, copy=copy
    )
    keeper.remove()
    return made


def usual_exaggerations(n_obs: int) -> list[float]:
    """Return the exaggerations of so many cells by default: the first a 1500th of their number, from 1.5 to 30."""
    first = min(LARGEST, max(SMALLEST, n_obs / CELLS_PER_FACTOR))
    return [float(f"{first**step:.2g}") for step in STEPS] + [LAST]


def make_spectrum(
    adata: AnnData, options: dict[str, Any], *, exaggerations: Any, n_epochs: Any, copy: bool = False
) -> tuple[AnnData | None, Keeper]:
    """Make the maps as `spectrum` does; the checkpoint, if any, is left to the caller to remove."""
    for name, why in NOT_HERE.items():
        if name in options:
            raise InputError(f"{name} is not allowed here: {why}")
    check_adata(adata)
    factors = _factors(usual_exaggerations(adata.n_obs) if exaggerations is None else exaggerations)
    is_whole = isinstance(n_epochs, numbers.Integral) and not isinstance(n_epochs, bool)
    if not is_whole or not 1 <= n_epochs <= MOST_EPOCHS:
        allowed = f"give the steps for each map, 1 or more, at most {MOST_EPOCHS:,}"
        raise InputError(f"{refused('n_epochs', n_epochs)}; {allowed}")
    phases = read_phases([{"n": n_epochs, "exaggeration": factor} for factor in factors if math.isfinite(factor)])
    ends = [0] * math.isinf(factors[0]) + list(itertools.accumulate(phase.n for phase in phases))
    if math.isinf(factors[0]):
        options = _from_eigenmaps(options)
    asked = {**options, "n_epochs": ends, "phases": [phase.to_dict() for phase in phases]}
    epoch = dict(zip(factors, ends, strict=True)).get(1.0, ends[-1])
    collected = EmbedOptions.collect(METHOD, asked)
    return make_map(adata, collected, copy=copy, name=NAME, epoch=epoch, beside=exaggerations_of)


def exaggerations_of(result: EmbedResult) -> dict[str, Any]:
    """Return, for `uns`, the exaggeration and the loss of each snapshot; before any move it is infinite."""
    phases = json.loads(result.params.get("phases", "[]"))
    epochs, losses = sorted(result.snapshots or ()), dict(zip(result.loss.epochs, result.loss.total, strict=True))
    at = {stop: overrides["exaggeration"] for _, stop, overrides in phases}
    return {
        "exaggerations": np.array([at.get(epoch, math.inf) for epoch in epochs]),
        "snapshot_loss": np.array([losses[epoch] for epoch in epochs]),
    }


def _factors(given: Any) -> list[float]:
    """Return the exaggerations, or raise `InputError`."""
    allowed = "give numbers above 0, falling, such as [30, 12, 4, 1]; the first may be math.inf, with others after it"
    values = list(given) if isinstance(given, Sequence | np.ndarray) and not isinstance(given, str) else []
    are_numbers = all(isinstance(value, numbers.Real) and not isinstance(value, bool) for value in values)
    falling = are_numbers and all(a > b for a, b in itertools.pairwise([*values, 0]))
    if not falling or not any(map(math.isfinite, values)):
        raise InputError(f"exaggerations={given!r} is not allowed; {allowed}")
    return [float(value) for value in values]


def _from_eigenmaps(options: dict[str, Any]) -> dict[str, Any]:
    init = options.get("init", "spectral")
    if not isinstance(init, str) or init != "spectral":
        shown = repr(init) if isinstance(init, str) else f"a {type(init).__name__}"
        msg = f"exaggerations starts with math.inf, the map by init='spectral', but init is {shown}"
        raise InputError(f"{msg}; leave one of the two out")
    return {**options, "init": "spectral"}
