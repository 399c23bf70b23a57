"""``vicinal embed``."""

from __future__ import annotations

import argparse
import inspect
from typing import Any

from vicinal.adata.keys import map_keys
from vicinal.contract.options import EmbedOptions
from vicinal.tl.embed import embed, make_map

from .extras import make_extra
from .files import read, store
from .options import add_embed_options, given_options
from .parser import add_command
from .paths import PICTURES, STORES, model_target, paths_in, require_distinct, target_of
from .pictures import check_picture, draw
from .tables import facts_of_map, print_table


def add(commands: Any) -> None:
    """Add the command."""
    example = (
        "vicinal embed pbmc3k.h5ad mapped.h5ad --min-dist 0.3 --plot map.png --color louvain\n"
        "  vicinal embed pbmc3k.h5ad mapped.h5ad --param knn=exact --param negative_sample_rate=10"
    )
    parser = add_command(commands, "embed", run, "make a map of the cells in a file", example)
    parser.add_argument("input", metavar="IN", help="cells, .h5ad or .zarr")
    parser.add_argument("output", metavar="OUT", help="the cells with their map, .h5ad or .zarr; may be IN")
    default = inspect.signature(embed).parameters["method"].default
    parser.add_argument("--method", default=default, help="preset of stages (default: %(default)s)")
    add_embed_options(parser)
    parser.add_argument("--model", metavar="PATH", help="save the model too, for `vicinal project`")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from vicinal import models

    given = given_options(options)
    writes = {"OUT": options.output, "--model": options.model, "--plot": options.plot}
    require_distinct({"IN": options.input, **paths_in(given)}, {**writes, "--checkpoint": given.get("checkpoint")})
    output, model, plot = (
        target_of(options.output, STORES),
        model_target(options.model),
        target_of(options.plot, PICTURES),
    )
    adata = read(options.input)
    check_picture(adata, options, given)
    _, keeper = make_map(adata, EmbedOptions.collect(options.method, given))
    keys = map_keys(options.method, given.get("key_added"))
    options.output, code = store(adata, output, options.input, options.output)
    keeper.remove()
    failed = {
        "model": make_extra("--model", model, lambda path: models.save(adata, path, key=keys.uns)),
        "plot": make_extra("--plot", plot, lambda path: draw(adata, keys.obsm, options.color, path)),
    }
    print_table(facts_of_map(adata, keys, options, without=[name for name, code in failed.items() if code]))
    return max(code, *failed.values())
