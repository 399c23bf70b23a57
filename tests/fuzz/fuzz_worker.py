"""A process that tries cases one by one and says of each how it ended; run with the folder it may write to."""

from __future__ import annotations

import json
import logging
import os
import random
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

CASE_FILES = {"file"}
MOST_ADDRESSES = 8 * 2**30
"""Bytes that the worker may ask for beyond those it starts with, so that no case takes the machine's memory."""
CONTROLS: dict[str, Callable[..., Any]] = {
    "crash": lambda *_: os.kill(os.getpid(), signal.SIGSEGV),
    "hang": lambda *_: time.sleep(60),
    "memory": lambda *_: None if (b"1" * (700 * 2**20))[-1] else "",
    "error": lambda *_: {}["a"],
    "file": lambda *_: Path("taken").touch(),
    "fine": lambda *_: None,
}
"""Cases of which it is known how they end."""


def peak(*, reset: bool = False) -> int:
    """Return the most memory used since the last reset, in MiB; where Linux is not, since the start."""
    try:
        if reset:
            Path("/proc/self/clear_refs").write_text("5")
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) // 1024
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def tried(kind: str, seed: int, case: Callable[..., Any]) -> dict[str, Any]:
    """Return how a case ended: ``ok`` or what is wrong."""
    from vicinal.api import VicinalError

    done: list[str] = []
    wrong, before = None, peak(reset=True)
    try:
        wrong = case(random.Random(f"{kind} {seed}"), done.append)
        ended = "made"
    except VicinalError:
        ended = "refused"
    except BaseException as error:  # noqa: BLE001
        ended, wrong = "refused elsewhere", _if_ours(error)
    grown = peak() - before
    left = set(os.listdir()) - CASE_FILES
    if left:
        for name in left:
            os.remove(name)
        wrong = f"wrote {sorted(left)}"
    return {"ended": ended, "wrong": wrong, "grown": grown, "done": done}


def _if_ours(error: BaseException) -> str | None:
    """Return an account of an error; None for a refusal by anndata or scipy before anything of vicinal ran."""
    frames = traceback.extract_tb(error.__traceback__)
    passed = {name for frame in frames for name in Path(frame.filename).parts}
    if isinstance(error, ValueError | TypeError | IndexError | OverflowError) and "vicinal" not in passed:
        if passed & {"anndata", "scipy"}:
            return None
    where = [f"{Path(frame.filename).name}:{frame.lineno}" for frame in frames if "site-packages" not in frame.filename]
    return f"{type(error).__name__}: {ascii(str(error))[:300]} at {' '.join(where[-6:])}"


def _warm() -> dict[str, Callable[..., Any]]:
    """Return the cases, when all they use is compiled, and the memory is bounded."""
    from fuzz_cases import KINDS, warm_up

    warm_up()
    if Path("/proc/self/statm").exists():
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + MOST_ADDRESSES, resource.RLIM_INFINITY))
    return KINDS


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ["MPLBACKEND"] = "agg"
    os.chdir(sys.argv[1])
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    import vicinal.api  # noqa: F401  (before the time counts)

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    cases = CONTROLS if sys.argv[2] == "controls" else _warm()
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        kind, seed = line.split()
        print(json.dumps(tried(kind, int(seed), cases[kind])), file=answers, flush=True)


if __name__ == "__main__":
    main()
