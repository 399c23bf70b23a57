"""``vicinal verify``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from .parser import add_command


def add(commands: Any) -> None:
    """Add the command."""
    text = "make small maps and compare their bits with those of other machines; exit code 1 if any differs"
    add_command(commands, "verify", run, text, "vicinal verify")


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from vicinal import _verify

    checks = []
    for check in _verify.verify():
        checks.append(check)
        told = "same" if check.same else f"differs from {check.expected}"
        print(f"{check.name:<24}{check.digest}  {told}", flush=True)
    differing = sum(not check.same for check in checks)
    if differing:
        advice = "Maps made here may differ from those of other machines. Please report the output of `pip list`."
        print(f"vicinal: {differing} of {len(checks)} maps have other bits. {advice}", file=sys.stderr)
    return int(differing > 0)
