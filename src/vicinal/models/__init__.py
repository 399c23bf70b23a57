"""Models: maps that can be saved, loaded, and used on new cells."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vicinal.contract.arguments import checks_arguments
from vicinal.contract.errors import ModelError
from vicinal.contract.options import EUCLIDEAN

from . import store
from .store import Model

if TYPE_CHECKING:
    from anndata import AnnData

__all__ = ["Model", "adopt", "load", "save"]


@checks_arguments
def adopt(
    adata: AnnData,
    basis: str = "X_umap",
    *,
    use_rep: str | None = None,
    n_pcs: int | None = None,
    metric: str = EUCLIDEAN,
    metric_kwds: Mapping[str, Any] | None = None,
    n_neighbors: int = 15,
    key_added: str | None = None,
) -> None:
    """Make a map of any tool one that new cells can be placed in, from its coordinates and its representation alone.

    A handle is written into ``uns``, as `vicinal.tl.embed` writes one; `vicinal.tl.project`, `vicinal.tl.update` and
    `save` then take the AnnData. New cells go to the weighted median place of the cells nearest to them in the
    representation, which should be the one the map was made from. Where scanpy has recorded UMAP's ``a`` and ``b``
    they go on from there down that objective; in a map that has ``tsne`` in its name, by the kernel of t-SNE.

    Parameters
    ----------
    adata
        The AnnData with the map and its representation.
    basis
        Key in ``obsm`` of the coordinates, ``(n_obs, n_components)``; ``"umap"`` for ``"X_umap"``.
    use_rep
        Key in ``obsm``, ``"X"``, or a layer: what the map was made from. None for what the stored neighbours were made
        from, else ``X_pca``, else ``.X`` with at most 50 columns.
    n_pcs
        Columns of the representation to use, from the front; None for those of the stored neighbours, else all.
    metric
        Metric of the representation, by its name; by default that of the stored neighbours, if the representation
        is that of those, else Euclidean.
    metric_kwds
        The metric's arguments, such as ``{"p": 1}``, as in `vicinal.tl.embed`; needs ``metric``.
    n_neighbors
        Cells that place a new one, from 1.
    key_added
        Key in ``uns``; None for ``basis`` without ``X_``. What is there already, such as scanpy's ``params``, stays.

    Returns
    -------
    None. ``uns[key]["model"]`` is the handle. The log says how many nearest neighbours the map keeps; where these are
    hardly more than by chance, it warns that the map may be of another representation.

    Raises
    ------
    InputError
        If the coordinates or the representation are missing, hold NaN or infinity, or do not fit; if the map has a
        model already.
    ModelError
        If nothing can be placed by such a metric.

    Examples
    --------
    >>> import vicinal as vc
    >>> adata = vc.datasets.pbmc68k_reduced()
    >>> vc.models.adopt(adata, "X_umap")
    >>> new = adata[:10].copy()
    >>> vc.tl.project(new, adata, key="umap")
    """
    from vicinal.adata.adopt import adopt_map

    adopt_map(
        adata,
        basis,
        use_rep=use_rep,
        n_pcs=n_pcs,
        metric=metric,
        metric_kwds=metric_kwds,
        n_neighbors=n_neighbors,
        key_added=key_added,
    )


@checks_arguments
def save(adata_or_model: AnnData | Model, path: str | os.PathLike[str], *, key: str | None = None) -> None:
    """Write a model to one file that needs nothing else: a zip of ``model.json`` and ``.npy`` arrays.

    The file is written under another name and then renamed: what was at ``path`` stays whole until then.

    Parameters
    ----------
    adata_or_model
        The `Model`, or the AnnData with a map made by `vicinal.tl.embed`. Of a map the file holds its cells' rows
        in the representation and their places; of more than 100,000 cells a sample spread over the map. Of a map made
        from a PCA it also holds that PCA, so that new cells can be given as genes, if ``varm`` has its loadings and
        ``.X``, or the layer it was made from, is what it saw: components of 16 cells are made anew. Otherwise it says
        why not, in ``manifest.extra["genes"]["absent"]``.
    path
        The file; one that exists is replaced.
    key
        Key in ``uns`` of the map to save, needed where there are several.

    Raises
    ------
    ModelError
        If there is no model in the AnnData, or several and no ``key``; if it was made from a graph alone; if
        the folder does not exist.
    WriteError
        If the file cannot be written, such as on a full or read-only disk. It is a ModelError and an OSError.
    InputError
        If the map or its representation is no longer in the AnnData, or an argument is of another kind.
    """
    store.check_path(path)
    if isinstance(adata_or_model, Model):
        store.save(adata_or_model, path)
        return
    from vicinal.adata.model import model_from_adata

    store.save(model_from_adata(adata_or_model, key), path)


@checks_arguments
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


def __dir__() -> list[str]:
    return sorted(__all__)
