"""``vicinal score``."""

from __future__ import annotations

import argparse
import json
from typing import Any

from .files import read, store
from .parser import add_command
from .paths import target_of
from .tables import print_table


def add(commands: Any) -> None:
    """Add the command."""
    example = "vicinal score mapped.h5ad --labels louvain"
    parser = add_command(commands, "score", run, "say how well a map keeps what it was made from", example)
    parser.add_argument("file", metavar="FILE", help="cells with a map, .h5ad or .zarr")
    parser.add_argument(
        "--basis", default="X_umap", metavar="NAME", help="key of the map in obsm (default: %(default)s)"
    )
    parser.add_argument("--labels", metavar="COLUMN", help="column of obs for label_accuracy (default: none)")
    parser.add_argument("--use-rep", metavar="NAME", help="representation (default: the one recorded with the map)")
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the sample (default: %(default)s)")
    parser.add_argument("--n-jobs", type=int, metavar="N", help="threads (default, and -1: all that the job may use)")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--write", action="store_true", help="store the scores in FILE as well")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from vicinal import tl

    target = target_of(options.file) if options.write else None
    adata = read(options.file)
    scores = tl.score(
        adata,
        options.basis,
        labels=options.labels,
        use_rep=options.use_rep,
        random_state=options.seed,
        n_jobs=options.n_jobs,
    )
    code = 0 if target is None else store(adata, target, options.file, options.file)[1]
    if options.json:
        print(json.dumps(scores, indent=1))
    else:
        print_table({name: f"{value:.4f}" for name, value in scores.items()})
    return code
