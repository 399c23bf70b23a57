"""Models: maps that can be saved, loaded, and used on new cells."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from .store import Model, load
from .store import save as _save

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
        in the representation and their places; of more than 100,000 cells a uniform sample.
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
        If the map or its representation is no longer in the AnnData.
    """
    if isinstance(adata_or_model, Model):
        _save(adata_or_model, path)
        return
    from ..adata.model import model_from_adata

    _save(model_from_adata(adata_or_model, key), path)
