"""How every command is parsed."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NoReturn

from vicinal.contract.errors import InputError


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ours."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong."""
        raise InputError(f"{message}; see {self.prog} --help")


def add_command(commands: Any, name: str, run: Callable, summary: str, example: str) -> argparse.ArgumentParser:
    """Add a command, and return its parser."""
    parser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run)
    return parser


def add_keys(parser: argparse.ArgumentParser, several: str, default: str) -> None:
    """Add the options of a map's keys."""
    parser.add_argument("--key", metavar="NAME", help=f"the map, where {several}")
    parser.add_argument("--key-added", metavar="NAME", help=f"key in obsm and uns (default: {default})")
    parser.add_argument("--n-jobs", type=int, metavar="N", help="threads (default, and -1: all that the job may use)")
