"""The map as a scatter plot, drawn by scanpy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from vicinal.adata.keys import keys_of_basis
from vicinal.adata.kinds import to_draw
from vicinal.adata.read import check_adata
from vicinal.contract.arguments import checks_arguments
from vicinal.contract.errors import InputError, did_you_mean, listing

from ._drawable import drawable

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


@checks_arguments
def embedding(
    adata: AnnData,
    basis: str = "X_umap",
    *,
    color: str | Sequence[str] | None = None,
    ax: Axes | None = None,
    show: bool | None = None,
    **kwargs: Any,
) -> Figure | Axes | list[Axes] | None:
    """Draw a map with `scanpy.pl.embedding`: no frame, a title, a legend whose entries can be read.

    Parameters
    ----------
    adata
        Annotated data with a map; scanpy may add ``uns["{color}_colors"]``.
    basis
        Key of the map in ``obsm``, with or without ``X_``.
    color
        Column of ``obs`` or name of a gene; several give one panel each; None for plain points.
    ax
        Where to draw; None for a new figure. For one panel only.
    show
        Show the figure; None as scanpy's settings say.
    **kwargs
        As for `scanpy.pl.embedding`, such as ``size``, ``palette``, ``legend_loc``, ``dimensions``, ``title``.

    Returns
    -------
    With ``show=False`` the Axes, a list of them for several panels.

    Raises
    ------
    InputError
        If the map or a colour is not there, or the map has one dimension only.
    """
    import scanpy as sc

    check_adata(adata)
    adata = to_draw(adata)
    color = color if color is None or isinstance(color, str) else list(color)
    key = keys_of_basis(adata, basis).obsm
    _check_dimensions(adata, key)
    check_colors(adata, color, **kwargs)
    defaults = {
        "frameon": False,
        "legend_fontsize": "small",
        "legend_fontoutline": 2,
        "title": _title(adata, key, color),
    }
    adata = drawable(adata, key, color, kwargs)
    return sc.pl.embedding(adata, key, color=color, ax=ax, show=show, **{**defaults, **kwargs})


def _check_dimensions(adata: AnnData, key: str) -> None:
    n_components = adata.obsm[key].shape[1]
    if n_components < 2:
        raise InputError(f"obsm[{key!r}] has {n_components} dimension; a scatter plot needs at least 2")


def check_colors(
    adata: AnnData,
    color: str | Sequence[str] | None,
    *,
    use_raw: bool | None = None,
    gene_symbols: str | None = None,
    layer: str | None = None,
    **_: Any,
) -> None:
    """Raise `InputError` unless each colour is a column of ``obs`` or a gene."""
    if isinstance(color, list) and not color:
        raise InputError("color=[] names nothing; name columns of obs or genes, or leave it out for plain points")
    columns = list(adata.obs.columns)
    stored = adata.raw if adata.raw is not None and use_raw is not False else adata
    genes = {*stored.var_names, *(adata.var.get(gene_symbols, ()) if gene_symbols else ())}
    genes |= set(adata.var_names)
    if stored is adata and adata.X is None and layer is None:
        genes = set()  # there are their names, but no values
    for name in [color] if color is None or isinstance(color, str) else color:
        if name is not None and name not in columns and name not in genes:
            msg = (
                f"color={name!r} is neither a column of adata.obs ({listing(columns)})"
                f" nor one of its {len(genes)} genes.{did_you_mean(name, [*columns, *genes])}"
            )
            raise InputError(msg)


def _title(adata: AnnData, key: str, color: str | Sequence[str] | None) -> str | list[str]:
    if color is None:
        return f"{key}, {adata.n_obs:,} cells"
    names = [color] if isinstance(color, str) else list(color)
    return [str(name).replace("_", " ") if name is not None else f"{adata.n_obs:,} cells" for name in names]
