"""How every command is parsed."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from vicinal.contract.errors import InputError, did_you_mean

OTHER_NAMES = {"--random-state": "--seed", "--neighbors": "--n-neighbors", "--threads": "--n-jobs"}
"""Options that people know from elsewhere."""


class Parser(argparse.ArgumentParser):
    """A parser whose errors are ours, and name what may have been meant."""

    def error(self, message: str) -> NoReturn:
        """Raise what is wrong."""
        raise InputError(f"{message}; see {self.prog} --help")

    def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:  # type: ignore[override]
        """Parse, or raise `InputError` with the option that is not known and the nearest one that is."""
        found, left = self.parse_known_args(args, namespace)
        if left:
            parser = getattr(found, "parser", self)
            is_option = left[0].startswith("-")
            parser.error(f"{left[0]} is not known.{parser.meant(left[0])}" if is_option else f"{left[0]} is too much")
        return found

    def meant(self, option: str) -> str:
        """Return what may have been meant by an option that is not known."""
        name = option.partition("=")[0].replace("_", "-")
        known = [flag for flag in self._option_string_actions if flag.startswith("--")]
        if OTHER_NAMES.get(name) in known:
            return f" Did you mean {OTHER_NAMES[name]!r}?"
        if hint := did_you_mean(name, known):
            return hint
        word = name.lstrip("-").replace("-", "_")
        return f" Other arguments of vicinal.tl.embed are given as --param {word}=VALUE" if "--param" in known else ""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        allowed: Iterable[Any] = action.choices
        names = ", ".join(map(str, allowed))
        hint = did_you_mean(str(value).lower(), map(str, allowed))
        raise argparse.ArgumentError(action, f"invalid choice: {value!r}.{hint} There are {names}")


def add_command(commands: Any, name: str, run: Callable, summary: str, example: str) -> argparse.ArgumentParser:
    """Add a command, and return its parser."""
    parser: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=f"{summary[0].upper()}{summary[1:]}.",
        epilog=f"example:\n  {example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.set_defaults(command=run, parser=parser)
    return parser


def add_keys(parser: argparse.ArgumentParser, several: str, default: str) -> None:
    """Add the options of a map's keys."""
    parser.add_argument("--key", metavar="NAME", help=f"the map, where {several}")
    parser.add_argument("--key-added", metavar="NAME", help=f"key in obsm and uns (default: {default})")
    parser.add_argument("--n-jobs", type=int, metavar="N", help="threads (default, and -1: all that the job may use)")
