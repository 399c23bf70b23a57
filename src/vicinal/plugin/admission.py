"""What a plugin must be to be admitted; nothing here changes the registry."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Mapping

import pluggy

from vicinal.contract.errors import PluginError, did_you_mean, listing
from vicinal.contract.spec import API_VERSION, STAGES, BackendSpec, Capabilities, Preset

from . import hookspecs

NAME = re.compile(r"[a-z][a-z0-9_]*")
TARGET = re.compile(r"\w+(\.\w+)*:\w+")
RESERVED = ("auto",)


def collect_specs(plugin: object) -> list[BackendSpec | Preset]:
    """Return what a plugin registers, or raise `PluginError` saying what is wrong with it.

    The plugin is tried in a manager of its own, so a bad one leaves no hook behind.
    """
    trial = pluggy.PluginManager(hookspecs.PROJECT)
    trial.add_hookspecs(hookspecs)
    try:
        trial.register(plugin)
    except pluggy.PluginValidationError as error:
        raise PluginError(f"a hook is declared wrongly: {error}") from error
    _reject_bad_hooks(trial)
    results = trial.hook.vicinal_register(host_api=API_VERSION)
    if len(results) < len(trial.hook.vicinal_register.get_hookimpls()):
        results.append(None)  # pluggy leaves it out of the results, as if the hook were not there
    specs = [spec for result in results for spec in _as_list(result)]
    for spec in specs:
        check_spec(spec)
    _reject_repeats(specs)
    return specs


def check_spec(spec: object) -> None:
    """Raise `PluginError` unless the spec is one this host can use."""
    if not isinstance(spec, BackendSpec | Preset):
        raise PluginError(f"vicinal_register returned {type(spec).__name__!r}; expected BackendSpec or Preset objects")
    if spec.api_version != API_VERSION:
        msg = (
            f"{spec.name!r} is written for API {spec.api_version!r}, this host has API {API_VERSION};"
            " install a version that matches"
        )
        raise PluginError(msg)
    if not isinstance(spec.name, str) or not NAME.fullmatch(spec.name) or spec.name in RESERVED:
        msg = (
            f"the name {spec.name!r} is not allowed; use lower-case letters, digits and underscores,"
            f" and none of {listing(RESERVED)}"
        )
        raise PluginError(msg)
    if isinstance(spec, BackendSpec):
        _check_backend_spec(spec)
    else:
        _check_preset(spec)


def _check_backend_spec(spec: BackendSpec) -> None:
    if spec.stage not in STAGES:
        raise PluginError(f"{spec.name!r} names stage {spec.stage!r}; the stages are {', '.join(STAGES)}")
    if not isinstance(spec.target, str) or not TARGET.fullmatch(spec.target):
        raise PluginError(f"{spec.name!r} has target {spec.target!r}; expected 'module:Class'")
    if not _is_parameter_class(spec.params):
        raise PluginError(f"the params of {spec.name!r} must be a frozen, keyword-only dataclass")
    if not isinstance(spec.capabilities, Capabilities):
        msg = f"the capabilities of {spec.name!r} are {type(spec.capabilities).__name__!r}; expected Capabilities"
        raise PluginError(msg)
    if not _is_names(spec.requires) or any("." in module for module in spec.requires):
        msg = f"{spec.name!r} has requires={spec.requires!r}; expected a tuple of top-level module names"
        raise PluginError(msg)


def _check_preset(preset: Preset) -> None:
    if not isinstance(preset.stages, Mapping) or not set(preset.stages) <= set(STAGES):
        msg = f"preset {preset.name!r} has stages={preset.stages!r}; expected a mapping from {', '.join(STAGES)}"
        raise PluginError(msg)
    if not isinstance(preset.defaults, Mapping):
        raise PluginError(f"preset {preset.name!r} has defaults={preset.defaults!r}; expected a mapping")
    if not _is_names(preset.scores):
        raise PluginError(f"preset {preset.name!r} has scores={preset.scores!r}; expected a tuple of names")


def _is_parameter_class(params: object) -> bool:
    if not isinstance(params, type) or not dataclasses.is_dataclass(params):
        return False
    frozen = params.__dataclass_params__.frozen  # type: ignore[attr-defined]
    return frozen and all(field.kw_only for field in dataclasses.fields(params))


def _is_names(value: object) -> bool:
    return isinstance(value, tuple | list) and all(isinstance(item, str) for item in value)


def _reject_bad_hooks(trial: pluggy.PluginManager) -> None:
    callers = {name: caller for name, caller in vars(trial.hook).items() if isinstance(caller, pluggy.HookCaller)}
    known = {name for name, caller in callers.items() if caller.has_spec()}
    used = {name: caller.get_hookimpls() for name, caller in callers.items()}
    # An optional hook is the author's word that other hosts may not know it.
    unknown = sorted(n for n, found in used.items() if n not in known and not all(i.optionalhook for i in found))
    if unknown:
        raise PluginError(f"implements unknown hook {unknown[0]!r}.{did_you_mean(unknown[0], known)}")
    if not any(used[name] for name in known):
        raise PluginError(f"implements none of the hooks {listing(known)}; decorate them with vicinal.api.hookimpl")
    if any(impl.wrapper or impl.hookwrapper for name in known for impl in used[name]):
        raise PluginError("declares a hook as a wrapper; hooks here stand for one plugin and cannot wrap another's")


def _as_list(result: object) -> list:
    if isinstance(result, str | Mapping) or not isinstance(result, Iterable):
        msg = f"vicinal_register returned {type(result).__name__!r}; expected a list of BackendSpec or Preset objects"
        raise PluginError(msg)
    return list(result)


def _reject_repeats(specs: list[BackendSpec | Preset]) -> None:
    seen = set()
    for spec in specs:
        key = (getattr(spec, "stage", "method"), spec.name)
        if key in seen:
            raise PluginError(f"registers {key[0]} {key[1]!r} twice")
        seen.add(key)
