"""Plots of maps into files."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vicinal.contract.errors import InputError

if TYPE_CHECKING:
    from anndata import AnnData


def check_picture(adata: AnnData, options: argparse.Namespace, given: Mapping[str, Any]) -> None:
    """Raise before the work for what would fail after it."""
    from vicinal.pl.embedding import check_colors

    if options.color and not options.plot:
        raise InputError(f"--color {options.color} colours a plot; give --plot PATH too")
    if options.plot and given.get("n_components") == 1:
        raise InputError("--plot needs a map of at least 2 dimensions; --n-components is 1")
    check_colors(adata, options.color)


def draw(adata: AnnData, basis: str, color: str | None, path: Path) -> None:
    """Draw a map into a file."""
    import matplotlib.pyplot as plt

    from vicinal import pl

    figure, ax = plt.subplots(figsize=(6, 5))
    pl.embedding(adata, basis, color=color, ax=ax, show=False)
    figure.savefig(path, dpi=150, bbox_inches="tight", facecolor="white")
    plt.close(figure)


def draw_spectrum(adata: AnnData, key: str, color: str | None, path: Path) -> None:
    """Draw the maps of a spectrum into a file."""
    import matplotlib.pyplot as plt

    from vicinal import pl

    pl.spectrum(adata, key, color=color)
    figure = plt.gcf()
    figure.savefig(path, dpi=150, facecolor="white")
    plt.close(figure)
