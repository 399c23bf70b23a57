"""``vicinal demo``."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from .parser import add_command


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "demo", run, "map 700 blood cells from end to end", "vicinal demo --out demo")
    parser.add_argument("--out", default="demo", metavar="FOLDER", help="where the files go (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from vicinal._demo import demo

    for line in demo(Path(options.out)):
        print(line, flush=True)
    return 0
