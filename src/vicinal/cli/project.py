"""``vicinal project``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from vicinal.adata.keys import map_keys

from .files import read, store
from .novelty import add_novelty_options, strangers_of
from .parser import add_command, add_keys
from .paths import STORES, require_distinct, target_of
from .tables import print_table


def add(commands: Any) -> None:
    """Add the command."""
    example = "vicinal embed old.h5ad mapped.h5ad --model model.zip\n  vicinal project new.h5ad model.zip placed.h5ad"
    parser = add_command(commands, "project", run, "place new cells in an existing map", example)
    parser.add_argument("input", metavar="IN", help="new cells, .h5ad or .zarr")
    parser.add_argument("model", metavar="MODEL", help="a saved model, or an .h5ad or .zarr that carries one")
    parser.add_argument("output", metavar="OUT", help="the new cells with their places, .h5ad or .zarr; may be IN")
    parser.add_argument(
        "--use-rep",
        metavar="NAME",
        help="obsm key, layer or X with what the model reads (default: genes, or its own key)",
    )
    add_novelty_options(parser)
    parser.add_argument("--park-strangers", action="store_true", help="give flagged cells NaN for a place")
    add_keys(parser, "MODEL carries several", "as the model's map")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from vicinal import tl
    from vicinal.tl.project import find_model

    require_distinct({"IN": options.input, "MODEL": options.model}, {"OUT": options.output})
    target = target_of(options.output, STORES)
    carried = Path(options.model).suffix in STORES
    model = find_model(read(options.model) if carried else options.model, options.key)
    adata = read(options.input)
    names = "key_added", "use_rep", "min_overlap", "stranger_level", "park_strangers", "n_jobs"
    tl.project(adata, model, **{name: getattr(options, name) for name in names})
    options.output, code = store(adata, target, options.input, options.output)
    keys = map_keys(model.method, options.key_added)
    others = f"among {model.n_landmarks:,}" if model.n_landmarks else "by the map's network"
    facts = {"placed": f"{adata.n_obs:,} cells placed {others}", "map": f"{options.output}: obsm[{keys.obsm!r}]"}
    print_table(facts | strangers_of(adata.uns[keys.uns].get("strangers")))
    return code
