"""The options of maps, which `embed` and `spectrum` share."""

from __future__ import annotations

import argparse
import inspect
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from vicinal.contract.errors import InputError
from vicinal.tl.embed import embed

from .paths import PICTURES


def _phases(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        example = """'[{"n": 100, "learning_rate": 0.5}, {"n": 400}]'"""
        raise argparse.ArgumentTypeError(f"expected JSON such as {example}, not {text!r} ({error})") from error


def _kwds(text: str) -> Any:
    """Read JSON, or KEY=VALUE."""
    name, is_pair, value = text.partition("=")
    try:
        return {name: json.loads(value)} if is_pair and name.isidentifier() else json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected p=1, or JSON such as '{{\"p\": 1}}', not {text!r}") from error


EMBED_OPTIONS: dict[str, tuple[Callable[[str], Any], str]] = {
    "n_components": (int, "dimensions of the map, 1 to 10"),
    "n_neighbors": (int, "neighbours of each cell, itself counted (default: those stored, else 15; of tsne 91)"),
    "neighbors_key": (str, "key in uns of the stored neighbours (default: neighbors)"),
    "use_rep": (str, "where neighbours are found: a key of obsm, X, or a layer (default: X_pca, else a narrow X)"),
    "n_pcs": (int, "columns of the representation to use (default: all)"),
    "metric": (str, "metric of the representation"),
    "metric_kwds": (_kwds, "the metric's arguments: p=1, or JSON such as '{\"p\": 1}' (default: none)"),
    "init": (str, "first layout: spectral, pca, random, paga, or a key of obsm"),
    "min_dist": (float, "distance in the map at which cells touch (default: the method's, 0.5 for umap)"),
    "spread": (float, "scale that --min-dist is relative to (default: the method's, 1.0 for umap)"),
    "n_epochs": (int, "passes over the graph (default: 500 up to 10,000 cells, else 200; of tsne 475)"),
    "phases": (
        _phases,
        'the optimisation in parts, JSON: \'[{"n": 500, "learning_rate": 0.5}, …]\' (default: its own)',
    ),
    "random_state": (int, "the seed everything random is derived from"),
    "n_jobs": (int, "threads (default, and -1: all that the job may use)"),
    "labels": (str, "column of obs that the map is to follow, such as cell types (default: none)"),
    "key_added": (str, "key of the map in obsm and uns (default: X_METHOD and METHOD)"),
    "checkpoint": (Path, "keep the run in this file while it lasts; the same command goes on from it (default: none)"),
    "checkpoint_every": (int, "epochs between two checkpoints (default: a tenth of all)"),
}


FLAGS = {"random_state": "--seed"}


def add_embed_options(parser: argparse.ArgumentParser, changed: Mapping[str, str | None] | None = None) -> None:
    """Add the options of maps; ``changed`` are other words for some, None for those that are not to be had."""
    signature = inspect.signature(embed).parameters
    for name, (kind, usual) in EMBED_OPTIONS.items():
        text = (changed or {}).get(name, usual)
        if text is None:
            continue
        default = signature[name].default
        shown = text if default is None else f"{text} (default: {default})"
        flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
        metavar = {int: "N", float: "X", Path: "PATH", _phases: "JSON", _kwds: "KEY=VALUE"}.get(kind, "NAME")
        parser.add_argument(flag, dest=name, type=kind, default=argparse.SUPPRESS, metavar=metavar, help=shown)
    parser.add_argument(
        "--param",
        action="append",
        default=[],
        type=key_and_value,
        metavar="KEY=VALUE",
        help="any other argument of vicinal.tl.embed; the value is read as JSON if it is JSON (repeatable)",
    )
    parser.add_argument("--plot", metavar="PATH", help=f"draw it too ({', '.join(PICTURES)})")
    parser.add_argument("--color", metavar="COLUMN", help="column of obs, or gene, that colours the plot")


def given_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments of `embed` that were given, by their own options or by ``--param``."""
    given = {name: getattr(options, name) for name in EMBED_OPTIONS if hasattr(options, name)}
    for name, value in options.param:
        if name in ("adata", "method", "copy"):
            raise InputError(f"--param {name} is not allowed here")
        if name in given:
            raise InputError(f"--param {name}: {name} is given twice")
        given[name] = value
    return given


def key_and_value(text: str) -> tuple[str, Any]:
    """Return what ``--param`` is given."""
    key, separator, value = text.partition("=")
    if not separator or not key.isidentifier():
        raise argparse.ArgumentTypeError(f"expected KEY=VALUE, such as negative_sample_rate=10, not {text!r}")
    try:
        return key, json.loads(value)
    except ValueError:
        return key, value
