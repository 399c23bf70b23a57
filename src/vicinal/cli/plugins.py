"""``vicinal plugins``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any

from .parser import add_command


def add(commands: Any) -> None:
    """Add the command."""
    text = "say which backends and methods there are, and which plugins are broken"
    parser = add_command(commands, "plugins", run, text, "vicinal plugins list\n  vicinal plugins check --json")
    parser.add_argument(
        "action",
        choices=("list", "check"),
        nargs="?",
        default="list",
        help="list, the default: what there is; check: import and build all, exit 1 if any fails",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from vicinal import plugins

    table = {"list": plugins.list, "check": plugins.check}[options.action]()
    rows: list[dict[str, Any]] = [dict(zip(table.columns, row, strict=True)) for row in table.itertuples(index=False)]
    if options.json:
        print(json.dumps(rows, indent=1))
    else:
        _print_plugins(rows)
    failed = any(row["status"] not in ("ok", "disabled") for row in rows)
    return int(options.action == "check" and failed)


def _print_plugins(rows: Sequence[Mapping[str, Any]]) -> None:
    usable = [row for row in rows if row["status"] == "ok"]
    shown = [(row["stage"], row["name"], f"{row['distribution']} {row['version']}", row["summary"]) for row in usable]
    table = [("stage", "name", "from", "what it is"), *shown]
    widths = [max(len(line[column]) for line in table) for column in range(3)]
    for line in table:
        print("  ".join([*(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=False)), line[3]]))
    for row in rows:
        if row["status"] != "ok":
            print(f"{row['status']}: {row['name']} ({row['distribution']} {row['version']}): {row['error']}")
