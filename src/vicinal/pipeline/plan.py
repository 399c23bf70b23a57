"""Decides what will run; raises the errors about stages and parameters; computes nothing."""

from __future__ import annotations

import dataclasses
import logging
import numbers
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from textwrap import indent
from typing import Any

import numpy as np
from scipy import sparse

from vicinal.contract.data import Graph
from vicinal.contract.errors import InputError, StageError, VicinalError, did_you_mean, listing
from vicinal.contract.functions import recordable
from vicinal.contract.options import EmbedOptions, Unset
from vicinal.contract.showing import refused
from vicinal.contract.source import Source, StoredNeighbors
from vicinal.contract.spec import METHOD_OF_STAGE, BackendSpec, Capabilities, Preset
from vicinal.contract.stages import SubMap
from vicinal.kernels.processors import threads_for
from vicinal.plugin.manager import Manager, get_manager

from . import metric, policy
from .course import Course, hand_on_callbacks, plan_course, planned_epochs
from .forecast import Forecast, forecast, sizes
from .inputs import trains_on_rows
from .phases import check_phases, check_takes_phases, own_phases
from .route import route, taken_by
from .whose import whose

MAX_COMPONENTS = 10
LABEL_SCORE = "label_accuracy"
"""The score of every map that labels are given for."""
MOST_SHOWN = 10
"""Parameters of a backend that a line has room for."""
ALSO_ALLOWED = {
    "knn": "a tuple (indices, distances), a KNeighborsTransformer, ",
    "graph": "a scipy.sparse matrix, ",
    "init": "a key of obsm, a numpy array, ",
}

logger = logging.getLogger("vicinal")


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One stage of a plan.

    Attributes
    ----------
    backend
        The backend, built with its parameters.
    params
        Its parameters.
    reason
        Why it was chosen.
    is_object
        Whether the user gave the backend itself, which may know the cells in the order they are stored in.
    """

    stage: str
    name: str
    distribution: str
    backend: Any
    params: Any
    reason: str
    capabilities: Capabilities = field(default_factory=Capabilities)
    is_object: bool = False

    @property
    def full_name(self) -> str:
        """``name@distribution``."""
        return f"{self.name}@{self.distribution}"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What would run, and why.

    Attributes
    ----------
    stages
        Stage name to `Choice`; without ``knn`` where the graph is there already.
    scores
        The scores taken at the end.
    n_neighbors
        Neighbours of a cell, itself counted; None where no neighbours are looked up.
    metric, metric_function
        Name of the metric, ``module:qualname`` for a function, and the function itself.
    metric_kwds
        The metric's arguments as plain numbers and lists.
    notes
        What was read from where, and what was adjusted.
    labels
        Column of obs that the map follows; None for none.
    course
        What is done along the optimisation besides it.
    sub_plans
        Plans of the maps that backends make on the way.
    networks
        Role to what builds it, of the networks that the optimizer trains.
    forecast
        Memory and time it will take; None for neighbours alone.
    """

    method: str
    n_obs: int
    n_components: int
    n_neighbors: int | None
    metric: str
    random_state: int
    n_jobs: int
    stages: Mapping[str, Choice]
    scores: tuple[Choice, ...]
    representation: str | None
    n_pcs: int | None
    neighbors_key: str | None
    notes: tuple[str, ...]
    labels: str | None = None
    metric_function: Callable[..., float] | None = None
    metric_kwds: Mapping[str, Any] = field(default_factory=dict)
    course: Course = field(default_factory=Course)
    sub_plans: tuple[Plan, ...] = ()
    networks: Mapping[str, Choice] = field(default_factory=dict)
    forecast: Forecast | None = None

    def __str__(self) -> str:
        size = f"{self.n_obs:,} cells to {self.n_components} dimensions"
        head = f"{self.method}: {size}, seed {self.random_state}, {self.n_jobs} threads"
        lines = [f"  {c.stage:<10}{c.full_name:<26}{_shown(c.params)}  ({c.reason})" for c in self.stages.values()]
        lines += [f"  {role:<10}{c.full_name:<26}{_shown(c.params)}" for role, c in self.networks.items()]
        lines += [f"  {'phases':<10}{self.course.shown_phases}"] if self.course.phases else []
        scores = f"  {'score':<10}{', '.join(c.name for c in self.scores) or 'none'}"
        notes = [f"  note: {note}" for note in self.notes]
        taken = [f"  forecast: {self.forecast}"] if self.forecast is not None else []
        subs = [indent(f"on the way: {sub}", "  ") for sub in self.sub_plans]
        return "\n".join([head, *lines, scores, *notes, *taken, *subs])

    __repr__ = __str__

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain data."""
        return {
            "method": self.method,
            "n_obs": self.n_obs,
            "n_components": self.n_components,
            "n_neighbors": self.n_neighbors,
            "metric": self.metric,
            **({"metric_kwds": dict(self.metric_kwds)} if self.metric_kwds else {}),
            "random_state": self.random_state,
            "n_jobs": self.n_jobs,
            "representation": self.representation,
            "labels": self.labels,
            "stages": {
                c.stage: {"backend": c.full_name, "reason": c.reason, "params": _plain(c.params)}
                for c in self.stages.values()
            },
            "networks": {
                role: {"backend": c.full_name, "params": _plain(c.params)} for role, c in self.networks.items()
            },
            **({"phases": [phase.to_dict() for phase in self.course.phases]} if self.course.phases else {}),
            "scores": [c.full_name for c in self.scores],
            "notes": list(self.notes),
            "forecast": None if self.forecast is None else self.forecast.to_dict(),
            "sub_plans": [sub.to_dict() for sub in self.sub_plans],
        }


def make_plan(source: Source, options: EmbedOptions, manager: Manager | None = None) -> Plan:
    """Choose every stage of a map.

    Raises
    ------
    InputError
        If an argument, a stage or a parameter cannot be used as given.
    StageError
        If a backend cannot be built.
    """
    manager = manager or get_manager()
    check_options(options)
    course = plan_course(options)
    options = metric.with_stored_metric(source, options)
    preset = manager.preset(options.method)
    picks = pick_stages(source, options, preset, manager)
    if course.phases:
        _check_takes_phases(picks["optimizer"], manager)
    scores, unscored = _pick_scores(source, options, preset, manager)
    chosen = build(picks, scores, _params_of(options, picks["optimizer"]), preset.defaults, manager)
    stages = {c.stage: c for c in chosen if c.stage != "score"}
    n_neighbors, notes = count_neighbors(source, options, preset, stages)
    _check_forms(stages)
    _check_components(stages, options.n_components)
    metric.check_for_search(stages.get("knn"), source, options)
    _check_labels(stages, options, manager)
    course = hand_on_callbacks(_with_phases(course, stages, source.n_obs), stages["optimizer"].backend)
    networks = _plan_networks(stages["optimizer"], manager)
    rows = None if source.doubt and not trains_on_rows(options, manager) else source.representation
    _check_optimizer(stages["optimizer"], source, options.n_components, networks, course)
    plan = Plan(
        method=options.method,
        n_obs=source.n_obs,
        n_components=int(options.n_components),
        n_neighbors=n_neighbors,
        **metric.of_plan(options),
        random_state=int(options.random_state),
        n_jobs=threads_for(options.n_jobs),
        stages=stages,
        scores=tuple(c for c in chosen if c.stage == "score"),
        representation=rows.name if rows else None,
        n_pcs=rows.n_pcs if rows else None,
        neighbors_key=_key_of_used(source, options, picks),
        labels=options.labels,
        notes=(*source.notes, *notes, *unscored, *course.notes),
        course=course,
        networks=networks,
    )
    plan = dataclasses.replace(plan, sub_plans=_plan_sub_maps(plan, source))
    return dataclasses.replace(plan, forecast=forecast(plan, source))


def make_sub_plan(plan: Plan, source: Source, arguments: Mapping[str, Any]) -> Plan:
    """Plan a map that a backend makes on the way.

    What ``arguments`` leave open of metric, dimensions, seed and threads is as in the whole map, and, where the
    method is the same, so are objective and optimizer with their parameters, but for the number of epochs. A map of
    another method on the same graph has the objective, or, where its optimizer cannot take that, as much of its
    parameters as its own objective has.
    """
    arguments = {"method": plan.method, **arguments}
    inherited = {
        "n_components": plan.n_components,
        "metric": plan.metric_function or Unset(plan.metric),
        "metric_kwds": dict(plan.metric_kwds) or None,
        "random_state": plan.random_state,
        "n_jobs": plan.n_jobs,
    }
    if arguments["method"] == plan.method:
        for stage in ("objective", "optimizer"):
            inherited |= _as_chosen(plan.stages[stage], arguments)
    elif source.stored is not None:
        inherited |= _objective_for(arguments["method"], plan.stages["objective"], arguments)
    method = arguments.pop("method")
    options = EmbedOptions.collect(method, {**inherited, **arguments})
    return dataclasses.replace(make_plan(source, options), scores=())


def _as_chosen(choice: Choice, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that choose a backend again with its parameters; another one has parameters of its own."""
    if choice.stage in arguments:
        return {}
    if choice.is_object:
        return {choice.stage: choice.backend}
    fields = dataclasses.fields(choice.params) if dataclasses.is_dataclass(choice.params) else ()
    values = {f.name: getattr(choice.params, f.name) for f in fields if f.name != "n_epochs"}
    return {choice.stage: choice.full_name, **{name: value for name, value in values.items() if value is not None}}


def _objective_for(method: str, chosen: Choice, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments that give a method an objective, or failing that the parameters that both have."""
    stages, manager = get_manager().preset(method).stages, get_manager()
    optimizer = manager.resolve("optimizer", stages["optimizer"]).spec
    own = manager.resolve("objective", stages["objective"]).spec
    assert isinstance(optimizer, BackendSpec)
    assert isinstance(own, BackendSpec)
    taken = _as_chosen(chosen, arguments)
    if set(chosen.capabilities.forms) & set(optimizer.capabilities.forms):
        return taken
    return {name: value for name, value in taken.items() if name in own.fields}


def _plan_sub_maps(plan: Plan, source: Source) -> tuple[Plan, ...]:
    """Plan the maps that the initialisation will ask for, so that their errors come before any work."""
    asked = getattr(plan.stages["init"].backend, "sub_maps", None)
    subs = [] if asked is None else asked(source.n_obs, source.arrays)
    return tuple(make_sub_plan(plan, _as_if_there(sub, plan, source), sub.arguments) for sub in subs)


def _as_if_there(sub: SubMap, plan: Plan, source: Source) -> Source:
    """Return what a map will be made from before it is there: rows of the same kind, a graph of the same size."""
    rows, stored = source.representation, None
    if rows is not None:
        # On the graph the rows are those of the whole, which has them already.
        spooled = sub.on_graph and rows.spooled
        rows = dataclasses.replace(rows, values=rows.values[: sub.n_obs], shared=sub.on_graph, spooled=spooled)
    if sub.on_graph:
        n_edges = sizes(plan, source).n_edges
        graph = Graph(
            indptr=np.broadcast_to(np.int64(n_edges), sub.n_obs + 1),
            indices=np.broadcast_to(np.int32(0), n_edges),
            weights=np.broadcast_to(np.float32(1), n_edges),
        )
        stored = StoredNeighbors(key="graph", graph=graph, neighbors=None, n_neighbors=None)
    return Source(n_obs=sub.n_obs, representation=rows, stored=stored)


def _plan_networks(optimizer: Choice, manager: Manager) -> dict[str, Choice]:
    """Choose and build what builds the networks that an optimizer trains."""
    named: Mapping[str, tuple[str, Mapping[str, Any]]] = getattr(optimizer.backend, "networks", dict)()
    return {role: build_network(role, name, params, manager) for role, (name, params) in named.items()}


def build_network(role: str, name: str, params: Mapping[str, Any], manager: Manager) -> Choice:
    """Build a backend of the stage ``network``.

    Raises
    ------
    InputError
        If there is no such backend, or it has no such parameter.
    """
    try:
        entry = manager.resolve("network", name)
    except InputError as error:
        raise InputError(f"{role}: {error}") from error
    assert isinstance(entry.spec, BackendSpec)
    for given in params:
        if given not in entry.spec.fields:
            hint = did_you_mean(given, entry.spec.fields)
            msg = f"{role}_params holds {given!r}; the network {name!r} takes {listing(entry.spec.fields)}.{hint}"
            raise InputError(msg)
    return _build_one(Pick("network", name, role), entry, params, {}, manager)


def _key_of_used(source: Source, options: EmbedOptions, picks: Mapping[str, Pick]) -> str | None:
    if source.stored is None or sparse.issparse(options.graph):
        return None
    stored_table = "knn" in picks and picks["knn"].name == "given" and not isinstance(options.knn, tuple)
    return source.stored.key if stored_table or "knn" not in picks else None


def plan_neighbors(source: Source, options: EmbedOptions, manager: Manager | None = None) -> Plan:
    """Choose the knn and graph stages alone, as `make_plan` would for UMAP.

    Raises
    ------
    InputError
        If an argument, a stage or a parameter cannot be used as given.
    """
    manager = manager or get_manager()
    check_options(options)
    preset = manager.preset("umap")
    picks = {"knn": _pick_knn(source, options, preset), "graph": _pick_graph(source, options, preset)}
    if picks["graph"].name == "precomputed":
        raise InputError("graph: the weights are computed here; give the name of a graph backend, such as 'fuzzy'")
    for pick in picks.values():
        _check_inputs(pick, source, manager)
    chosen = build(picks, [], options.params, preset.defaults, manager)
    n_neighbors, notes = count_neighbors(source, options, preset, {c.stage: c for c in chosen})
    metric.check_for_search(chosen[0], source, options)
    return Plan(
        method="neighbors",
        n_obs=source.n_obs,
        n_components=0,
        n_neighbors=n_neighbors,
        **metric.of_plan(options),
        random_state=int(options.random_state),
        n_jobs=threads_for(options.n_jobs),
        stages={c.stage: c for c in chosen},
        scores=(),
        representation=source.representation.name if source.representation else None,
        n_pcs=source.representation.n_pcs if source.representation else None,
        neighbors_key=None,
        notes=(*source.notes, *notes),
    )


def plan_scores(*, labels: bool, manager: Manager | None = None) -> list[Choice]:
    """Choose the scores of a map that is there already: every built-in one, by labels where there are any."""
    manager = manager or get_manager()
    names = _score_names(manager.preset("umap"), labels=labels)
    return build({}, [Pick("score", name, "asked for") for name in names], {}, {}, manager)


def _score_names(preset: Preset, *, labels: bool) -> list[str]:
    added = [LABEL_SCORE] if labels and LABEL_SCORE not in preset.scores else []
    return [*preset.scores, *added]


@dataclass(frozen=True)
class Pick:
    """A backend not yet built: by name, or an object of the user's."""

    stage: str
    name: str
    reason: str
    instance: Any = None
    extra: Mapping[str, Any] = field(default_factory=dict)


def pick_stages(source: Source, options: EmbedOptions, preset: Preset, manager: Manager) -> dict[str, Pick]:
    """Choose a backend for each stage, from what was given, the preset, or the policy."""
    init = _pick_init(source, options, preset, manager)
    picks = {
        "init": init,
        "graph": _pick_graph(source, options, preset, needed=_is_graph_needed(init, options, manager)),
    }
    given = picks["graph"].name == policy.EDGELESS or "stored_graph" in _needs(picks["graph"], manager)
    if picks["graph"].instance is not None or not given:
        picks["knn"] = _pick_knn(source, options, preset)
    for stage in ("objective", "optimizer"):
        picks[stage] = _named_or_object(stage, getattr(options, stage), preset.stages.get(stage, "auto"), preset)
    for pick in picks.values():
        _check_inputs(pick, source, manager)
    return {stage: picks[stage] for stage in ("knn", "graph", "init", "objective", "optimizer") if stage in picks}


def _pick_knn(source: Source, options: EmbedOptions, preset: Preset) -> Pick:
    given = options.knn
    if isinstance(given, tuple):
        if len(given) != 2:
            raise InputError(f"knn is a tuple of {len(given)}; expected (indices, distances)")
        arrays = {"indices": given[0], "distances": given[1]}
        return Pick("knn", "given", "neighbours given as arrays", extra=arrays)
    if hasattr(given, "fit_transform") and not hasattr(given, "build"):
        return Pick("knn", "transformer", f"{type(given).__name__} given", extra={"estimator": given})
    pick = _named_or_object(
        "knn", given, preset.stages.get("knn", "auto"), preset, lambda: policy.auto_knn(source, options)
    )
    if pick.name == "given" and source.stored is not None and source.stored.neighbors is not None:
        table = source.stored.neighbors
        return dataclasses.replace(pick, extra={"indices": table.indices, "distances": table.distances})
    return pick


def _is_graph_needed(init: Pick, options: EmbedOptions, manager: Manager) -> bool:
    if set(options.fresh_neighbors) & {"knn", "n_neighbors"}:
        return True
    is_refined = planned_epochs(options) != 0 or isinstance(options.n_epochs, bool)
    return is_refined or init.instance is not None or "graph" in _needs(init, manager)


def _pick_graph(source: Source, options: EmbedOptions, preset: Preset, *, needed: bool = True) -> Pick:
    if sparse.issparse(options.graph):
        return Pick("graph", "precomputed", "a matrix given")
    if not needed and isinstance(options.graph, str) and options.graph == "auto":
        if source.stored is None or source.stored.graph is None:
            return Pick("graph", policy.EDGELESS, "n_epochs is 0, and the first layout needs no graph")
    return _named_or_object(
        "graph", options.graph, preset.stages.get("graph", "auto"), preset, lambda: policy.auto_graph(source, options)
    )


def _pick_init(source: Source, options: EmbedOptions, preset: Preset, manager: Manager) -> Pick:
    given = options.init
    if isinstance(given, np.ndarray):
        return Pick("init", "array", "positions given")
    if (
        isinstance(given, str)
        and given != "auto"
        and given not in manager.names("init")
        and "positions" in source.arrays
    ):
        return Pick("init", "obsm", f"positions in obsm[{given!r}]")
    if isinstance(given, str) and given != "auto" and "@" not in given and given not in manager.names("init"):
        names = [*manager.names("init"), *source.obsm_keys]
        msg = (
            f"init={given!r} is neither a backend ({listing(manager.names('init'))}) nor a key of obsm"
            f" ({listing(source.obsm_keys)}).{did_you_mean(given, names)}"
        )
        raise InputError(msg)
    by_preset = preset.stages.get("init", "auto")
    if source.representation is None and by_preset != "auto":
        if "representation" in _needs(Pick("init", by_preset, ""), manager):
            by_preset = "auto"  # what it starts from is not there, but a graph may be
    return _named_or_object("init", given, by_preset, preset, lambda: policy.auto_init(source, options))


def _named_or_object(
    stage: str,
    given: Any,
    by_preset: str,
    preset: Preset,
    auto: Callable[[], tuple[str, str]] | None = None,
) -> Pick:
    if not isinstance(given, str):
        if callable(getattr(given, METHOD_OF_STAGE[stage], None)) and not isinstance(given, type):
            return Pick(stage, type(given).__name__, "an object given", instance=given)
        msg = (
            f"{refused(stage, given)}; give a backend's name, {ALSO_ALLOWED.get(stage, '')}or an object"
            f" with a method {METHOD_OF_STAGE[stage]!r} (an instance, not a class)"
        )
        raise InputError(msg)
    if given != "auto":
        return Pick(stage, given, "given")
    if by_preset != "auto":
        return Pick(stage, by_preset, f"the preset {preset.name!r}")
    if auto is None:
        raise InputError(f"the preset {preset.name!r} leaves {stage} open; name one with {stage}=")
    return Pick(stage, *auto())


def _needs(pick: Pick, manager: Manager) -> tuple[str, ...]:
    if pick.instance is not None:
        return getattr(pick.instance, "capabilities", Capabilities()).inputs
    spec = manager.resolve(pick.stage, pick.name).spec
    assert isinstance(spec, BackendSpec)
    return spec.capabilities.inputs


def _check_inputs(pick: Pick, source: Source, manager: Manager) -> None:
    """Raise where a backend needs something the AnnData or the arguments do not have."""
    there = {
        "representation": source.representation is not None,
        "stored_graph": source.stored is not None and source.stored.graph is not None,
        "positions": "positions" in source.arrays,
        "paga": "paga_positions" in source.arrays,
        "labels": source.labels is not None,
        "given_neighbors": bool(pick.extra),
        "transformer": bool(pick.extra),
    }
    remedy = {
        "representation": "a representation: run sc.pp.pca(adata) or give use_rep=",
        "stored_graph": "stored connectivities: run sc.pp.neighbors(adata), or give neighbors_key=",
        "positions": "positions: give an array, or the name of an obsm key",
        "paga": "PAGA positions: run sc.tl.paga and sc.pl.paga",
        "labels": "labels: name a column of obs with labels=",
        "given_neighbors": "arrays: give knn=(indices, distances)",
        "transformer": "an estimator: give the KNeighborsTransformer object itself as knn=",
    }
    for need in _needs(pick, manager):
        if not there.get(need, True):
            because = f". {source.doubt}" if need == "representation" and source.doubt else ""
            raise InputError(f"{pick.stage}={pick.name!r} needs {remedy[need]}{because}")


def _pick_scores(
    source: Source, options: EmbedOptions, preset: Preset, manager: Manager
) -> tuple[list[Pick], tuple[str, ...]]:
    """Choose the scores; none, with a note, where distances cannot be taken again."""
    if source.representation is None or source.doubt or source.n_obs < 3:
        return [], ()
    why_not = metric.why_unscored(options)
    if why_not:
        return [], (f"no scores: {why_not}",)
    picks = [Pick("score", name, "the preset") for name in _score_names(preset, labels=source.labels is not None)]
    return [p for p in picks if source.labels is not None or "labels" not in _needs(p, manager)], ()


def _params_of(options: EmbedOptions, optimizer: Pick) -> dict[str, Any]:
    is_told = options.phases is None or optimizer.instance is None
    n_epochs = planned_epochs(options) if is_told else None
    named = {"min_dist": options.min_dist, "spread": options.spread, "n_epochs": n_epochs}
    return {**{name: value for name, value in named.items() if value is not None}, **options.params}


def build(
    picks: Mapping[str, Pick],
    scores: Sequence[Pick],
    params: Mapping[str, Any],
    defaults: Mapping[str, Any],
    manager: Manager,
) -> list[Choice]:
    """Route the parameters and build every chosen backend with its own."""
    params = {name: value.item() if isinstance(value, np.generic) else value for name, value in params.items()}
    every = [*picks.values(), *scores]
    entries = [None if pick.instance is not None else manager.resolve(pick.stage, pick.name) for pick in every]
    takers = [(p.stage, p.name, e.spec.fields if e else ()) for p, e in zip(every, entries, strict=True)]  # type: ignore[union-attr]
    arguments = [f.name for f in dataclasses.fields(EmbedOptions) if f.name != "params"]
    given = route(params, takers, arguments, lambda name: whose(name, manager))
    return [
        _build_one(pick, entry, given[pick.stage, pick.name], defaults, manager)
        for pick, entry in zip(every, entries, strict=True)
    ]


def _build_one(
    pick: Pick, entry: Any, given: Mapping[str, Any], defaults: Mapping[str, Any], manager: Manager
) -> Choice:
    if pick.instance is not None:
        capabilities = _capabilities_of(pick.instance, Capabilities(forms=("kernel",)))
        params = getattr(pick.instance, "params", None)
        return Choice(
            stage=pick.stage,
            name=pick.name,
            distribution=type(pick.instance).__module__,
            backend=pick.instance,
            params=params,
            reason=pick.reason,
            capabilities=capabilities,
            is_object=True,
        )
    spec = entry.spec
    preset = {name: value for name, value in defaults.items() if name in spec.fields}
    backend_class = manager.load(entry)
    try:
        params = spec.params(**{**preset, **pick.extra, **given})
        backend = backend_class(params)
    except (VicinalError, KeyboardInterrupt):
        raise
    except BaseException as error:  # a third party's constructor may fail in any way
        raise StageError(pick.stage, entry.full_name, f"{type(error).__name__}: {error}") from error
    return Choice(
        stage=pick.stage,
        name=spec.name,
        distribution=entry.distribution,
        backend=backend,
        params=params,
        reason=pick.reason,
        capabilities=_capabilities_of(backend, spec.capabilities),
    )


def _capabilities_of(backend: Any, default: Capabilities) -> Capabilities:
    """Return what a backend says of itself, with the parameters it has, else of all of its kind."""
    own = getattr(backend, "capabilities", None)
    return own if isinstance(own, Capabilities) else default


def count_neighbors(
    source: Source, options: EmbedOptions, preset: Preset, stages: Mapping[str, Choice]
) -> tuple[int | None, list[str]]:
    """Return the number of neighbours, the cell itself counted, and notes on where less is made of it."""
    held, graph = _neighbors_held(options.knn, source.n_obs), stages["graph"].backend
    _check_asked(options.n_neighbors, source.n_obs, held)
    if "knn" not in stages:
        return (source.stored.n_neighbors if source.stored else None), []
    n_neighbors, clipped = _wanted(options, preset, graph, source.n_obs, held)
    prepared = graph.prepare(source.n_obs, n_neighbors) if hasattr(graph, "prepare") else ""
    notes = [note for note in (clipped, prepared) if note]
    for note in notes:
        logger.info(note)
    return n_neighbors, notes


def _check_asked(asked: Any, n_obs: int, held: int | None) -> None:
    """Raise where the number of neighbours that was asked for cannot be had."""
    if asked is not None and (not _is_integer(asked) or asked < 2):
        raise InputError(
            f"n_neighbors={asked!r} is not allowed; give an integer from 2, the cell itself counted, to below {n_obs}"
        )
    if asked is not None and asked >= n_obs:
        msg = f"n_neighbors={asked} is not allowed for {n_obs} cells; give less than {n_obs}, or leave it out"
        raise InputError(msg)
    if asked is not None and held is not None and asked > held:
        msg = f"n_neighbors={asked} is not allowed: the knn arrays hold {held} neighbours, the cell itself counted"
        raise InputError(msg)


def _wanted(options: EmbedOptions, preset: Preset, graph: Any, n_obs: int, held: int | None) -> tuple[int, str]:
    """Return how many neighbours a graph is made from, the cell itself counted, and a note where that was clipped."""
    if options.n_neighbors is not None:
        return int(options.n_neighbors), ""
    if held is not None:
        return held, ""
    if hasattr(graph, "n_neighbors"):
        return graph.n_neighbors(n_obs), ""
    if preset.n_neighbors <= n_obs:
        return preset.n_neighbors, ""
    return n_obs, f"n_neighbors clipped from {preset.n_neighbors} to {n_obs}: there are {n_obs} cells"


def stored_neighbors_wanted(options: EmbedOptions, n_obs: int, manager: Manager | None = None) -> int | None:
    """Return how many neighbours stored distances must hold to be used, the cell itself counted; None for no use.

    They are used where the preset names a graph that is made from neighbours and nothing asks for other ones, and where
    ``n_neighbors`` is all that does.
    """
    manager = manager or get_manager()
    if options.fresh_neighbors == ("n_neighbors",):
        return options.n_neighbors
    if options.fresh_neighbors or not isinstance(options.method, str):
        return None
    preset = manager.preset(options.method)
    pick = Pick("graph", preset.stages.get("graph", "auto"), f"the preset {preset.name!r}")
    if pick.name == "auto" or "neighbors" not in _needs(pick, manager):
        return None
    entry = manager.resolve(pick.stage, pick.name)
    given = taken_by(options.params, pick.stage, pick.name, entry.spec.fields)  # type: ignore[union-attr]
    return _wanted(options, preset, _build_one(pick, entry, given, preset.defaults, manager).backend, n_obs, None)[0]


def _neighbors_held(knn: Any, n_obs: int) -> int | None:
    """Return how many neighbours given arrays hold, the cell itself counted; None where there are no such arrays."""
    if not isinstance(knn, tuple):
        return None
    try:
        indices = np.asarray(knn[0])
    except ValueError:  # rows of different lengths: the backend says so
        return None
    if indices.ndim != 2 or len(indices) != n_obs or indices.dtype.kind not in "iuf":
        return None
    has_own = (indices == np.arange(n_obs)[:, None]).any()
    return min(indices.shape[1] + (not has_own), n_obs)


def check_options(options: EmbedOptions) -> None:
    """Raise `InputError` for values no method allows."""
    if not isinstance(options.method, str):
        raise InputError(f"method is a {type(options.method).__name__}; give a method's name, such as 'umap'")
    if not _is_integer(options.n_components) or not 1 <= options.n_components <= MAX_COMPONENTS:
        raise InputError(
            f"n_components={options.n_components!r} is not allowed; give an integer from 1 to {MAX_COMPONENTS}"
        )
    if not _is_integer(options.random_state):
        msg = (
            f"random_state={options.random_state!r} is not allowed; give an integer: every map here is made from a seed"
        )
        raise InputError(msg)
    if options.n_jobs is not None and not _is_number_of_jobs(options.n_jobs):
        msg = f"n_jobs={options.n_jobs!r} is not allowed; give a positive integer, or None or -1 for all processors"
        raise InputError(msg)
    metric.check_options(options)


def _is_number_of_jobs(value: Any) -> bool:
    return _is_integer(value) and (value >= 1 or value == -1)


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _check_forms(stages: Mapping[str, Choice]) -> None:
    objective, optimizer = stages["objective"], stages["optimizer"]
    offered, consumed = objective.capabilities.forms, optimizer.capabilities.forms
    if not set(offered) & set(consumed):
        msg = (
            f"objective {objective.name!r} offers the forms {listing(offered)}, optimizer {optimizer.name!r}"
            f" consumes {listing(consumed)}; choose a pair that shares one"
        )
        raise InputError(msg)


def _check_takes_phases(pick: Pick, manager: Manager) -> None:
    if pick.instance is not None:
        check_takes_phases(pick.name, pick.instance, None)
        return
    entry = manager.resolve(pick.stage, pick.name)
    assert isinstance(entry.spec, BackendSpec)
    check_takes_phases(pick.name, manager.load(entry), entry.spec.fields)


def _with_phases(course: Course, stages: Mapping[str, Choice], n_obs: int) -> Course:
    """Check the phases that are given; where none are, take those that the optimizer has by itself."""
    optimizer, objective = stages["optimizer"], stages["objective"]
    if course.phases:
        forms = objective.capabilities.forms
        check_phases(course.phases, optimizer.name, optimizer.backend, objective=objective.backend, forms=forms)
        return course
    return dataclasses.replace(course, phases=own_phases(optimizer.backend, n_obs), whose_phases=optimizer.name)


def _check_optimizer(
    optimizer: Choice, source: Source, n_components: int, networks: Mapping[str, Choice], course: Course
) -> None:
    """Let an optimizer look at the sizes, and at what else it will get."""
    check = getattr(optimizer.backend, "check", None)
    if check is not None:
        rows = source.representation
        check(
            n_obs=source.n_obs,
            n_components=n_components,
            n_features=0 if rows is None else rows.values.shape[1],
            arrays=source.arrays,
            has_fixed=source.fixed is not None,
            networks={role: network.backend for role, network in networks.items()},
            callbacks=course.handed_on,
        )


def _check_components(stages: Mapping[str, Choice], n_components: int) -> None:
    for stage in ("init", "objective", "optimizer"):
        choice = stages[stage]
        low, high = choice.capabilities.n_components
        if not low <= n_components <= high:
            can = f"{low} to {high}" if low < high else f"only {low}"
            backend = " and ".join([f"{stage}={choice.name!r}", *_differing(choice.params)])
            raise InputError(f"n_components={n_components} is not allowed with {backend}; it can do {can}")


def _differing(params: Any) -> list[str]:
    """Return the choices among parameters, numbers left out, that differ from their defaults."""
    if not dataclasses.is_dataclass(params):
        return []
    chosen = ((f.name, getattr(params, f.name), f.default) for f in dataclasses.fields(params))
    return [f"{name}={value!r}" for name, value, default in chosen if isinstance(value, str) and value != default]


def _check_labels(stages: Mapping[str, Choice], options: EmbedOptions, manager: Manager) -> None:
    """Raise where labels are given and no stage would make use of them."""
    able = (c.capabilities.supervised or "labels" in c.capabilities.inputs for c in stages.values())
    if options.labels is None or any(able):
        return
    graph = stages["graph"]
    graphs = [entry for entry in manager.entries() if entry.stage == "graph"]
    names = listing(manager.name_of(e) for e in graphs if e.spec.capabilities.supervised)  # type: ignore[union-attr]
    msg = f"labels={options.labels!r} is not allowed with graph={graph.name!r} ({graph.reason}), which cannot use them"
    raise InputError(f"{msg}; graphs that can are {names}: give one of these as graph, or leave labels out")


def _plain(params: Any) -> dict[str, Any]:
    if not dataclasses.is_dataclass(params) or isinstance(params, type):
        return {}
    values = {f.name: recordable(getattr(params, f.name)) for f in dataclasses.fields(params)}
    return {name: value for name, value in values.items() if _is_plain(value)}


def _is_plain(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_plain, value))
    return isinstance(value, bool | int | float | str)


def _shown(params: Any) -> str:
    """Return parameters as people read them; of many, those that are not as by default."""
    values, rest = _plain(params), tuple[str, ...]()
    if len(values) > MOST_SHOWN:
        defaults = {f.name: f.default for f in dataclasses.fields(params)}
        values, rest = {n: value for n, value in values.items() if value != defaults[n]}, ("the rest as by default",)
    return ", ".join([*(f"{name}={value}" for name, value in values.items()), *rest])
