"""From places in a map back to what was measured."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vicinal.adata.far import center_in, put_back
from vicinal.adata.genes import read_gene_map
from vicinal.adata.keys import check_key
from vicinal.adata.read import check_adata, check_writable, read_places
from vicinal.adata.write import put_reconstruction
from vicinal.contract.arguments import checks_arguments
from vicinal.contract.errors import InputError, ModelError
from vicinal.contract.options import EmbedOptions
from vicinal.models import Model
from vicinal.models.network import apply_network
from vicinal.pipeline.plan import check_options

from .project import find_model

if TYPE_CHECKING:
    from anndata import AnnData


@checks_arguments
def reconstruct(
    adata: AnnData,
    model: Model | str | os.PathLike[str] | AnnData | None = None,
    *,
    key: str | None = None,
    basis: str | None = None,
    places: Any = None,
    genes: bool = False,
    decoder: Any = None,
    key_added: str | None = None,
    n_jobs: int | None = None,
    copy: bool = False,
) -> AnnData | NDArray[np.floating] | None:
    """Return from map coordinates to the representation, or to genes, by the decoder of a parametric map.

    Parameters
    ----------
    adata
        Cells with a map; for ``genes`` also with the PCA's loadings in ``varm`` and, in ``.X``, what it was made from.
    model
        A `Model`, the path of one, or an AnnData that carries one; None for ``adata``'s own. It was made with
        ``vc.tl.embed(..., reconstruction=True)``.
    key
        Key in ``uns`` of the map, where there are several.
    basis
        Key in ``obsm`` of the places; None for the map's own.
    places
        Places ``(m, n_components)`` anywhere in the map, in place of the cells' own.
    genes
        Whether to go on to genes, as far as principal components tell of them.
    decoder
        The network, of a model that was trained with the user's own decoder.
    key_added
        Where to write: a key of ``obsm``, with ``genes`` a layer; None for the representation's name, or
        ``"genes"``, with ``_reconstructed``.
    n_jobs
        Threads; None and -1 for all processors that the container, the job and ``OMP_NUM_THREADS`` allow.
    copy
        Return a copy instead of writing to ``adata``.

    Returns
    -------
    With ``places``, float32 ``(m, n_features)`` or ``(m, n_vars)``, and nothing is written. Else None, or the copy, and
    written is ``obsm["X_pca_reconstructed"]``, or ``layers["genes_reconstructed"]``. A representation so far from zero
    that float32 does not hold it is float64.

    Raises
    ------
    ModelError
        If there is no such model, or it has no decoder.
    InputError
        If there are no such places, they do not fit the model, or genes cannot be had.
    """
    check_options(EmbedOptions(n_jobs=n_jobs))
    check_adata(adata)
    found = find_model(adata if model is None else model, key, genes=False)
    name = _representation(found)
    target = f"{'genes' if genes else name}_reconstructed" if key_added is None else key_added
    if places is None:
        _check_target(adata, target, {name, found.manifest.basis})
    center = center_in(found.manifest.representation)
    gene_map = read_gene_map(adata, name, _n_features(found), center) if genes else None
    given = read_places(adata, found.manifest.basis if basis is None else basis) if places is None else places
    made = _decoded(found, _checked(given, found), decoder, n_jobs)
    made = put_back(made, center) if gene_map is None else gene_map.genes(made)
    return made if places is not None else put_reconstruction(adata, made, target, as_layer=genes, copy=copy)


def _check_target(adata: AnnData, target: str, taken: set[str | None]) -> None:
    """Raise `InputError` where what is made cannot be written, or would overwrite what it is made from."""
    check_writable(adata)
    check_key(target)
    if target in taken:
        raise InputError(f"key_added={target!r} would overwrite what the map is made from, or the map; choose another")


def _representation(model: Model) -> str:
    if model.fitted is None or model.fitted.decoder is None:
        msg = "the model has no decoder; make the map with vc.tl.embed(adata, method='parametric_umap',"
        raise ModelError(f"{msg} reconstruction=True)")
    assert model.manifest.representation is not None
    return str(model.manifest.representation["name"])


def _n_features(model: Model) -> int:
    assert model.manifest.representation is not None
    return int(model.manifest.representation["n_features"])


def _checked(places: Any, model: Model) -> NDArray[np.float32]:
    values = np.asarray(places)
    if values.ndim != 2 or values.shape[1] != model.n_components or values.dtype.kind not in "fiu":
        msg = f"places has dtype {values.dtype} and shape {values.shape}; expected numbers (m, {model.n_components})"
        raise InputError(msg)
    if not np.isfinite(values).all():
        raise InputError("places holds NaN or infinite values; give finite ones")
    return np.ascontiguousarray(values, dtype=np.float32)


def _decoded(model: Model, places: NDArray[np.float32], module: Any, n_jobs: int | None) -> NDArray[np.float32]:
    assert model.fitted is not None
    assert model.fitted.decoder is not None
    return apply_network(model.manifest, model.fitted.decoder, places, module=module, role="decoder", n_jobs=n_jobs)
