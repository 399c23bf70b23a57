"""New cells into an existing map."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from vicinal.adata.model import check_target, model_from_adata, read_rows, write_projection
from vicinal.contract.errors import InputError
from vicinal.contract.options import EmbedOptions
from vicinal.models import Model, load
from vicinal.models.inference import place
from vicinal.pipeline.plan import check_options

if TYPE_CHECKING:
    from anndata import AnnData


def project(
    adata_new: AnnData,
    model: Model | str | os.PathLike[str] | AnnData,
    *,
    key: str | None = None,
    key_added: str | None = None,
    encoder: Any = None,
    n_jobs: int | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Place new cells in an existing map, which stays as it is.

    The network of a parametric map maps each cell. In other maps each cell goes to the geometric median of the places
    of the reference cells nearest to it in the representation the map was made from, weighted by the kernel of the
    fuzzy graph, and from there a few steps down the map's objective, the reference staying where it is; a reference
    cell lands on its own place. A cell's place depends on that cell and the model alone: it has the same bits one by
    one, in any order, in any batch, on any number of threads.

    Parameters
    ----------
    adata_new
        The new cells, with the model's representation: the same ``obsm`` key, made in the same way, or ``.X`` or
        the layer with columns of the same names, in any order.
    model
        A `Model`, the path of one, or an AnnData that carries one.
    key
        Key in ``uns`` of the map, where ``model`` is an AnnData with several.
    key_added
        Where to write, in ``obsm`` and ``uns``; by default as `vicinal.tl.embed` does for the model's method.
    encoder
        The network, a ``torch.nn.Module``, of a map that was made with the user's own; it gets the model's weights.
        Its places are the same up to rounding whatever comes with a cell, to the bit for networks given by name.
    n_jobs
        Threads; None for all processors.
    copy
        Return a copy with the map instead of writing to ``adata_new``.

    Returns
    -------
    None, or the copy. Written are ``obsm["X_{method}"]``, float32 ``(n_obs, n_components)``, and
    ``uns["{method}"]`` with ``params`` and ``projected_from`` (JSON: the model's fingerprint, its representation
    and placement), after all has gone well.

    Raises
    ------
    ModelError
        If the model cannot be read or used.
    InputError
        If the representation is missing, does not fit the model, or holds NaN or infinity; if ``key_added`` would
        overwrite something that is not a map.
    """
    check_options(EmbedOptions(n_jobs=n_jobs))
    own, model = adata_new is model, find_model(model, key)
    if own and key_added is None and not copy:
        raise InputError("adata_new is the model's own AnnData, whose map would be overwritten; give key_added=")
    check_target(adata_new, model, key_added)
    places = place(model, read_rows(adata_new, model), module=encoder, n_jobs=n_jobs)
    return write_projection(adata_new, places, model, key_added=key_added, copy=copy)


def find_model(model: Model | str | os.PathLike[str] | AnnData, key: str | None = None) -> Model:
    """Return the model that is given, named by its path, or carried by an AnnData."""
    if isinstance(model, Model):
        return model
    return load(model) if isinstance(model, str | os.PathLike) else model_from_adata(model, key)
