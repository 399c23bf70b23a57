"""Maps along the spectrum from attraction to repulsion, side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.adata.read import check_adata
from vicinal.contract.arguments import checks_arguments
from vicinal.contract.errors import InputError, did_you_mean, listing

from ._drawable import with_maps
from .embedding import check_colors, embedding

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes

PANEL = 2.6
"""Inches."""
POINTS = 30_000
"""Sizes of all points together: scanpy's, less as the panels are smaller than its."""
KNOWN = {math.inf: "Laplacian eigenmaps", 1.0: "exaggeration 1, t-SNE"}


@checks_arguments
def spectrum(
    adata: AnnData,
    key: str = "spectrum",
    *,
    color: str | None = None,
    show: bool | None = None,
    **kwargs: Any,
) -> list[Axes]:
    """Draw the maps of `vicinal.tl.spectrum` in a row, each by `vicinal.pl.embedding`.

    Parameters
    ----------
    adata
        Annotated data with the maps.
    key
        Their key in ``uns``.
    color
        Column of ``obs`` or name of a gene; None for plain points.
    show
        True to show the figure at once; otherwise that is left to the caller, or to the notebook.
    **kwargs
        As for `scanpy.pl.embedding`, such as ``size``, ``palette`` or ``legend_loc``; the legend is beside the last.

    Returns
    -------
    The Axes, one a map; the figure is ``axes[0].figure``.

    Raises
    ------
    InputError
        If there are no such maps, or they have one dimension, or the colour is not there.
    """
    import matplotlib.pyplot as plt

    check_adata(adata)
    entry = _entry(adata, key)
    if color is not None and not isinstance(color, str):
        raise InputError(f"color={color!r} is not allowed; give one column of adata.obs or one gene, all maps have it")
    check_colors(adata, color, **kwargs)
    maps, factors = np.asarray(entry["snapshots"]), np.asarray(entry["exaggerations"])
    if maps.shape[2] < 2:
        raise InputError(f"the maps under {key!r} have 1 dimension; a scatter plot needs at least 2")
    shown = with_maps(adata, {f"map{i}": places for i, places in enumerate(maps)}, [color], kwargs)
    figure, grid = plt.subplots(1, len(maps), figsize=(PANEL * len(maps), PANEL), squeeze=False, layout="constrained")
    for i, (ax, factor) in enumerate(zip(grid[0], factors, strict=True)):
        beside = {} if i == len(maps) - 1 else {"legend_loc": "none", "colorbar_loc": None}
        title = KNOWN.get(float(factor), f"exaggeration {factor:g}")
        embedding(
            shown,
            f"map{i}",
            color=color,
            ax=ax,
            show=False,
            **{"title": title, "size": POINTS / adata.n_obs, **kwargs, **beside},
        )
        ax.set(xlabel="", ylabel="")
    if show:
        plt.show()
    return list(figure.axes[: len(maps)])


def _entry(adata: AnnData, key: str) -> Mapping[str, Any]:
    known = [n for n, e in adata.uns.items() if isinstance(e, Mapping) and {"snapshots", "exaggerations"} <= set(e)]
    if key in known:
        return adata.uns[key]
    msg = f"key={key!r} holds no spectrum in adata.uns; those with one are {listing(known)}.{did_you_mean(key, known)}"
    raise InputError(f"{msg} Make one with vc.tl.spectrum")
