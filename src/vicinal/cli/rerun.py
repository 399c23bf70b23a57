"""``vicinal rerun``."""

from __future__ import annotations

import argparse
from typing import Any

from .files import read, store
from .parser import add_command, add_keys
from .paths import STORES, require_distinct, target_of
from .tables import print_table


def add(commands: Any) -> None:
    """Add the command."""
    example = "vicinal rerun mapped.h5ad again.h5ad --key umap"
    parser = add_command(commands, "rerun", run, "make a stored map again and say whether it is the same", example)
    parser.add_argument("input", metavar="IN", help="cells with the map, .h5ad or .zarr")
    parser.add_argument("output", metavar="OUT", help="the same with both maps, .h5ad or .zarr; may be IN")
    add_keys(parser, "IN has several", "KEY_rerun")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from vicinal import tl
    from vicinal.adata.record import read_record

    require_distinct({"IN": options.input}, {"OUT": options.output})
    target = target_of(options.output, STORES)
    adata = read(options.input)
    key = options.key_added or f"{read_record(adata, options.key).key}_rerun"
    tl.rerun(adata, options.key, key_added=key, n_jobs=options.n_jobs)
    options.output, code = store(adata, target, options.input, options.output)
    found = adata.uns[key]["rerun_of"]
    verdict = "the same to the bit" if found.get("equal") else f"differs by up to {found.get('largest_difference')}"
    print_table({"map": f"{options.output}: obsm[{key!r}]", found["key"]: verdict})
    return code
