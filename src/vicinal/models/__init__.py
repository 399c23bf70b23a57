"""Models: maps that can be saved, loaded, and used on new cells."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vicinal.contract.errors import ModelError

from . import store
from .store import Model

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Model", "load", "save"]


def save(adata_or_model: AnnData | Model, path: str | os.PathLike[str], *, key: str | None = None) -> None:
    """Write a model to one file that needs nothing else: a zip of ``model.json`` and ``.npy`` arrays.

    The file is written under another name and then renamed: what was at ``path`` stays whole until then.

    Parameters
    ----------
    adata_or_model
        The `Model`, or the AnnData with a map made by `vicinal.tl.embed`. Of a map the file holds its cells' rows
        in the representation and their places; of more than 100,000 cells a uniform sample. Of a map made from a PCA
        it also holds that PCA, so that new cells can be given as genes, if ``varm`` has its loadings and ``.X``, or
        the layer it was made from, is what it saw: components of 16 cells are made anew. Otherwise it says why not,
        in ``manifest.extra["genes"]["absent"]``.
    path
        The file; one that exists is replaced.
    key
        Key in ``uns`` of the map to save, needed where there are several.

    Raises
    ------
    ModelError
        If there is no model in the AnnData, or several and no ``key``; if it was made from a graph alone; if
        the folder does not exist.
    InputError
        If the map or its representation is no longer in the AnnData, or an argument is of another kind.
    """
    store.check_path(path)
    if isinstance(adata_or_model, Model):
        store.save(adata_or_model, path)
        return
    from vicinal.adata.model import model_from_adata

    store.save(model_from_adata(adata_or_model, key), path)


def load(path: str | os.PathLike[str]) -> Model:
    """Read a model file.

    Every part is checked before it is used; nothing in the file is run or imported.

    Raises
    ------
    ModelError
        If it is not such a file, was made by a newer version, or is truncated, altered or of a kind not known here.
    InputError
        If ``path`` is no path.
    """
    model = store.load(path)
    if model.manifest.kind == store.CHECKPOINT:
        msg = f"Model file {os.fspath(path)!r}: it is the checkpoint of a run; start the run again and give it there"
        raise ModelError(msg)
    return model
