"""What it takes to make a map again: the arguments it was asked for, and a plan that follows its record."""

from __future__ import annotations

import dataclasses
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy import sparse

from vicinal.contract.errors import InputError, did_you_mean, listing
from vicinal.contract.functions import function_name
from vicinal.contract.options import EmbedOptions, Unset
from vicinal.contract.source import Source
from vicinal.plugin.report import BUILTIN_DISTRIBUTION

from .identity import digests_of
from .local import NEEDED, is_local
from .metric import from_params
from .plan import Plan, make_plan
from .run import Run, flat_params, is_scalar, rows_in_order, versions_of

OF_A_CALL = {"method", "params", "n_jobs", "key_added", "callbacks", "checkpoint", "checkpoint_every", "metric_kwds"}
"""Options that a map does not depend on, or that are recorded elsewhere."""
NAMES_ONLY = {"knn", "graph", "init", "objective", "optimizer", "fixed"}
"""Options that are kept only where they name something."""
LONGEST_KEPT = 10_000
"""Characters of one argument as JSON; what is longer is data."""
STORED_TABLE = f"given@{BUILTIN_DISTRIBUTION}"
SUB_PLANS = "sub_plans"
FACTS = ("n_components", "n_neighbors", "metric", "metric_kwds", "use_rep", "n_pcs", "neighbors_key", "labels")
INPUTS = {
    "representation": "the representation",
    "stored_graph": "the stored graph",
    "stored_neighbors": "the stored distances",
    "labels": "the labels",
    "fixed": "the fixed cells",
    "positions": "the positions it started from",
}

logger = logging.getLogger("vicinal")


@dataclass(frozen=True, kw_only=True)
class MapRecord:
    """What is stored of how a map was made.

    Attributes
    ----------
    key
        Key in ``uns``.
    params, backends, versions
        What was in force, and what of which version.
    kept
        Arguments that were given, as plain data.
    again
        Other arguments that were given, by name, in words.
    inputs
        SHA-256 of what was read.
    local
        Arguments that were given and are of the machine the map was made on: never used, and for the user to give.
    is_spectrum
        Whether it is one of several maps by `vicinal.tl.spectrum`.
    """

    key: str
    params: Mapping[str, Any]
    backends: Mapping[str, str]
    versions: Mapping[str, str]
    kept: Mapping[str, Any]
    again: Mapping[str, str]
    inputs: Mapping[str, str] = field(default_factory=dict)
    is_spectrum: bool = False
    local: Mapping[str, Any] = field(default_factory=dict)

    @property
    def method(self) -> str:
        """The method of the map."""
        return str(self.params["method"])

    @property
    def n_epochs(self) -> int:
        """Epochs that were taken."""
        return int(self.params["n_epochs"])

    @property
    def layout_epoch(self) -> int | None:
        """The epoch that the map is of; None for the last."""
        epoch = self.params.get("layout_epoch")
        return None if epoch is None else int(epoch)

    @property
    def phases(self) -> list[tuple[int, int, dict[str, Any]]]:
        """First epoch, end and overrides of the steps that were taken with some."""
        return [tuple(phase) for phase in json.loads(self.params.get("phases", "[]"))]


def arguments_of(options: EmbedOptions, plan: Plan) -> str:
    """Return the arguments of a map as JSON: ``kept``, those that were given and are plain, and ``again``, the others.

    What is in ``again`` is described: functions, arrays and objects cannot be stored, or are too large.
    """
    fields = [f for f in dataclasses.fields(options) if f.name not in OF_A_CALL]
    given = {f.name: getattr(options, f.name) for f in fields if not _is_default(getattr(options, f.name), f.default)}
    kept: dict[str, Any] = {}
    again: dict[str, str] = {}
    for name, value in {**given, **options.params}.items():
        try:
            kept[name] = _plain(name, value)
        except TypeError:
            again[name] = _described(value)
    if plan.course.handed_on:
        again["callbacks"] = ", ".join(_described(callback) for callback in plan.course.handed_on)
    return json.dumps({"kept": kept, "again": again}, sort_keys=True)


def _is_default(value: Any, default: Any) -> bool:
    return value is default or isinstance(value, Unset) or (isinstance(value, str | int) and value == default)


def _plain(name: str, value: Any) -> Any:
    """Return an argument as JSON holds it, or raise `TypeError`."""
    if name in NAMES_ONLY and not isinstance(value, str):
        raise TypeError
    if name == "n_epochs" and isinstance(value, np.ndarray):
        value = value.tolist()
    found = _as_json(value)
    if len(json.dumps(found)) > LONGEST_KEPT:
        raise TypeError
    return found


def _as_json(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, list | tuple | range):
        return [_as_json(item) for item in value]
    if isinstance(value, Mapping) and all(isinstance(name, str) for name in value):
        return {name: _as_json(item) for name, item in value.items()}
    raise TypeError


def _described(value: Any) -> str:
    if isinstance(value, np.ndarray) or sparse.issparse(value):
        return f"{type(value).__name__} {value.shape}"
    if callable(value) and hasattr(value, "__qualname__"):
        return f"the function {function_name(value)}"
    return type(value).__name__


def options_again(
    record: MapRecord, again: Mapping[str, Any], *, n_obs: int, key_added: str, n_jobs: int | None
) -> EmbedOptions:
    """Return the options of a stored map, every choice that was left open as it was made then.

    Parameters
    ----------
    again
        The arguments that could not be stored.
    n_obs
        Cells. A number of neighbours that takes in all was not asked for, and is left open again.

    Raises
    ------
    InputError
        If one of those is missing, or another is given.
    """
    _check_again(record, again)
    kept = {n: v for n, v in record.kept.items() if n != "neighbors_key" or "neighbors_key" in record.params}
    then = _as_chosen_then(record)
    if then.get("n_neighbors", 0) >= n_obs:
        del then["n_neighbors"]
    given = {**then, **kept, **again}
    return EmbedOptions.collect(record.method, {**given, "key_added": key_added, "n_jobs": n_jobs})


def _check_again(record: MapRecord, again: Mapping[str, Any]) -> None:
    unasked = [name for name in again if name not in {*record.again, *record.local, *map(_words, record.local)}]
    if unasked:
        hint = did_you_mean(unasked[0], record.again)
        msg = f"{unasked[0]} is not to be given: a map is repeated as it was made; to be given are"
        raise InputError(f"{msg} {listing(record.again)}.{hint} For another map call vc.tl.embed")
    local = {_words(name): value for name, value in record.local.items()}
    needed = {name: f"{str(value)[:100]!r}" for name, value in local.items() if name in NEEDED}
    missing = {name: what for name, what in {**record.again, **needed}.items() if name not in again}
    if missing:
        was = "; ".join(f"{name} was {what}" for name, what in sorted(missing.items()))
        call = ", ".join([repr(record.key), *(f"{name}=..." for name in sorted({**record.again, **needed}))])
        msg = f"the map {record.key!r} was made with what cannot be stored, or is not taken from a file: {was}"
        raise InputError(f"{msg}. Give it again: vc.tl.rerun(adata, {call})")


def _words(name: str) -> str:
    return name.rpartition("__")[2]


def _as_chosen_then(record: MapRecord) -> dict[str, Any]:
    """Return arguments that name what a policy, a preset or the AnnData decided."""
    params, backends = record.params, record.backends
    facts, stages = ["n_components", "random_state", "labels", "neighbors_key"], ["init", "objective", "optimizer"]
    if backends.get("knn") == STORED_TABLE and "knn" not in record.again:
        # Stored distances are sliced only where n_neighbors is all that is given of the neighbours.
        facts += ["n_neighbors"]
    else:
        facts += ["use_rep", "n_pcs", "metric", "metric_kwds", *(["n_neighbors"] if "knn" in backends else [])]
        stages += ["knn", "graph"]
    chosen = {stage: name_as_given(backends[stage]) for stage in stages if stage in backends}
    known = {name: params[name] for name in facts if name in params}
    if "metric_kwds" in known:
        known["metric_kwds"] = from_params(params)
    return {**chosen, **known}


def name_as_given(full_name: str) -> str:
    """Return the name a backend is asked for by: built-in ones without their distribution."""
    name, _, distribution = full_name.rpartition("@")
    return name if distribution == BUILTIN_DISTRIBUTION else full_name


def plan_again(source: Source, options: EmbedOptions, record: MapRecord) -> Plan:
    """Return the plan of a stored map, defaults that have changed since as they were.

    It has no phases: what was replaced at which epochs is in the record, wherever it came from, and `follow` does it.

    Raises
    ------
    InputError
        If the AnnData is no longer what the map was made from, or a plan like that of the map cannot be had.
    """
    plan = make_plan(source, options)
    changed = _changed_defaults(plan, record)
    if changed:
        plan = make_plan(source, dataclasses.replace(options, params={**options.params, **changed}))
    _check_plan(plan, record)
    _check_inputs(plan, source, record)
    return dataclasses.replace(plan, course=dataclasses.replace(plan.course, phases=()))


def _changed_defaults(plan: Plan, record: MapRecord) -> dict[str, Any]:
    """Return recorded parameters that the plan has otherwise, to be given to it."""
    now, changed, local = flat_params(plan), dict[str, Any](), set(map(_words, record.local))
    for choice in plan.stages.values():
        for f in dataclasses.fields(choice.params) if dataclasses.is_dataclass(choice.params) else ():
            full_name, given = f"{choice.stage}__{f.name}", getattr(choice.params, f.name)
            name = full_name if full_name in now else f.name
            if f.name in local or is_local(f.name, record.params.get(name)):
                continue
            if f.name == "n_epochs" and given is None:
                changed[full_name] = int(record.params.get("n_epochs_planned", record.n_epochs))
            elif f.name != "n_epochs" and (given is None or is_scalar(given)) and name in now:
                then = record.params.get(name, now[name])
                if now[name] != then:
                    changed[full_name] = then
                    logger.info("%s would be %r now; it is made %r, as in the map", name, now[name], then)
    return changed


def _check_plan(plan: Plan, record: MapRecord) -> None:
    then = {**record.backends, **{name: record.params.get(name) for name in FACTS}}
    backends = {stage: choice.full_name for stage, choice in plan.stages.items()}
    now = flat_params(plan)
    unlike = {"n_epochs", SUB_PLANS, *(name for name in now if is_local(name, record.params.get(name)))}
    others = {name: now[name] for name in now if name in record.params and name not in unlike}
    then |= {name: record.params[name] for name in others}
    found = {**backends, **{name: now.get(name) for name in FACTS}, **others}
    then[SUB_PLANS], found[SUB_PLANS] = (_what_counts(params.get(SUB_PLANS)) for params in (record.params, now))
    for name in sorted({*then, *found}):
        if found.get(name) != then.get(name):
            msg = f"the map {record.key!r} cannot be repeated: {name} was {then.get(name)!r}, and would be"
            raise InputError(f"{msg} {found.get(name)!r} now")


def _what_counts(sub_plans: str | None) -> Any:
    """Return the plans of maps made on the way without their remarks."""

    def without(value: Any) -> Any:
        if isinstance(value, list):
            return [without(item) for item in value]
        if isinstance(value, dict):
            return {name: without(item) for name, item in value.items() if name not in ("reason", "notes", "scores")}
        return value

    return without(json.loads(sub_plans or "[]"))


def _check_inputs(plan: Plan, source: Source, record: MapRecord) -> None:
    rows = rows_in_order(plan, source)
    now = digests_of(plan, rows.sort(source), rows)
    for name in record.inputs:
        if now.get(name) != record.inputs[name]:
            what, use_rep = INPUTS.get(name, name), record.params.get("use_rep")
            shown = f"{what} {use_rep!r}" if name == "representation" else what
            msg = f"the map {record.key!r} cannot be repeated: what it was made from has changed or is gone: {shown}"
            raise InputError(f"{msg}. Put it back, or make another map with vc.tl.embed")


def changed_versions(record: MapRecord, plan: Plan) -> list[str]:
    """Return which distributions have other versions than when the map was made, in words."""
    now = versions_of(plan)
    names = sorted(name for name in {*record.versions, *now} if record.versions.get(name) != now.get(name))
    return [f"{name} was {record.versions.get(name, 'not used')}, is {now.get(name, 'not used')}" for name in names]


def follow(run: Run, record: MapRecord) -> None:
    """Take the epochs that were taken then, with what was overridden for some."""
    for start, stop, overrides in record.phases:
        run.step(start - run.epoch)
        run.step(stop - start, **overrides)
    if "callbacks" in record.again:  # which may end it, as they did then
        run.complete()
    else:
        run.step(record.n_epochs - run.epoch)
