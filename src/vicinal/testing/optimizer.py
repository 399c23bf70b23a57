"""What every optimizer must do."""

# ruff: noqa: D102  the name of a check says what it checks

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import pytest

from vicinal.contract.data import Graph, Layout
from vicinal.contract.requests import OptimizeRequest
from vicinal.contract.spec import BackendSpec
from vicinal.contract.stages import Objective, Optimization
from vicinal.pipeline.checks import check_layout
from vicinal.plugin.manager import get_manager

from .base import SMALL, Conformance, unless_refused
from .data import blobs, normal_layout, read_only, ring_graph


class OptimizerConformance(Conformance):
    """Checks of an optimizer.

    Attributes
    ----------
    n_obs
        Cells on the ring it lays out.
    n_epochs
        Epochs it is run for; its parameters must plan at least as many.
    override_values
        Values to try of what it says can be replaced on the way; 0.5 for those that are not here.
    """

    stage: ClassVar[str] = "optimizer"
    n_obs: ClassVar[int] = 60
    n_epochs: ClassVar[int] = 30
    override_values: ClassVar[Mapping[str, Any]] = {}

    def make_objective(self) -> Objective:
        """Return an objective it can optimise: by default the first one installed that shares a form with it."""
        manager = get_manager()
        for entry in manager.entries():
            if isinstance(entry.spec, BackendSpec) and _share_a_form(entry.spec, self.spec):
                return manager.load(entry)(entry.spec.params())
        msg = f"no objective offers a form of {self.spec.name!r}; override make_objective"
        raise LookupError(msg)

    def request(self, graph: Graph | None = None, **changes: Any) -> OptimizeRequest:
        """Return a request for a ring from a random layout, with some fields replaced."""
        graph = ring_graph(self.n_obs) if graph is None else graph
        objective = self.make_objective()
        n_components = max(2, self.spec.capabilities.n_components[0])
        fields = {
            "layout": read_only(objective.rescale(normal_layout(graph.n_obs, n_components))),
            "representation": blobs(graph.n_obs)[0],
        }
        return OptimizeRequest(graph=graph, objective=objective, **{**fields, "forms": forms_of(objective), **changes})

    def start(self, request: OptimizeRequest) -> Optimization:
        """Return an optimisation that has not moved yet."""
        return self.make_backend().start(request)

    def finished(self, request: OptimizeRequest) -> Layout:
        """Return the layout after `n_epochs`."""
        optimization = self.start(request)
        optimization.step(self.n_epochs)
        return optimization.layout

    def exercise(self) -> Any:
        """Lay out a ring."""
        return self.finished(self.request())

    def test_layout_is_well_formed(self) -> None:
        problem = check_layout(self.exercise(), self.n_obs, max(2, self.spec.capabilities.n_components[0]))
        assert not problem, problem

    def test_consumes_a_form(self) -> None:
        assert self.spec.capabilities.forms, "an optimizer that consumes no form fits no objective"

    def test_every_number_of_dimensions(self) -> None:
        low, high = self.spec.capabilities.n_components
        for n_components in sorted({low, *range(max(low, 1), min(high, 3) + 1), high}):
            layout = read_only(10 * normal_layout(self.n_obs, n_components))
            problem = check_layout(self.finished(self.request(layout=layout)), self.n_obs, n_components)
            assert not problem, problem

    def test_loss_falls(self) -> None:
        request = self.request()
        before, after = (expected_loss(request, layout) for layout in (request.layout, self.finished(request)))
        assert after < before, f"the loss was {before:.4g} and is {after:.4g}"

    def test_no_epoch_moves_nothing(self) -> None:
        request = self.request()
        optimization = self.start(request)
        np.testing.assert_array_equal(optimization.layout, request.layout)
        optimization.step(0)
        np.testing.assert_array_equal(optimization.layout, request.layout)
        assert optimization.epoch == 0

    def test_counts_its_epochs(self) -> None:
        optimization = self.start(self.request())
        assert optimization.epoch == 0
        assert optimization.n_epochs >= self.n_epochs, "its parameters plan too few epochs for this check"
        for done in (1, 4):
            optimization.step(done - optimization.epoch)
            assert optimization.epoch == done

    def test_steps_add_up(self) -> None:
        optimization = self.start(self.request())
        for n_epochs in (1, 2, self.n_epochs - 3):
            optimization.step(n_epochs)
        np.testing.assert_array_equal(optimization.layout, self.exercise())

    def test_takes_its_overrides(self) -> None:
        backend, request = self.make_backend(), self.request()
        names = _overrides_of(backend, request)
        if not names:
            pytest.skip("takes no overrides")
        optimization = backend.start(request)
        for epoch, name in enumerate(names, start=1):
            value = self.override_values.get(name, 0.5)
            getattr(backend, "check_overrides", lambda overrides: None)({name: value})
            optimization.step(1, **{name: value})
            assert optimization.epoch == epoch
        assert np.isfinite(optimization.layout).all()
        unless_refused(lambda: optimization.step(1, no_such_parameter=0.5))
        assert optimization.epoch == len(names), "it took a step with a parameter that it does not know"

    def test_schedule_is_of_its_epochs(self) -> None:
        backend, request = self.make_backend(), self.request()
        if not hasattr(backend, "schedule"):
            pytest.skip("has no schedule")
        phases, names = backend.schedule(self.n_obs), _overrides_of(backend, request)
        assert sum(phase["n"] for phase in phases) == backend.start(request).n_epochs
        unknown = {name for phase in phases for name in phase} - {"n", *names}
        assert not unknown, f"its step does not take {unknown}"

    def test_resumes_where_it_was(self) -> None:
        first, second = (self.start(self.request()) for _ in range(2))
        first.step(7)
        second.restore(_through_a_file(first.state()), first.epoch)
        assert second.epoch == 7
        np.testing.assert_array_equal(second.layout, first.layout)
        for optimization in (first, second):
            optimization.step(self.n_epochs - 7)
        np.testing.assert_array_equal(second.layout, first.layout)

    def test_fixed_cells_stay(self) -> None:
        fixed = read_only(np.arange(self.n_obs) % 3 == 0)
        request = self.request(fixed=fixed)
        layout = self.finished(request)
        np.testing.assert_array_equal(layout[fixed], request.layout[fixed])
        assert (layout[~fixed] != request.layout[~fixed]).any(axis=1).all(), "the others must move"

    def test_nothing_moves_where_all_is_fixed(self) -> None:
        request = self.request(fixed=read_only(np.ones(self.n_obs, dtype=bool)))
        np.testing.assert_array_equal(self.finished(request), request.layout)

    def test_same_seed_gives_the_same_layout(self) -> None:
        np.testing.assert_array_equal(self.exercise(), self.exercise())

    def test_threads_do_not_change_the_layout(self) -> None:
        if not self.spec.capabilities.deterministic:
            pytest.skip("not declared deterministic")
        one, two = (self.finished(self.request(n_jobs=n_jobs)) for n_jobs in (1, 2))
        np.testing.assert_array_equal(one, two)

    def test_coincident_cells(self) -> None:
        layout = read_only(np.zeros((self.n_obs, max(2, self.spec.capabilities.n_components[0])), dtype=np.float32))
        assert np.isfinite(self.finished(self.request(layout=layout))).all()

    def test_disconnected_graph_and_isolated_cells(self) -> None:
        for graph in (ring_graph(self.n_obs, n_rings=4), ring_graph(self.n_obs, n_rings=self.n_obs)):
            assert np.isfinite(self.finished(self.request(graph))).all()

    def test_few_cells(self) -> None:
        for n_obs in SMALL:
            graph = ring_graph(n_obs)
            layout = unless_refused(lambda graph=graph: self.finished(self.request(graph)))  # type: ignore[misc]
            assert layout is None or np.isfinite(layout).all()


def expected_loss(request: OptimizeRequest, layout: Layout) -> float:
    """Return the loss over all pairs: that of a `NormalizedForm`, else what negative sampling has in expectation.

    There each use of an edge draws ``negative_sample_rate`` cells, so a cell repels every other one in proportion to
    the weight of its own edges.
    """
    graph, objective = request.graph, request.objective
    difference = layout[:, None, :].astype(np.float64) - layout[None, :, :]
    squared = (difference**2).sum(axis=2)
    weights = graph.to_scipy().toarray().astype(np.float64)
    if "normalized" in request.forms:
        return normalized_loss(objective, squared, weights)
    per_pair = weights.sum(axis=1, keepdims=True) * objective.negative_sample_rate / graph.n_obs
    others = ~np.eye(graph.n_obs, dtype=bool)
    attraction = (weights * objective.attraction(squared))[others].sum()
    return float(attraction + (per_pair * objective.repulsion(squared))[others].sum())


def normalized_loss(objective: Objective, squared: np.ndarray, weights: np.ndarray) -> float:
    """Return the divergence of weights over their sum from the kernel over its sum, from squared distances."""
    affinities = weights / (weights.sum() or 1)
    present, others = affinities > 0, ~np.eye(len(weights), dtype=bool)
    pulled = affinities[present] * (np.log(affinities[present]) + objective.attraction(squared[present]))
    return float(pulled.sum() + np.log(objective.repulsion(squared[others]).sum()))


def _overrides_of(backend: Any, request: OptimizeRequest) -> tuple[str, ...]:
    names = getattr(backend, "overrides", ())
    return getattr(backend, "overrides_for", lambda objective, forms: names)(request.objective, request.forms)


def forms_of(objective: Any) -> tuple[str, ...]:
    """Return the forms an objective says it offers, itself or in its spec."""
    own = getattr(objective, "capabilities", None)
    if own is not None:
        return own.forms
    for entry in get_manager().entries():
        if isinstance(entry.spec, BackendSpec) and entry.spec.target == _target_of(objective):
            return entry.spec.capabilities.forms
    return ("kernel",)


def _target_of(objective: Any) -> str:
    return f"{type(objective).__module__}:{type(objective).__qualname__}"


def _share_a_form(objective: BackendSpec, optimizer: BackendSpec) -> bool:
    return objective.stage == "objective" and bool({*objective.capabilities.forms} & {*optimizer.capabilities.forms})


def _through_a_file(state: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return the state as another process would find it: plain arrays, no pickle."""
    file, arrays = io.BytesIO(), dict[str, Any](state)
    np.savez(file, **arrays)
    file.seek(0)
    with np.load(file, allow_pickle=False) as stored:
        return {name: stored[name] for name in stored.files}
