"""What commands print."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from anndata import AnnData


def facts_of_map(adata: AnnData, keys: Any, options: argparse.Namespace, without: Sequence[str] = ()) -> dict[str, str]:
    """Return what there is to say of a map that was made."""
    entry, shape = adata.uns[keys.uns], adata.obsm[keys.obsm].shape
    stages = (f"{stage} {backend.removesuffix('@vicinal')}" for stage, backend in entry["backends"].items())
    facts = {
        options.method: f"{shape[0]:,} cells in {shape[1]} dimensions, {entry['timings']['total']:.1f} s",
        "stages": ", ".join(stages),
        "scores": ", ".join(f"{name} {value:.3f}" for name, value in entry["score"].items()) or "none",
        "map": f"{options.output}: obsm[{keys.obsm!r}], uns[{keys.uns!r}]",
        "model": options.model,
        "plot": options.plot,
    }
    return {name: text for name, text in facts.items() if text and name not in without}


def print_table(facts: Mapping[str, str]) -> None:
    """Print names and what there is to say of them."""
    width = max(map(len, facts), default=0)
    for name, text in facts.items():
        print(f"{name:<{width}}  {text}")
