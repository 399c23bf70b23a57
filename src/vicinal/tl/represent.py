"""New cells in the space that a map was made from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from vicinal.adata.far import center_in, put_back
from vicinal.adata.genes import read_components
from vicinal.adata.keys import check_key
from vicinal.adata.model import MIN_OVERLAP, check_overlap
from vicinal.adata.read import check_adata, check_writable
from vicinal.adata.space import gene_slot, say_what_is_replaced
from vicinal.adata.write import put_components
from vicinal.contract.arguments import checks_arguments
from vicinal.contract.errors import ModelError
from vicinal.contract.options import EmbedOptions
from vicinal.models import Model
from vicinal.models.genes import RECORD, GeneChain
from vicinal.pipeline.plan import check_options

from .project import find_model

if TYPE_CHECKING:
    from anndata import AnnData


@checks_arguments
def represent(
    adata_new: AnnData,
    model: Model | str | os.PathLike[str] | AnnData,
    *,
    key: str | None = None,
    key_added: str | None = None,
    use_rep: str | None = None,
    min_overlap: float = MIN_OVERLAP,
    n_jobs: int | None = None,
    copy: bool = False,
) -> AnnData | None:
    """Write the principal components of cells in the space of a model, made of their genes.

    They are ``(genes - mean) @ loadings + offset``, with the means and loadings of the model's reference: what
    `vicinal.tl.project` finds neighbours in. A cell's components have the same bits one by one, in any order and in
    any batch.

    Parameters
    ----------
    adata_new
        The cells: their genes, in any order, treated as those of the reference were.
    model
        A `Model`, the path of one, or an AnnData that carries one; with the reference's PCA (``model.genes``).
    key
        Key in ``uns`` of the map, where ``model`` is an AnnData with several.
    key_added
        Key in ``obsm`` to write; None for the reference's own, such as ``X_pca``. What is there is replaced; a warning
        says so, where it was not the same.
    use_rep
        Where the genes are, ``"X"`` or a layer; None for where the reference had them.
    min_overlap
        How much of the squared loadings the genes of ``adata_new`` must have, above 0 and at most 1. Genes that are
        missing are taken at the reference's mean.
    n_jobs
        Threads; None for all processors.
    copy
        Return a copy with the components instead of writing to ``adata_new``.

    Returns
    -------
    None, or the copy. Written is ``obsm[key_added]``, float32 ``(n_obs, n_components)``; float64 where the reference's
    are so far from zero that float32 does not hold them.

    Raises
    ------
    ModelError
        If the model cannot be read, or does not carry a PCA; it says why.
    InputError
        If genes are missing, too few, treated otherwise than the reference's, or hold NaN or infinity.
    """
    check_options(EmbedOptions(n_jobs=n_jobs))
    check_overlap(min_overlap)
    check_adata(adata_new)
    check_writable(adata_new)
    if key_added is not None:
        check_key(key_added)
    found = find_model(model, key)
    chain, name = _chain_of(found), key_added or str((found.manifest.representation or {})["name"])
    slot = gene_slot(adata_new, chain, use_rep)
    made = read_components(adata_new, chain, slot, "", min_overlap=min_overlap, n_jobs=n_jobs)
    center = center_in(found.manifest.representation)
    say_what_is_replaced(adata_new, name, made, center)
    return put_components(adata_new, put_back(made, center), name, copy=copy)


def _chain_of(model: Model) -> GeneChain:
    if model.genes is not None:
        return model.genes
    absent = model.manifest.extra.get(RECORD, {}).get("absent")
    why = f": when it was saved, {absent}" if absent else ""
    name = (model.manifest.representation or {}).get("name")
    raise ModelError(f"the model carries no PCA that makes {name!r} of genes{why}. Compute {name!r} as its tool does")
