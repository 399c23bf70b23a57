"""The registry: admits plugins one by one, resolves names to backends, loads their classes."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.util
import logging
import textwrap
import traceback
from collections.abc import Iterable, Mapping
from importlib import metadata
from types import MappingProxyType
from typing import Any

import pluggy

from vicinal.contract.errors import InputError, PluginError, did_you_mean, listing
from vicinal.contract.spec import METHOD_OF_STAGE, BackendSpec, Preset

from . import hookspecs
from .admission import collect_specs
from .discovery import Candidate, candidates, installed_entry_points, normalized, version_of, why_disabled
from .report import BUILTIN_DISTRIBUTION, PluginReport, Registered

BUILTIN_MODULES = ("vicinal.backends", "vicinal.pipeline.presets")
FROM_CHECKOUT = "In a checkout of vicinal, run:"
KNOWN_ELSEWHERE = {
    ("method", "parametric_umap"): "vicinal-torch",
    ("optimizer", "torch"): "vicinal-torch",
    ("network", "mlp"): "vicinal-torch",
    ("network", "residual"): "vicinal-torch",
    ("knn", "faiss"): "vicinal-faiss",
}
"""Backends of known distributions, so that a missing one can be named."""

logger = logging.getLogger("vicinal")


class Manager:
    """All backends that were found.

    Parameters
    ----------
    entry_points
        Entry points to walk in place of the installed ones.
    builtin_modules
        Modules registered first, through the same admission.

    Attributes
    ----------
    reports
        One `PluginReport` a plugin, in the order they were walked.
    """

    def __init__(
        self,
        entry_points: Iterable[metadata.EntryPoint] | None = None,
        builtin_modules: Iterable[str] = BUILTIN_MODULES,
    ) -> None:
        self.reports: list[PluginReport] = []
        self._registered: dict[tuple[str, str], list[Registered]] = {}
        self._pm = pluggy.PluginManager(hookspecs.PROJECT)
        self._pm.add_hookspecs(hookspecs)
        version = version_of(BUILTIN_DISTRIBUTION)
        for module in builtin_modules:
            self._admit(importlib.import_module(module), module, BUILTIN_DISTRIBUTION, version)
        for candidate in candidates(installed_entry_points() if entry_points is None else entry_points):
            self._load(candidate)

    def _load(self, candidate: Candidate) -> None:
        origin = (candidate.described, candidate.distribution, candidate.version)
        reason = why_disabled(candidate)
        if reason:
            self._report(*origin, status="disabled", error=reason)
            return
        try:
            self._admit(candidate.entry_point.load(), *origin)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # noqa: BLE001  SystemExit, a Rust panic: a plugin may fail in any way
            problem = _one_line(error)
            self._report(*origin, status="broken", error=problem, traceback=traceback.format_exc())
            logger.warning("Plugin %s (%s) is left out: %s", candidate.distribution, candidate.described, problem)

    def _admit(self, plugin: object, described: str, distribution: str, version: str) -> None:
        specs = collect_specs(plugin)
        entries = [Registered(spec=spec, distribution=distribution, version=version) for spec in specs]
        self._reject_repeats(plugin, entries)
        self._pm.register(plugin, name=f"{distribution}: {described}")
        for entry in entries:
            self._registered.setdefault((entry.stage, entry.spec.name), []).append(entry)
        self._report(described, distribution, version, status="ok")

    def _reject_repeats(self, plugin: object, entries: Iterable[Registered]) -> None:
        if self._pm.is_registered(plugin):
            raise PluginError(f"the same object is registered already, by {self._pm.get_name(plugin)!r}")
        for entry in entries:
            others = self._registered.get((entry.stage, entry.spec.name), [])
            if entry.distribution in {other.distribution for other in others}:
                msg = f"another plugin of {entry.distribution!r} has registered {entry.stage} {entry.spec.name!r}"
                raise PluginError(msg)

    def _report(self, described: str, distribution: str, version: str, **outcome: Any) -> None:
        report = PluginReport(distribution=distribution, version=version, entry_point=described, **outcome)
        self.reports.append(report)

    def names(self, stage: str) -> list[str]:
        """Return the names a user may give for a stage, or for ``method``."""
        stages = sorted(key for key in self._registered if key[0] == stage)
        return [self.name_of(entry) for key in stages for entry in self._registered[key]]

    def entries(self) -> list[Registered]:
        """Return everything that was admitted."""
        return [entry for entries in self._registered.values() for entry in entries]

    def name_of(self, entry: Registered) -> str:
        """Return the shortest name that stands for an entry."""
        owner = _short_name_owner(self._registered[entry.stage, entry.spec.name])
        return entry.spec.name if entry is owner else entry.full_name

    def resolve(self, stage: str, name: str) -> Registered:
        """Return the one entry a name stands for.

        Raises
        ------
        InputError
            If nothing has the name, or several third parties share it.
        """
        short, _, distribution = name.partition("@")
        entries = self._registered.get((stage, short), [])
        if distribution:
            entries = [entry for entry in entries if entry.distribution == normalized(distribution)]
        owner = _short_name_owner(entries)
        if owner:
            return owner
        if entries:
            raise InputError(f"{stage}={name!r} is ambiguous; name one of {listing(e.full_name for e in entries)}")
        raise InputError(self._unknown(stage, name))

    def preset(self, method: str) -> Preset:
        """Return the preset of a method."""
        spec = self.resolve("method", method).spec
        assert isinstance(spec, Preset)
        return spec

    def load(self, entry: Registered) -> type:
        """Import and return the class of a backend.

        Raises
        ------
        PluginError
            If something it requires is missing, its import fails, or it lacks its stage's method.
        """
        spec = entry.spec
        assert isinstance(spec, BackendSpec)
        described = f"{spec.stage} backend {entry.full_name!r}"
        missing = [module for module in spec.requires if not _is_installed(module)]
        if missing:
            remedy = spec.install or f"pip install {' '.join(missing)}"
            raise PluginError(f"{described} requires {listing(missing)}; run: {remedy}")
        module_name, class_name = spec.target.split(":")
        try:
            backend = getattr(importlib.import_module(module_name), class_name)
        except KeyboardInterrupt:
            raise
        except BaseException as error:  # any failure of a third party's import is ours to explain
            raise PluginError(f"{described} cannot be imported from {spec.target!r}: {_one_line(error)}") from error
        method = METHOD_OF_STAGE[spec.stage]
        if not isinstance(backend, type) or not callable(getattr(backend, method, None)):
            raise PluginError(f"{described}: {spec.target!r} is not a class with a method {method!r}")
        return backend

    def try_out(self, entry: Registered) -> None:
        """Load a backend, and build it where it has defaults for all its parameters.

        Raises
        ------
        PluginError
            As `load` does, or if it cannot be built.
        """
        backend, spec = self.load(entry), entry.spec
        assert isinstance(spec, BackendSpec)
        if any(map(_has_no_default, dataclasses.fields(spec.params))):
            return
        try:
            backend(spec.params())
        except (KeyboardInterrupt, PluginError):
            raise
        except InputError:  # it asks for parameters that only a user can give
            return
        except BaseException as error:  # as in `load`
            described = f"{spec.stage} backend {entry.full_name!r}"
            raise PluginError(f"{described} cannot be built with its default parameters: {_one_line(error)}") from error

    def notify(self, hook: str, payload: Mapping[str, Any]) -> None:
        """Call an observer hook of every plugin; what they raise is logged."""
        caller = getattr(self._pm.hook, hook)
        for implementation in caller.get_hookimpls():
            arguments = [MappingProxyType(dict(payload))] if implementation.argnames else []
            try:
                implementation.function(*arguments)
            except KeyboardInterrupt:
                raise
            except BaseException:  # an observer must not be able to stop what it observes
                logger.exception("Observer %s of %s failed", hook, implementation.plugin_name)

    def _unknown(self, stage: str, name: str) -> str:
        left_out = {report.distribution: report for report in self.reports if report.status != "ok"}
        home = KNOWN_ELSEWHERE.get((stage, name))
        if home in left_out:
            return f"{stage}={name!r} comes from {home!r}, which is {left_out[home].status}: {left_out[home].error}"
        if home:
            absent = f"{stage}={name!r} comes from the plugin {home!r}, which is not installed"
            return f"{absent}. {FROM_CHECKOUT} pip install plugins/{home}"
        allowed = self.names(stage)
        problems = "; ".join(f"{name} ({report.error})" for name, report in left_out.items())
        hint = f" Plugins left out: {problems}." if problems else ""
        return f"{stage}={name!r} is unknown; allowed are {listing(allowed)}.{did_you_mean(name, allowed)}{hint}"


@functools.cache
def get_manager() -> Manager:
    """Return the manager of the installed plugins, made at first use."""
    return Manager()


def _short_name_owner(entries: list[Registered]) -> Registered | None:
    builtin = [entry for entry in entries if entry.builtin]
    if builtin:
        return builtin[0]
    return entries[0] if len(entries) == 1 else None


def _has_no_default(field: dataclasses.Field) -> bool:
    return field.init and field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # it is imported already, and was made without a spec
        return True


def _one_line(error: BaseException) -> str:
    try:
        text = str(error)
    except Exception:  # noqa: BLE001  even this can fail
        text = "(its message cannot be shown)"
    text = text if isinstance(error, PluginError) else f"{type(error).__name__}: {text}"
    return textwrap.shorten(text, 300, placeholder=" ...").removesuffix(":")
