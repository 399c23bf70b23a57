"""``vicinal spectrum``."""

from __future__ import annotations

import argparse
from typing import Any

from vicinal.adata.keys import map_keys
from vicinal.tl.spectrum import N_EPOCHS, make_spectrum

from .extras import make_extra
from .files import read, store
from .options import add_embed_options, given_options
from .parser import add_command
from .paths import PICTURES, STORES, paths_in, require_distinct, target_of
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
    writes = {"OUT": options.output, "--plot": options.plot, "--checkpoint": given.get("checkpoint")}
    require_distinct({"IN": options.input, **paths_in(given)}, writes)
    output, plot = target_of(options.output, STORES), target_of(options.plot, PICTURES)
    adata = read(options.input)
    check_picture(adata, options, given)
    n_epochs = given.pop("n_epochs", N_EPOCHS)
    _, keeper = make_spectrum(adata, given, exaggerations=options.exaggerations, n_epochs=n_epochs)
    keys = map_keys("spectrum", given.get("key_added"))
    options.output, code = store(adata, output, options.input, options.output)
    keeper.remove()
    failed = make_extra("--plot", plot, lambda path: draw_spectrum(adata, keys.uns, options.color, path))
    entry = adata.uns[keys.uns]
    found = zip(entry["exaggerations"], entry["snapshot_loss"], strict=True)
    losses = ", ".join(f"{loss:.3f} at {factor:g}" for factor, loss in found)
    print_table({**facts_of_map(adata, keys, options, without=["plot"] if failed else []), "losses": losses})
    return max(code, failed)
