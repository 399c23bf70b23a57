"""Runs a plan: the stages in order, each checked, nothing written."""

from __future__ import annotations

import dataclasses
import json
import logging
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib import metadata
from typing import Any, cast

import numpy as np

from vicinal.contract.data import Graph, Layout, Neighbors
from vicinal.contract.errors import InputError, StageError, VicinalError, listing
from vicinal.contract.functions import recordable
from vicinal.contract.network import FittedModel
from vicinal.contract.requests import GraphRequest, InitRequest, KnnRequest, OptimizeRequest, ScoreRequest
from vicinal.contract.seeds import child_seed, generator
from vicinal.contract.source import EmbedResult, LossHistory, Source
from vicinal.contract.stages import Optimization
from vicinal.plugin.manager import get_manager

from .checks import check_graph, check_layout, check_neighbors, check_scores
from .host import RunHost
from .identity import digests_of, identify, identify_graph
from .loss import LossProbe
from .metric import as_params, metric_reasons
from .neighborhoods import Metric, comparable, sampled_neighborhoods
from .plan import Choice, Plan
from .policy import EDGELESS
from .progress import progress
from .rows import RowOrder
from .tether import Tether, Tethered

LOSS_POINTS = 20
TOTAL = "loss"
"""Name of the sum among the losses that an optimizer reports itself."""
JITTER = 1e-4
N_SCORED_CELLS = 600
SCORED_NEIGHBORS = 50
FALLBACK_NEIGHBORS = 15

logger = logging.getLogger("vicinal")


class Run:
    """A map under way: everything before the optimisation is done, the epochs are taken by `step`.

    Parameters
    ----------
    keep
        Called with the run at each epoch that the plan has a checkpoint at.
    tether
        Cells that may not go far.

    Attributes
    ----------
    timings
        Seconds by stage so far.
    stopped_by
        Name of the callback that ended it.
    """

    def __init__(
        self,
        plan: Plan,
        source: Source,
        *,
        keep: Callable[[Run], object] | None = None,
        tether: Tether | None = None,
    ) -> None:
        self.plan, self._rows = plan, rows_in_order(plan, source)
        self.source = self._rows.sort(source)
        self.timings: dict[str, float] = {}
        self._host = RunHost(plan)
        self.graph = self._graph(self._neighbors())
        self._note_isolated()
        self._note_doubt()
        self.optimization = self._start(self._first_layout())
        if tether is not None:
            cells = self._rows.sort_rows(tether.cells)
            self.optimization = cast(Optimization, Tethered(self.optimization, cells, tether.radius))
        self._check_epochs()
        self._probe = None if self._own_losses else LossProbe(self.graph, self._objective, seed=self._seed("loss"))
        often = self.n_epochs if self._own_losses else LOSS_POINTS
        points = min(getattr(self.optimization, "loss_points", often), self.n_epochs)
        evenly = np.round(np.linspace(0, self.n_epochs, points + 1))
        self._loss_epochs = {*map(int, evenly), *plan.course.phase_ends}
        self._losses: dict[int, dict[str, float]] = {}
        self._phases: list[tuple[int, int, dict[str, Any]]] = []
        self._snapshots: dict[int, Layout] = {}
        self._keep, self._kept = keep, 0
        self._called_back = -1
        self.stopped_by: str | None = None
        self._record_loss()

    @property
    def n_epochs(self) -> int:
        """Epochs planned."""
        return int(self.optimization.n_epochs)

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return int(self.optimization.epoch)

    @property
    def layout(self) -> Layout:
        """The present layout, a copy, rows as they are stored."""
        return self._rows.unsort_rows(self.optimization.layout)

    @property
    def loss(self) -> LossHistory:
        """The objective's value so far."""
        epochs = sorted(self._losses)
        names = sorted({name for parts in self._losses.values() for name in parts} - {TOTAL})
        return LossHistory(
            epochs=np.array(epochs, dtype=np.int64),
            total=np.array([_total(self._losses[e]) for e in epochs]),
            parts={name: np.array([self._losses[e].get(name, np.nan) for e in epochs]) for name in names},
        )

    def step(self, n_epochs: int, **overrides: Any) -> None:
        """Take some epochs, pausing where something is recorded, kept or reported; a callback may end it sooner.

        The overrides go before those of the phases that the epochs are in.
        """
        last = self.epoch + n_epochs
        if last > self.n_epochs:
            msg = f"n_epochs={n_epochs} is not allowed: {self.n_epochs - self.epoch} of {self.n_epochs} epochs are left"
            raise InputError(msg)
        self._step_to(last, overrides)

    def _step_to(self, last: int, by_hand: Mapping[str, Any]) -> None:
        self.stopped_by = None
        self._pause()  # what is due at the first epoch, or was not done where the run was interrupted
        go_on = self._let_run if hasattr(self.optimization, "run") else self._take
        with progress(last - self.epoch, self.plan.method) as bar:
            for stop, overrides in self.plan.course.stretches(self.epoch, last):
                first, overrides = self.epoch, {**overrides, **by_hand}
                try:
                    go_on(stop, bar, overrides)
                finally:
                    self._note_phase(first, overrides)
                if self.stopped_by:
                    break

    def _take(self, last: int, bar: Any, overrides: Mapping[str, Any]) -> None:
        """Take the epochs up to one."""
        for stop in self._stops(last):
            first = self.epoch
            with guarded("optimizer", self.plan.stages["optimizer"], self.timings):
                self.optimization.step(stop - first, **overrides)
            bar.update(stop - first)
            self._note_phase(first, overrides)
            self._pause(last=stop == last)
            if self.stopped_by:
                break

    def _note_phase(self, first: int, overrides: Mapping[str, Any]) -> None:
        """Keep what was replaced since an epoch, as one with what was replaced before if it is the same."""
        if not overrides or self.epoch <= first:
            return
        start, stop, before = self._phases[-1] if self._phases else (first, first, {})
        if stop >= first and before == overrides:
            self._phases.pop()
            first = start
        self._phases.append((first, self.epoch, dict(overrides)))

    def _let_run(self, last: int, bar: Any, overrides: Mapping[str, Any]) -> None:
        """Take the epochs up to one with an optimizer that owns its loop."""
        stops, raised, since, first = {*self._stops(last)}, [], time.perf_counter(), self.epoch

        def pause() -> bool:
            nonlocal since
            self.timings["optimizer"] += time.perf_counter() - since
            self._note_phase(first, overrides)
            try:
                bar.update(1)
                if self.epoch in stops:
                    self._pause(last=self.epoch == last)
            except BaseException as error:  # noqa: BLE001  of a callback, say; it is raised when the optimizer has ended
                raised.append(error)
            since = time.perf_counter()
            return bool(raised) or self.stopped_by is not None

        if last > self.epoch and not self.stopped_by:
            with guarded("optimizer", self.plan.stages["optimizer"], {}):
                self.optimization.run(last - self.epoch, pause, **overrides)  # type: ignore[attr-defined]
            self.timings["optimizer"] += time.perf_counter() - since
        if raised:
            raise raised[0]
        if self.epoch < last and self.stopped_by is None:
            self.stopped_by = getattr(self.optimization, "stopped_by", None)
        self._pause(last=True)

    def complete(self) -> None:
        """Take the epochs that are left, unless a callback has ended the run."""
        if self.stopped_by is None:
            self.step(self.n_epochs - self.epoch)

    def _stops(self, last: int) -> list[int]:
        due = {*self._loss_epochs, *self.plan.course.snapshots, *self.plan.course.checkpoints(self.n_epochs)}
        within = sorted(epoch for epoch in due if self.epoch < epoch < last)
        return [] if self.stopped_by else [*within, last]

    def _pause(self, *, last: bool = False) -> None:
        """Do what is due at the present epoch and has not been done."""
        epoch, course = self.epoch, self.plan.course
        if (last or epoch in self._loss_epochs) and epoch not in self._losses:
            self._record_loss()
        if epoch in course.snapshots and epoch not in self._snapshots:
            self._snapshots[epoch] = self.optimization.layout.copy()
        if epoch in self._losses and epoch > self._called_back:
            self._call_back()
        if self._keep is not None and epoch in course.checkpoints(self.n_epochs) and epoch > self._kept:
            start = time.perf_counter()
            self._keep(self)
            self._kept = epoch
            self.timings["checkpoint"] = self.timings.get("checkpoint", 0.0) + time.perf_counter() - start

    def _call_back(self) -> None:
        epoch, loss = self.epoch, _total(self._losses[self.epoch])
        for callback in self.plan.course.callbacks:
            answer = callback(epoch, self.layout, loss)
            if isinstance(answer, bool | np.bool_) and answer:
                self.stopped_by = getattr(callback, "__name__", type(callback).__name__)
                logger.info("%s ended the optimisation at epoch %d of %d", self.stopped_by, epoch, self.n_epochs)
        self._called_back = epoch

    def finish(self, epoch: int | None = None) -> EmbedResult:
        """Check and score a layout, and return it with its provenance.

        Parameters
        ----------
        epoch
            That of a snapshot which is to be the map; None for the present layout.
        """
        if epoch is not None and epoch not in self._snapshots:
            raise InputError(f"layout_epoch={epoch} is not allowed; of this run are kept {listing(self._snapshots)}")
        found = self.optimization.layout if epoch is None else self._snapshots[epoch]
        layout = np.array(found, dtype=np.float32, order="C")
        self._require(check_layout(layout, self.plan.n_obs, self.plan.n_components), self.plan.stages["optimizer"])
        self._require(self._check_fixed(layout), self.plan.stages["optimizer"])
        announce("optimizer", self.plan.stages["optimizer"], self.timings["optimizer"])
        result = self._result(layout, self._score(layout), epoch)
        summary = {
            "params": result.params,
            "backends": result.backends,
            "timings": result.timings,
            "score": result.score,
        }
        get_manager().notify("vicinal_embed_finished", summary)
        return result

    def _check_fixed(self, layout: Layout) -> str:
        moved = 0 if self._pinned is None else int((layout[self.source.fixed] != self._pinned).any(axis=1).sum())
        return f"{moved} cells that are fixed were moved" if moved else ""

    def _neighbors(self) -> Neighbors | None:
        choice = self.plan.stages.get("knn")
        if choice is None:
            return None
        found = find_neighbors(choice, self.plan, self.source, self._timed)
        return self._rows.sort_neighbors(found) if "given_neighbors" in choice.capabilities.inputs else found

    def _graph(self, neighbors: Neighbors | None) -> Graph:
        return make_graph(self.plan.stages["graph"], self.plan, self.source, neighbors, self._timed)

    def _first_layout(self) -> Layout:
        choice = self.plan.stages["init"]
        request = InitRequest(
            graph=self.graph,
            n_components=self.plan.n_components,
            representation=self.source.representation.values if self.source.representation else None,
            arrays=self.source.arrays,
            seed=self._seed("init"),
            n_jobs=self.plan.n_jobs,
            host=self._host,
        )
        with self._timed("init", choice):
            layout = choice.backend.place(request)
        self._require(check_layout(layout, self.plan.n_obs, self.plan.n_components), choice)
        if choice.capabilities.final_scale:
            return layout.copy()
        # Coincident cells get no force from each other: a trace of noise lets them part.
        scale = getattr(self._objective, "jitter", JITTER)
        noise = generator(self._seed("jitter")).normal(scale=scale, size=layout.shape)
        return (self._objective.rescale(layout) + noise).astype(np.float32)

    def _start(self, layout: Layout) -> Optimization:
        choice = self.plan.stages["optimizer"]
        self._pinned = None if self.source.fixed is None else layout[self.source.fixed]
        request = OptimizeRequest(
            graph=self.graph,
            layout=layout,
            objective=self._objective,
            representation=self.source.representation.values if self.source.representation else None,
            labels=self.source.labels,
            fixed=self.source.fixed,
            seed=self._seed("optimizer"),
            n_jobs=self.plan.n_jobs,
            forms=self.plan.stages["objective"].capabilities.forms,
            arrays=self.source.arrays,
            networks={role: network.backend for role, network in self.plan.networks.items()},
            callbacks=self.plan.course.handed_on,
            host=self._host,
        )
        with guarded("optimizer", choice, self.timings):
            return choice.backend.start(request)

    def _check_epochs(self) -> None:
        """Raise where an optimizer that is led through phases takes another number of epochs than these."""
        ends = self.plan.course.phase_ends
        if ends and ends[-1] != self.n_epochs:
            choice = self.plan.stages["optimizer"]
            problem = f"takes {self.n_epochs} epochs, but its phases have {ends[-1]} in all"
            raise StageError(choice.stage, choice.full_name, problem)

    def _score(self, layout: Layout) -> dict[str, float]:
        scores: dict[str, float] = {}
        if not self.plan.scores:
            return scores
        start = time.perf_counter()
        assert self.source.representation is not None
        try:
            request = score_request(
                self.source.representation.values,
                comparable(layout, effective(self.plan.stages["objective"]).get("output_metric")),
                metric=Metric(self.plan.metric, self.plan.metric_kwds, self.plan.metric_function),
                labels=self.source.labels,
                seed=self._seed("score"),
                n_jobs=self.plan.n_jobs,
            )
        except ValueError as error:  # stored neighbours may be of a metric that these rows cannot be compared by
            logger.warning("No scores are taken: %s", error)
            return scores
        for choice in self.plan.scores:
            scores |= measure(choice, request)
        self.timings["score"] = time.perf_counter() - start
        return scores

    def _result(self, layout: Layout, scores: Mapping[str, float], layout_epoch: int | None) -> EmbedResult:
        plan, provenance = self.plan, self.provenance()
        params = provenance["params"]
        if self.epoch < self.n_epochs:
            params |= {"n_epochs": self.epoch, "n_epochs_planned": self.n_epochs, "stopped_by": self.stopped_by}
        if layout_epoch is not None:
            params |= {"layout_epoch": layout_epoch}
        if self._phases:
            params |= {"phases": json.dumps(self._phases, default=float)}
        fitted = self._fitted()
        reusable = {
            "kind": "landmarks" if fitted is None else "network",
            "fitted": fitted,
            "method": plan.method,
            **provenance,
            "representation": self._representation_record(),
            "metric": plan.metric,
            "metric_kwds": plan.metric_kwds,
            "n_neighbors": plan.n_neighbors or min(FALLBACK_NEIGHBORS, plan.n_obs),
            "placement": dict(getattr(self._objective, "placement", {})),
            "rows": None if self.source.representation is None else self.source.representation.values,
        }
        return EmbedResult(
            layout=self._rows.unsort_rows(layout),
            params=params,
            loss=self.loss,
            backends=provenance["backends"],
            reasons=provenance["reasons"],
            timings={**self.timings, "total": sum(self.timings.values())},
            score=scores,
            reusable=reusable,
            inputs=digests_of(plan, self.source, self._rows),
            kept={name: self._rows.unsort_rows(values) for name, values in self._host.kept.items()},
            snapshots={epoch: self._rows.unsort_rows(kept) for epoch, kept in self._snapshots.items()}
            if plan.course.snapshots
            else None,
        )

    def _fitted(self) -> FittedModel | None:
        """Return what the optimizer learned besides the layout, its networks with the names of their builders."""
        fitted = getattr(self.optimization, "model", lambda: None)()
        if fitted is None:
            return None
        named = {
            role: dataclasses.replace(network, builder=choice.full_name, params=_params_of(choice))
            for role, network in fitted.networks.items()
            if (choice := self.plan.networks.get(role)) is not None
        }
        return dataclasses.replace(fitted, **named)

    def provenance(self) -> dict[str, dict[str, Any]]:
        """Return the effective parameters, the backends and the versions of this run."""
        plan = self.plan
        n_fixed = None if self.source.fixed is None else int(self.source.fixed.sum())
        return {
            "params": {**flat_params(plan), "n_fixed": n_fixed, "n_epochs": self.n_epochs, **self._merged()},
            "backends": {stage: choice.full_name for stage, choice in plan.stages.items()},
            "reasons": {
                **{stage: choice.reason for stage, choice in plan.stages.items()},
                **({"score": self.source.doubt} if self.source.doubt else {}),
                **metric_reasons(plan.metric, self.source),
            },
            "versions": versions_of(plan),
        }

    def _merged(self) -> dict[str, int]:
        rows = self.source.representation
        return {} if rows is None or not rows.n_merged else {"n_rows_merged": rows.n_merged}

    @property
    def repeats(self) -> bool:
        """Whether the same data and arguments give the same graph each time."""
        made_by = [self.plan.stages[stage] for stage in ("knn", "graph") if stage in self.plan.stages]
        return all(choice.capabilities.deterministic for choice in made_by)

    @cached_property
    def identity(self) -> dict[str, str]:
        """Digests of what the run was started with: ``arguments`` and ``graph``."""
        arguments = identify(self.plan, self.provenance()["params"], self.source)
        return {"arguments": arguments, "graph": identify_graph(self.graph)}

    def history(self) -> dict[str, Any]:
        """Return where the run is and what it has recorded, but for its arrays, as plain data."""
        return {
            "epoch": self.epoch,
            "losses": {str(epoch): parts for epoch, parts in self._losses.items()},
            "called_back": self._called_back,
            "stopped_by": self.stopped_by,
            "phases": self._phases,
            "seconds": {stage: self.timings[stage] for stage in ("optimizer", "loss")},
        }

    @property
    def snapshots(self) -> dict[int, Layout]:
        """Layouts by epoch, rows as they are worked on."""
        return dict(self._snapshots)

    def restore(
        self, history: Mapping[str, Any], state: Mapping[str, np.ndarray], snapshots: Mapping[int, Layout]
    ) -> None:
        """Go to where another run of the same plan was."""
        losses = {int(at): {n: float(part) for n, part in parts.items()} for at, parts in history["losses"].items()}
        called_back, stopped_by, seconds = int(history["called_back"]), history["stopped_by"], dict(history["seconds"])
        self.optimization.restore(state, int(history["epoch"]))
        self._losses, self._snapshots, self._kept = losses, dict(snapshots), self.epoch
        self._called_back, self.stopped_by = called_back, stopped_by
        self._phases = [
            (int(start), int(stop), dict(overrides)) for start, stop, overrides in history.get("phases", ())
        ]
        for stage, spent in seconds.items():
            self.timings[stage] = self.timings.get(stage, 0.0) + float(spent)

    def _representation_record(self) -> dict[str, Any] | None:
        found = self.source.representation
        if found is None or (self.source.doubt and self._fitted() is None):
            return None
        return found.record

    def _record_loss(self) -> None:
        start = time.perf_counter()
        if self._probe is None:
            losses = self.optimization.losses()  # type: ignore[attr-defined]
            self._losses[self.epoch] = {name: float(value) for name, value in losses.items()}
        else:
            self._losses[self.epoch] = self._probe.evaluate(self.optimization.layout)
        self.timings["loss"] = self.timings.get("loss", 0.0) + time.perf_counter() - start

    def _note_isolated(self) -> None:
        isolated = int((np.diff(self.graph.indptr) == 0).sum())
        if isolated and self.plan.n_obs > 1 and self.plan.stages["graph"].name != EDGELESS:
            logger.warning(
                "%d of %d cells have no neighbour in the graph; they stay where they start", isolated, self.plan.n_obs
            )

    def _note_doubt(self) -> None:
        if self.source.doubt:
            doubt = self.source.doubt[0].upper() + self.source.doubt[1:]
            logger.warning(
                "%s. So the map gets no scores and places no new cells; give use_rep= for one that does", doubt
            )

    @property
    def _own_losses(self) -> bool:
        return hasattr(self.optimization, "losses")

    @property
    def _objective(self) -> Any:
        return self.plan.stages["objective"].backend

    def _seed(self, stage: str) -> int:
        return child_seed(self.plan.random_state, stage)

    def _timed(self, stage: str, choice: Choice) -> Any:
        return timed(stage, choice, self.timings)

    @staticmethod
    def _require(problem: str, choice: Choice) -> None:
        require(problem, choice)


def rows_in_order(plan: Plan, source: Source) -> RowOrder:
    """Return the order in which a run works on its rows."""
    # An object of the user's may know the cells in the order they are stored in.
    by_name = not any(choice.is_object for choice in plan.stages.values())
    return RowOrder(source.names if by_name else None)


def find_neighbors(choice: Choice, plan: Any, source: Source, timer: Any) -> Neighbors:
    """Run the knn stage of a plan."""
    k = plan.n_neighbors - 1
    request = KnnRequest(
        representation=source.representation.values if source.representation else None,
        k=k,
        n_obs=source.n_obs,
        metric=plan.metric,
        metric_function=plan.metric_function,
        metric_kwds=plan.metric_kwds,
        seed=child_seed(plan.random_state, "knn"),
        n_jobs=plan.n_jobs,
    )
    with timer("knn", choice):
        neighbors = choice.backend.build(request).neighbors()
    require(check_neighbors(neighbors, source.n_obs, max(k, getattr(neighbors, "k", 0))), choice)
    return neighbors.nearest(k) if neighbors.k > k else neighbors


def make_graph(choice: Choice, plan: Any, source: Source, neighbors: Neighbors | None, timer: Any) -> Graph:
    """Run the graph stage of a plan."""
    request = GraphRequest(
        n_obs=source.n_obs,
        neighbors=neighbors,
        stored=source.stored.graph if source.stored else None,
        labels=source.labels,
        seed=child_seed(plan.random_state, "graph"),
        n_jobs=plan.n_jobs,
    )
    with timer("graph", choice):
        graph = choice.backend.build(request)
    require(check_graph(graph, source.n_obs), choice)
    return graph


def score_request(
    representation: np.ndarray,
    layout: Layout,
    *,
    metric: Metric,
    seed: int,
    n_jobs: int,
    labels: np.ndarray | None = None,
    n_sample: int = N_SCORED_CELLS,
) -> ScoreRequest:
    """Find the sampled cells' exact neighbours in representation and layout, for all scores at once."""
    sample, near, near_in_layout, ranks = sampled_neighborhoods(
        representation, layout, metric=metric, n_sample=n_sample, k=SCORED_NEIGHBORS, seed=seed, n_jobs=n_jobs
    )
    return ScoreRequest(
        representation=representation,
        layout=layout,
        sample=sample,
        representation_neighbors=near,
        layout_neighbors=near_in_layout,
        layout_ranks=ranks,
        labels=labels,
        seed=seed,
    )


def measure(choice: Choice, request: ScoreRequest) -> dict[str, float]:
    """Run one score backend."""
    with timed("score", choice, {}):
        found = choice.backend.measure(request)
    require(check_scores(found), choice)
    return {name: float(value) for name, value in found.items()}


@contextmanager
def timed(stage: str, choice: Choice, timings: dict[str, float]) -> Iterator[None]:
    """Run a stage as `guarded` does, and tell observers when it is finished."""
    before = timings.get(stage, 0.0)
    with guarded(stage, choice, timings):
        yield
    announce(stage, choice, timings[stage] - before)


@contextmanager
def guarded(stage: str, choice: Choice, timings: dict[str, float]) -> Iterator[None]:
    """Add a stage's seconds, and give its failures the stage's name."""
    start = time.perf_counter()
    try:
        yield
    except (VicinalError, KeyboardInterrupt, GeneratorExit):  # the last: interrupted as it is entered or left
        raise
    except BaseException as error:  # SystemExit, a Rust panic: a backend may fail in any way; say which one did
        raise StageError(stage, choice.full_name, f"{type(error).__name__}: {error}") from error
    timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - start


def announce(stage: str, choice: Choice, seconds: float) -> None:
    """Tell the log and the plugins that a stage is finished."""
    logger.debug("%s by %s: %.3f s", stage, choice.full_name, seconds)
    get_manager().notify("vicinal_stage_finished", {"stage": stage, "backend": choice.full_name, "seconds": seconds})


def require(problem: str, choice: Choice) -> None:
    """Raise `StageError` if a check found a problem."""
    if problem:
        raise StageError(choice.stage, choice.full_name, problem)


def _what_decides(plan: Plan) -> dict[str, Any]:
    """Return a plan as plain data, but for what its result does not depend on."""
    kept = {name: value for name, value in plan.to_dict().items() if name not in ("n_jobs", "forecast")}
    return {**kept, "sub_plans": [_what_decides(sub) for sub in plan.sub_plans]}


def _params_of(choice: Choice) -> dict[str, Any]:
    is_given = dataclasses.is_dataclass(choice.params) and not isinstance(choice.params, type)
    return dataclasses.asdict(choice.params) if is_given else {}


def _total(losses: Mapping[str, float]) -> float:
    return losses[TOTAL] if TOTAL in losses else sum(losses.values())


def flat_params(plan: Plan) -> dict[str, Any]:
    """Return the effective parameters of a plan by name, ``stage__name`` where two stages share one."""
    params: dict[str, Any] = {
        "method": plan.method,
        "n_components": plan.n_components,
        "n_neighbors": plan.n_neighbors,
        "metric": plan.metric,
        "random_state": plan.random_state,
        "use_rep": plan.representation,
        "n_pcs": plan.n_pcs,
        "neighbors_key": plan.neighbors_key,
        "labels": plan.labels,
    }
    params |= as_params(plan.metric_kwds)
    for choice in plan.stages.values():
        for name, value in effective(choice).items():
            params[name if name not in params else f"{choice.stage}__{name}"] = value
    for role, choice in plan.networks.items():
        params |= {f"{role}__{name}": value for name, value in effective(choice).items()}
    if plan.sub_plans:
        params["sub_plans"] = json.dumps([_what_decides(sub) for sub in plan.sub_plans], sort_keys=True)
    return params


def effective(choice: Choice) -> dict[str, Any]:
    """Return a backend's scalar parameters, those it worked out itself in place of None."""
    if not dataclasses.is_dataclass(choice.params):
        return {}
    values = {
        f.name: recordable(getattr(choice.backend, f.name, getattr(choice.params, f.name)))
        for f in dataclasses.fields(choice.params)
    }
    return {name: value for name, value in values.items() if is_scalar(value)}


def is_scalar(value: object) -> bool:
    """Tell whether a value is of the kinds that are recorded as they are."""
    return isinstance(value, bool | int | float | str)


def versions_of(plan: Plan) -> dict[str, str]:
    """Return the versions of the distributions that take part in a plan."""
    distributions = {choice.distribution for choice in (*plan.stages.values(), *plan.networks.values())}
    names = {"vicinal", "anndata", "numpy", "scipy", "numba"} | distributions
    found = {}
    for name in sorted(names):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def check_step(n_epochs: object) -> None:
    """Raise `InputError` unless given a number of epochs."""
    if not isinstance(n_epochs, int | np.integer) or isinstance(n_epochs, bool) or n_epochs < 0:
        raise InputError(f"n_epochs={n_epochs!r} is not allowed; give how many epochs to take, 0 or more")
