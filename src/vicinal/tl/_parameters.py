"""Shows the parameters of the built-in backends in signatures and help, from their dataclasses."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from vicinal.backends import MODULES
from vicinal.contract.spec import BackendSpec, Preset

F = TypeVar("F", bound=Callable[..., Any])

SPECS: Mapping[tuple[str, str], BackendSpec] = {(m.SPEC.stage, m.SPEC.name): m.SPEC for m in MODULES}
BY_ARGUMENT = {"given", "transformer"}
"""Backends whose parameters are what `knn` is given."""
AUTO = {"graph": "fuzzy"}
"""What stands for ``auto`` where parameters are shown."""
OTHERS = "Other Parameters"
WIDTH, INDENT = 112, "    "


def with_parameters(function: F) -> F:
    """Add the parameters of every built-in backend to a function's help."""
    if function.__doc__:  # which python -OO removes
        specs = [spec for spec in SPECS.values() if spec.name not in BY_ARGUMENT]
        taken = inspect.signature(function).parameters
        text = "\n".join(_entries(specs, leave_out=taken))
        before, raises, after = inspect.cleandoc(function.__doc__).partition("Raises\n------\n")
        function.__doc__ = f"{before}{_titled(OTHERS, text)}\n\n{raises}{after}"
    return function


def as_method(preset: Preset, like: Callable[..., Any]) -> Callable[[F], F]:
    """Give a function the signature and help of another one, without its method, and with the preset's parameters."""
    named = {**preset.stages, **{stage: name for stage, name in AUTO.items() if preset.stages[stage] == "auto"}}
    specs = [SPECS[stage, name] for stage, name in named.items() if (stage, name) in SPECS]

    def decorate(function: F) -> F:
        signature = inspect.signature(like)
        kept = [p for name, p in signature.parameters.items() if name != "method"]
        own = [_parameter(f, preset) for f in _fields(specs) if f.name not in signature.parameters]
        function.__signature__ = signature.replace(parameters=[*kept[:-1], *own, kept[-1]])  # type: ignore[attr-defined]
        if function.__doc__ and like.__doc__:
            function.__doc__ = _help(function.__doc__, like.__doc__, _entries(specs, leave_out=signature.parameters))
        return function

    return decorate


def _parameter(field: dataclasses.Field[Any], preset: Preset) -> inspect.Parameter:
    default = preset.defaults.get(field.name, field.default)
    return inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=field.type)


def _fields(specs: Iterable[BackendSpec]) -> list[dataclasses.Field[Any]]:
    return [f for spec in specs for f in dataclasses.fields(spec.params)]


def _entries(specs: Iterable[BackendSpec], *, leave_out: Iterable[str]) -> list[str]:
    """Return each parameter with what its backends say of it, one after the other."""
    found: dict[str, dict[str, list[str]]] = {}
    for spec in specs:
        texts = _said_of(spec.params.__doc__ or "")
        for f in dataclasses.fields(spec.params):
            if f.name not in set(leave_out):
                default = "" if f.default is dataclasses.MISSING else f", {f.default!r} by default"
                said = f"{default}: {texts.get(f.name, '')}"
                found.setdefault(f.name, {}).setdefault(said, []).append(f"{spec.stage} {spec.name!r}")
    return [f"{name}\n{_indented(said)}" for name, said in found.items()]


def _indented(said: Mapping[str, list[str]]) -> str:
    texts = (f"Of {' and '.join(backends)}{text}" for text, backends in said.items())
    return "\n".join(textwrap.fill(text, WIDTH, initial_indent=INDENT, subsequent_indent=INDENT) for text in texts)


def _said_of(doc: str) -> dict[str, str]:
    """Return what a dataclass says of each of its attributes; several may be named on one line."""
    body = _sections(inspect.cleandoc(doc)).get("Attributes", "")
    parts = re.split(r"^(\w[\w, ]*)$", body, flags=re.M)[1:]
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return {name: " ".join(text.split()) for names, text in pairs for name in names.split(", ")}


def _help(own: str, like: str, entries: Iterable[str]) -> str:
    sections = _sections(inspect.cleandoc(like))
    shown = re.sub(r"^method\n(?:    .*\n)+", "", sections["Parameters"], flags=re.M)
    parts = [
        inspect.cleandoc(own),
        _titled("Parameters", shown),
        _titled("Returns", sections["Returns"]),
        _titled(OTHERS, "\n".join(entries)),
        _titled("Raises", sections["Raises"]),
    ]
    return "\n\n".join(parts)


def _sections(doc: str) -> dict[str, str]:
    """Return the sections of a numpydoc docstring by their titles."""
    parts = re.split(r"^(\w[\w ]*)\n-{3,}\n", doc, flags=re.M)[1:]
    return {title: body.strip("\n") for title, body in zip(parts[::2], parts[1::2], strict=True)}


def _titled(title: str, body: str) -> str:
    return f"{title}\n{'-' * len(title)}\n{body}"
