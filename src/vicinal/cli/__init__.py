"""The same verbs for pipelines: ``vicinal embed in.h5ad out.h5ad``.

What people asked for goes to stdout; progress, log and errors to stderr. Exit codes: 0 done, 1 a plugin cannot be used
(``plugins check``), 2 bad input, 3 the cells are written but not all that was asked for beside them,
130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata

from vicinal.contract.errors import VicinalError

from . import demo, embed, plugins, project, rerun, score, spectrum, update, verify, warmup
from .parser import Parser

VERBS = (demo, embed, spectrum, score, project, update, rerun, plugins, warmup, verify)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    logging.basicConfig(format="vicinal: %(message)s")
    os.environ.setdefault("MPLBACKEND", "Agg")
    try:
        parser = build_parser()
        options = parser.parse_args(arguments)
        if options.command is None:
            parser.print_help()
            return 0
        with warnings.catch_warnings():
            if not sys.warnoptions:
                warnings.simplefilter("ignore")
            with _notes_shown():
                return options.command(options)
    except (VicinalError, OSError) as error:
        print("vicinal: error:", " ".join(str(error).split()), file=sys.stderr)
        return 2
    except KeyboardInterrupt as interrupt:
        print("vicinal:", str(interrupt) or "interrupted", file=sys.stderr)
        return 130


@contextmanager
def _notes_shown() -> Iterator[None]:
    """Show what the package notes along the way, such as what it added, as long as the command runs."""
    logger = logging.getLogger("vicinal")
    level = logger.level
    logger.setLevel(level or logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    description = "Neighbour embedding for AnnData files: make, score and reuse maps of cells."
    parser = Parser(prog="vicinal", description=description)
    parser.add_argument("--version", action="version", version=f"vicinal {metadata.version('vicinal')}")
    commands = parser.add_subparsers(metavar="COMMAND")
    parser.set_defaults(command=None)
    for verb in VERBS:
        verb.add(commands)
    return parser
