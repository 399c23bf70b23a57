"""``vicinal demo``."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

from .parser import add_command
from .paths import PICTURES, STORES, model_target, target_of


def add(commands: Any) -> None:
    """Add the command."""
    parser = add_command(commands, "demo", run, "map 700 blood cells from end to end", "vicinal demo --out demo")
    parser.add_argument("--out", default="demo", metavar="FOLDER", help="where the files go (default: %(default)s)")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from vicinal._demo import FILES, demo

    for name in FILES:
        path = os.path.join(options.out, name)
        if os.path.exists(path):
            model_target(path) if path.endswith(".zip") else target_of(path, (*STORES, *PICTURES))
    for line in demo(Path(options.out)):
        print(line, flush=True)
    return 0
