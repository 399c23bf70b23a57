"""``vicinal spectrum``."""

from __future__ import annotations

import argparse
from typing import Any

from vicinal.adata.keys import map_keys
from vicinal.tl.spectrum import N_EPOCHS, make_spectrum

from .files import PICTURES, STORES, read, replacing, target_of, write
from .options import add_embed_options, given_options
from .parser import add_command
from .pictures import check_picture, draw_spectrum
from .tables import facts_of_map, print_table


def add(commands: Any) -> None:
    """Add the command."""
    example = "vicinal spectrum pbmc3k.h5ad maps.h5ad --exaggerations inf 30 4 1 --plot maps.png --color louvain"
    parser = add_command(commands, "spectrum", run, "make maps from attraction to repulsion on one graph", example)
    parser.add_argument("input", metavar="IN", help="cells, .h5ad or .zarr")
    parser.add_argument("output", metavar="OUT", help="the cells with their maps, .h5ad or .zarr; may be IN")
    parser.add_argument(
        "--exaggerations",
        type=float,
        nargs="+",
        metavar="X",
        help="factors of the attraction, falling; inf for Laplacian eigenmaps (default: by the number of cells,"
        " 30 12 4 2 1 0.5 from 45,000 on)",
    )
    changed = {
        "n_epochs": f"steps for each map (default: {N_EPOCHS})",
        "key_added": "key of the maps in obsm and uns (default: X_spectrum and spectrum)",
        "n_neighbors": "neighbours of each cell, the cell itself counted (default: as many as the graph wants)",
        "phases": None,
        "min_dist": None,
        "spread": None,
    }
    add_embed_options(parser, changed)
    parser.set_defaults(method="spectrum", model=None)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    given = given_options(options)
    targets = [target_of(options.output, STORES), target_of(options.plot, PICTURES)]
    adata = read(options.input)
    check_picture(adata, options, given)
    n_epochs = given.pop("n_epochs", N_EPOCHS)
    _, keeper = make_spectrum(adata, given, exaggerations=options.exaggerations, n_epochs=n_epochs)
    keys = map_keys("spectrum", given.get("key_added"))
    with replacing(targets) as (output, plot):
        write(adata, output)
        if plot:
            draw_spectrum(adata, keys.uns, options.color, plot)
    keeper.remove()
    entry = adata.uns[keys.uns]
    found = zip(entry["exaggerations"], entry["snapshot_loss"], strict=True)
    losses = ", ".join(f"{loss:.3f} at {factor:g}" for factor, loss in found)
    print_table({**facts_of_map(adata, keys, options), "losses": losses})
    return 0
