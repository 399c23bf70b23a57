"""``vicinal update``."""

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
    example = "vicinal update all.h5ad mapped.h5ad grown.h5ad --max-drift 0.02"
    parser = add_command(commands, "update", run, "add cells to a map whose own cells stay", example)
    parser.add_argument("input", metavar="IN", help="old and new cells, .h5ad or .zarr")
    parser.add_argument("model", metavar="MODEL", help="an .h5ad or .zarr that carries the map, or a saved model")
    parser.add_argument("output", metavar="OUT", help="the cells with the map, .h5ad or .zarr; may be IN")
    parser.add_argument(
        "--max-drift",
        type=float,
        default=0.0,
        metavar="X",
        help="how far old cells may go, as a share of the map's spread (default: %(default)s)",
    )
    add_novelty_options(parser)
    add_keys(parser, "MODEL carries several", "as the model's map")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from vicinal import tl
    from vicinal.tl.project import find_model

    require_distinct({"IN": options.input, "MODEL": options.model}, {"OUT": options.output})
    target = target_of(options.output, STORES)
    carrier = read(options.model) if Path(options.model).suffix in STORES else find_model(options.model)
    adata, keys = (
        read(options.input),
        map_keys(find_model(carrier, options.key, genes=False).method, options.key_added),
    )
    names = "max_drift", "key", "key_added", "min_overlap", "stranger_level", "n_jobs"
    tl.update(adata, carrier, **{name: getattr(options, name) for name in names})
    options.output, code = store(adata, target, options.input, options.output)
    record = adata.uns[keys.uns]["update"]
    moved = f"{100 * record['drift_median_share']:.3g} % of the spread in the median, "
    moved += f"{100 * record['drift_max_share']:.3g} % at most"
    cells = f"{record['n_new']:,} cells to {record['n_old']:,}"
    facts = {"added": cells, "moved": moved, "map": f"{options.output}: obsm[{keys.obsm!r}]"}
    print_table(facts | strangers_of(adata.uns[keys.uns].get("strangers")))
    return code
