"""``vicinal warmup``."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from .parser import add_command


def add(commands: Any) -> None:
    """Add the command."""
    text = "compile all kernels now and measure the machine: no later process waits, and plans forecast their time"
    example = "vicinal warmup\n  VICINAL_CACHE=/opt/vicinal vicinal warmup   # keeps the measurements there"
    add_command(commands, "warmup", run, text, example)


def run(options: argparse.Namespace) -> int:
    """Run the command."""
    from vicinal._warmup import calibrate, warmup
    from vicinal.pipeline.calibration import write_calibration

    print("vicinal: compiling all kernels, once per machine: a minute or two", file=sys.stderr, flush=True)
    print(f"kernels are compiled and cached; it took {warmup():.1f} s", flush=True)
    seconds = calibrate()
    try:
        print(f"plans forecast their time now, by {write_calibration(seconds)}")
    except (OSError, RuntimeError) as error:  # nowhere to write
        print(f"vicinal: plans cannot forecast their time: {error}", file=sys.stderr)
    return 0
