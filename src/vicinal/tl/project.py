"""New cells into an existing map."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.adata.keys import slot_of_map
from vicinal.adata.model import MIN_OVERLAP, check_overlap, model_from_adata, read_new_cells
from vicinal.adata.projection import check_target, write_projection
from vicinal.contract.arguments import checks_arguments
from vicinal.contract.errors import InputError, ModelError
from vicinal.contract.log import added
from vicinal.contract.options import EmbedOptions
from vicinal.models import Model, load
from vicinal.models.inference import find_strangers, place, why_no_strangers
from vicinal.models.strangers import Strangers
from vicinal.pipeline.plan import check_options

if TYPE_CHECKING:
    from anndata import AnnData


@checks_arguments
def project(
    adata_new: AnnData,
    model: Model | str | os.PathLike[str] | AnnData,
    *,
    key: str | None = None,
    key_added: str | None = None,
    use_rep: str | None = None,
    min_overlap: float = MIN_OVERLAP,
    encoder: Any = None,
    stranger_level: float | None = 0.05,
    park_strangers: bool = False,
    n_jobs: int | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Place new cells in an existing map, which stays as it is.

    The network of a parametric map maps each cell. In other maps each cell goes to the geometric median of the places
    of the reference cells nearest to it in the representation the map was made from, weighted by the kernel of the
    fuzzy graph, and from there a few steps down the map's objective, the reference staying where it is; a reference
    cell lands on its own place. A cell's place depends on that cell and the model alone: it has the same bits one by
    one, in any order, in any batch, on any number of threads.

    Every map gives a place to every cell, to one of a kind it has never seen too. So each cell gets a score, how far it
    is from its nearest reference cells in what those are from theirs, and a p-value, the share of reference cells whose
    own score is as high: of cells like those of the reference, a share ``stranger_level`` is flagged. The model's
    reference cells, or 5,000 of them, are asked; of the network of a parametric map up to 1,500 that it keeps.

    Where the model carries a PCA that saw the reference alone, reference cells look less strange to it than new ones.
    Their scores are then taken by cross-fitting: a fifth of them at a time is left out of the PCA, projected and
    scored. Of cells given as genes, what the components leave of these is scored too. The p-value is then of all: the
    smallest, where half of the level goes to neighbours and half to the residuals, ranked among the reference cells'.
    Of fewer than about 1,000 reference cells, up to twice the level may be flagged; a warning says so.

    Parameters
    ----------
    adata_new
        The new cells: their genes, in any order, treated as those of the reference were, if the model carries the
        reference's PCA (``model.genes``) or was made from genes; else with the model's representation, the same
        ``obsm`` key made in the same way.
    model
        A `Model`, the path of one, or an AnnData that carries one.
    key
        Key in ``uns`` of the map, where ``model`` is an AnnData with several.
    key_added
        Where to write, in ``obsm`` and ``uns``; by default as `vicinal.tl.embed` does for the model's method.
    use_rep
        Where ``adata_new`` has what the model reads: a key of ``obsm`` for the representation itself, ``"X"`` or a
        layer for genes. None for genes where the model carries the PCA, from ``.X`` or the layer that the PCA was
        made from, else for the representation's own key.
    min_overlap
        With a model that carries the PCA: how much of its squared loadings the genes of ``adata_new`` must have, above
        0 and at most 1. Genes that are missing are taken at the reference's mean.
    encoder
        The network, a ``torch.nn.Module``, of a map that was made with the user's own; it gets the model's weights.
        Its places are the same up to rounding whatever comes with a cell, to the bit for networks given by name.
    stranger_level
        P-value up to which a cell is flagged as a stranger, between 0 and 1; None for no scores.
    park_strangers
        Give flagged cells NaN for a place.
    n_jobs
        Threads; None and -1 for all processors that the container, the job and ``OMP_NUM_THREADS`` allow.
    copy
        Return a copy with the map instead of writing to ``adata_new``.

    Returns
    -------
    None, or the copy. Written are ``obsm["X_{method}"]``, float32 ``(n_obs, n_components)``, and
    ``uns["{method}"]`` with ``params`` and ``projected_from`` (JSON: the model's fingerprint, its representation
    and placement), after all has gone well. Beside them, unless ``stranger_level`` is None: in ``obs``,
    ``{method}_stranger_score`` (float32; about 1 for a cell like those of the reference), ``{method}_stranger_p``
    (float64) and ``{method}_is_stranger`` (bool); in ``uns["{method}"]["strangers"]`` the level, the number of
    strangers, that of reference cells, and whether strangers are parked. Where a model holds no reference, or fewer
    than 20 cells, it says why under ``unavailable`` instead, and ``obs`` gets no columns. With ``key_added``, that
    stands for ``{method}``.

    Raises
    ------
    ModelError
        If the model cannot be read or used, or strangers are to be parked and it cannot tell them.
    InputError
        If the representation is missing, does not fit the model, or holds NaN or infinity: another width, another
        PCA, too few of the genes, counts where the reference had logarithms, columns that in the median are more than
        20 of the reference's standard deviations away. If ``key_added`` would overwrite something that is not a map,
        or flags columns of ``obs`` that are not.
    """
    start = time.perf_counter()
    check_options(EmbedOptions(n_jobs=n_jobs))
    check_overlap(min_overlap)
    own, model = adata_new is model, find_model(model, key, novelty=stranger_level is not None)
    if own and key_added is None and not copy:
        raise InputError("adata_new is the model's own AnnData, whose map would be overwritten; give key_added=")
    check_strangers(stranger_level, park_strangers, model)
    check_target(adata_new, model, key_added, has_flags=stranger_level is not None)
    cells = read_new_cells(adata_new, model, use_rep=use_rep, min_overlap=min_overlap, n_jobs=n_jobs)
    places = place(model, cells.rows, module=encoder, n_jobs=n_jobs)
    strangers = find_strangers(model, cells.rows, stranger_level, off=cells.off, n_jobs=n_jobs)
    if park_strangers and isinstance(strangers, Strangers):
        places[strangers.flags] = np.nan
    made = write_projection(
        adata_new, places, model, key_added=key_added, copy=copy, strangers=strangers, parked=park_strangers
    )
    added(slot_of_map(model.method, key_added), adata_new.n_obs, time.perf_counter() - start)
    return made


def check_strangers(level: object, park: object, model: Model) -> None:
    """Raise for a level or a wish to park strangers that cannot be followed."""
    is_number = isinstance(level, int | float | np.integer | np.floating) and not isinstance(level, bool)
    if level is not None and not (is_number and 0 < float(level) < 1):  # type: ignore[arg-type]
        msg = f"stranger_level={level!r} is not allowed; give a number between 0 and 1, or None for no flags"
        raise InputError(msg)
    if not isinstance(park, bool | np.bool_):
        raise InputError(f"park_strangers={park!r} is not allowed; give True or False")
    if park and level is None:
        raise InputError("park_strangers=True needs flags, and stranger_level=None asks for none; give a level")
    if park and (reason := why_no_strangers(model)):
        raise ModelError(f"park_strangers=True: strangers cannot be told from others, {reason}")


def find_model(
    model: Model | str | os.PathLike[str] | AnnData,
    key: str | None = None,
    *,
    genes: bool = True,
    novelty: bool = False,
) -> Model:
    """Return the model that is given, named by its path, or carried by an AnnData, with what new genes need."""
    if isinstance(model, Model):
        return model
    if isinstance(model, str | os.PathLike):
        return load(model)
    return model_from_adata(model, key, genes=genes, novelty=novelty)
