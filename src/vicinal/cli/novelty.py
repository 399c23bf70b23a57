"""What `project` and `update` ask and say of cells that are unlike the map's own."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from vicinal.adata.model import MIN_OVERLAP


def add_novelty_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of new cells that are given as genes, and of their flags."""
    parser.add_argument(
        "--min-overlap",
        type=float,
        default=MIN_OVERLAP,
        metavar="X",
        help="how much of the PCA's squared loadings the genes must have (default: %(default)s)",
    )
    parser.add_argument(
        "--stranger-level",
        type=_level,
        default=0.05,
        metavar="P",
        help="p-value up to which cells are flagged as unlike the map's; none for no flags (default: %(default)s)",
    )


def _level(text: str) -> float | None:
    return None if text == "none" else float(text)


def strangers_of(record: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the line of a table that says how many cells were flagged."""
    if record is None:
        return {}
    if "unavailable" in record:
        return {"strangers": f"not told, {record['unavailable']}"}
    parked = "; they have no places" if record["parked"] else ""
    return {"strangers": f"{record['n_strangers']:,} at p up to {record['level']}{parked}"}
