"""The conformance kit must pass a sound backend and fail each unsound one, by the check meant for it."""

from __future__ import annotations

import dataclasses
import inspect
import random
import sys
from types import ModuleType

import numpy as np
import pytest
from numba import njit

from vicinal.api import (
    BackendSpec,
    Capabilities,
    CoefficientForm,
    Graph,
    InputError,
    KernelForm,
    MetricForm,
    Neighbors,
    TorchForm,
)
from vicinal.testing import (
    CONFORMANCE,
    KnnConformance,
    brute_force,
    knn_graph,
)
from vicinal.testing.data import all_distances

CAPABILITIES = {
    "knn": Capabilities(inputs=("representation",), deterministic=True, out_of_sample=True),
    "graph": Capabilities(inputs=("neighbors",), deterministic=True),
    "init": Capabilities(deterministic=True),
    "objective": Capabilities(forms=("kernel",), deterministic=True),
    "optimizer": Capabilities(forms=("kernel",), deterministic=True, n_components=(1, 3)),
    "score": Capabilities(deterministic=True),
    "network": Capabilities(),
}


@pytest.fixture
def failures(monkeypatch, capfd):
    """Return the names of the checks a backend class fails."""

    def run(stage, backend, **attributes):
        module = ModuleType("backend_under_test")
        module.Backend = backend
        monkeypatch.setitem(sys.modules, module.__name__, module)
        spec = BackendSpec(
            api_version=1,
            stage=stage,
            name="under_test",
            target="backend_under_test:Backend",
            capabilities=attributes.pop("capabilities", CAPABILITIES[stage]),
        )
        tested = type("Tested", (CONFORMANCE[stage],), {"spec": spec, **attributes})()
        checks = [name for name in dir(tested) if name.startswith("test_") and getattr(tested, name)]
        return {name for name in checks if fails(getattr(tested, name), capfd)}

    return run


def fails(check, capfd):
    try:
        check(**({"capfd": capfd} if "capfd" in inspect.signature(check).parameters else {}))
    except pytest.skip.Exception:
        return False
    except Exception:  # noqa: BLE001  a check that stumbles over a bad backend has failed too
        return True
    return False


class Backend:
    def __init__(self, params):
        self.params = params


class SoundKnn(Backend):
    def build(self, request):
        self.rows, self.request = request.representation, request
        return self

    def neighbors(self):
        return brute_force(self.rows, self.request.k, self.request.metric)

    def query(self, rows, k):
        distances = all_distances(rows, self.rows)
        indices = np.argsort(distances, axis=1)[:, :k]
        found = np.take_along_axis(distances, indices, axis=1)
        return Neighbors(indices=indices.astype(np.int32), distances=found.astype(np.float32))


def knn_with(change):
    class Changed(SoundKnn):
        def neighbors(self):
            table = super().neighbors()
            indices, distances = change(table.indices.copy(), table.distances.copy(), self.request)
            return Neighbors(indices=indices, distances=distances)

    return Changed


def includes_self(indices, distances, request):
    own = np.arange(len(indices), dtype=np.int32)
    return np.c_[own, indices[:, :-1]], np.c_[np.zeros(len(own), np.float32), distances[:, :-1]]


def draws_from_global(indices, distances, request):
    np.random.random()
    return indices, distances


def draws_from_python(indices, distances, request):
    random.random()
    return indices, distances


def prints(indices, distances, request):
    print("building")
    return indices, distances


def writes_to_its_input(indices, distances, request):
    request.representation[0] = 0
    return indices, distances


def differs_by_call(indices, distances, request, seen=[0]):  # noqa: B006
    seen[0] += 1
    return indices, (distances * (1 + 1e-6 * seen[0])).astype(np.float32)


def differs_by_threads(indices, distances, request):
    return indices, (distances * (1 + 1e-6 * request.n_jobs)).astype(np.float32)


def misses_some(indices, distances, request):
    return indices[:, ::2].copy(), distances[:, ::2].copy()


def refuses_few(indices, distances, request):
    if len(indices) < 5:
        raise ZeroDivisionError
    return indices, distances


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (includes_self, "test_table_is_well_formed"),
        (lambda i, d, r: (i[:, ::-1].copy(), d[:, ::-1].copy()), "test_table_is_well_formed"),
        (lambda i, d, r: (i.astype(np.int64), d), "test_table_is_well_formed"),
        (lambda i, d, r: (i, d.astype(np.float64)), "test_table_is_well_formed"),
        (lambda i, d, r: (np.where(i == 5, np.int32(-1), i), d), "test_table_is_well_formed"),
        (lambda i, d, r: (np.repeat(i[:, :1], i.shape[1], axis=1), d), "test_table_is_well_formed"),
        (lambda i, d, r: (i, d**2), "test_distances_are_those_of_the_metric"),
        (misses_some, "test_finds_the_true_neighbors"),
        (draws_from_global, "test_leaves_no_trace"),
        (draws_from_python, "test_leaves_no_trace"),
        (prints, "test_leaves_no_trace"),
        (writes_to_its_input, "test_leaves_no_trace"),
        (differs_by_call, "test_same_seed_gives_the_same_table"),
        (differs_by_threads, "test_threads_do_not_change_the_table"),
        (refuses_few, "test_few_points"),
    ],
)
def test_unsound_knn_is_caught(failures, change, check):
    assert check in failures("knn", knn_with(change))


def test_sound_knn_passes(failures):
    assert failures("knn", SoundKnn, metrics=("euclidean", "cosine", "manhattan")) == set()


def test_approximate_knn_passes_with_the_recall_it_promises(failures):
    assert failures("knn", knn_with(misses_some), recall=0.5) == set()


def test_input_error_is_an_answer_to_few_points(failures):
    def refuse(indices, distances, request):
        if len(indices) < 5:
            raise InputError("at least 5 cells are needed")
        return indices, distances

    assert failures("knn", knn_with(refuse)) == set()


def test_query_that_leaves_the_row_out_is_caught(failures):
    class Changed(SoundKnn):
        def query(self, rows, k):
            found = super().query(rows, k + 1)
            return Neighbors(indices=found.indices[:, 1:], distances=found.distances[:, 1:])

    assert "test_query_of_the_reference_rows_finds_them" in failures("knn", Changed)


def test_undeclared_metric_is_caught(failures):
    capabilities = dataclasses.replace(CAPABILITIES["knn"], metrics=("euclidean",))
    assert "test_every_metric_checked_is_declared" in failures(
        "knn", SoundKnn, metrics=("cosine",), capabilities=capabilities
    )


def test_wrong_stage_is_caught():
    class Misplaced(KnnConformance):
        spec = BackendSpec(api_version=1, stage="graph", name="g", target="m:C")

        def make_backend(self):
            return SoundKnn(None)

    with pytest.raises(AssertionError, match="tests a knn, not a graph"):
        Misplaced().test_spec_is_admitted()


class SoundGraph(Backend):
    def build(self, request):
        return knn_graph(request.neighbors)


def graph_with(change):
    class Changed(SoundGraph):
        def build(self, request):
            return Graph.from_scipy(change(super().build(request).to_scipy().copy(), request).tocsr())

    return Changed


def one_way(matrix, request):
    matrix.data[0] *= 0.5
    return matrix


def joins_strangers(matrix, request):
    far = np.argmax(np.abs(np.arange(matrix.shape[0]) - matrix.shape[0] // 2))
    dense = matrix.toarray()
    stranger = np.flatnonzero(dense[far] == 0)[-2]
    dense[far, stranger] = dense[stranger, far] = 0.5
    return type(matrix)(dense)


def loses_a_cell(matrix, request):
    keep = np.ones(matrix.shape[0])
    keep[3] = 0
    return matrix.multiply(keep[:, None]).multiply(keep[None, :])


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (one_way, "test_graph_is_well_formed"),
        (lambda m, r: m * 2, "test_graph_is_well_formed"),
        (lambda m, r: m * np.nan, "test_graph_is_well_formed"),
        (joins_strangers, "test_edges_join_neighbors_only"),
        (loses_a_cell, "test_every_cell_with_neighbors_has_an_edge"),
    ],
)
def test_unsound_graph_is_caught(failures, change, check):
    assert check in failures("graph", graph_with(change))


def test_graph_with_edges_to_itself_is_caught(failures):
    class Changed(SoundGraph):
        def build(self, request):
            n = request.n_obs
            order = np.arange(n, dtype=np.int32)
            return Graph(indptr=np.arange(n + 1, dtype=np.int32), indices=order, weights=np.ones(n, np.float32))

    assert "test_graph_is_well_formed" in failures("graph", Changed)


def test_unsorted_graph_is_caught(failures):
    class Changed(SoundGraph):
        def build(self, request):
            graph = super().build(request)
            back = np.concatenate(
                [np.arange(b, a, -1) - 1 for a, b in zip(graph.indptr, graph.indptr[1:], strict=False)]
            )
            return dataclasses.replace(graph, indices=graph.indices[back], weights=graph.weights[back])

    assert "test_graph_is_well_formed" in failures("graph", Changed)


def test_sound_graph_passes(failures):
    assert failures("graph", SoundGraph) == set()


SUPERVISED = dataclasses.replace(CAPABILITIES["graph"], supervised=True)


def labelled(factor):
    """Return a graph backend that multiplies the weights between two labels."""

    def weigh(matrix, request):
        if request.labels is not None:
            codes = request.labels
            owners = np.repeat(codes, np.diff(matrix.indptr))
            matrix.data *= factor(owners, codes[matrix.indices], request).astype(np.float32)
        return matrix

    return graph_with(weigh)


def test_sound_graph_that_uses_labels_passes(failures):
    sound = labelled(lambda a, b, r: np.where((a == b) | (a < 0) | (b < 0), 1, 0.5))
    assert failures("graph", sound, capabilities=SUPERVISED) == set()


@pytest.mark.parametrize(
    ("factor", "check"),
    [
        (lambda a, b, r: np.ones(len(a)), "test_labels_part_cells"),
        (lambda a, b, r: np.where(a == b, 0.5, 1), "test_labels_part_cells"),
        (lambda a, b, r: np.where(a == b, 1.5, 1), "test_labels_part_cells"),
        (lambda a, b, r: np.where(a == b, 1, 0.5) / (r.labels.min() + 1), "test_labels_may_be_unknown_or_all_the_same"),
        (lambda a, b, r: 1 / (1 + np.maximum(a, b)), "test_only_which_labels_are_equal_matters"),
        (lambda a, b, r: np.where(a == b, 1, 0.5 / r.n_jobs), "test_threads_do_not_change_the_labelled_graph"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_graph_that_uses_labels_unsoundly_is_caught(failures, factor, check):
    assert check in failures("graph", labelled(factor), capabilities=SUPERVISED)


def test_directed_graph_need_not_be_symmetric(failures):
    class Directed(SoundGraph):
        def build(self, request):
            table = request.neighbors.to_csr()
            table.data[:] = 0.5
            return Graph.from_scipy(table, directed=True)

    assert failures("graph", Directed) == set()


class SoundInit(Backend):
    def place(self, request):
        draw = np.random.Generator(np.random.Philox(key=request.seed))
        return draw.normal(size=(request.graph.n_obs, request.n_components)).astype(np.float32)


def init_with(change):
    class Changed(SoundInit):
        def place(self, request):
            return change(super().place(request), request)

    return Changed


def nan_when_disconnected(layout, request):
    isolated = np.diff(request.graph.indptr) == 0
    layout[isolated] = np.nan
    return layout


def flat(layout, request):
    layout[:, -1] = 0
    return layout


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (lambda y, r: np.where(y > 2, np.float32(np.nan), y), "test_layout_in_every_number_of_dimensions"),
        (lambda y, r: y.astype(np.float64), "test_layout_in_every_number_of_dimensions"),
        (lambda y, r: np.asfortranarray(y), "test_layout_in_every_number_of_dimensions"),
        (lambda y, r: y[:, :2], "test_layout_in_every_number_of_dimensions"),
        (lambda y, r: y + np.float32(np.random.default_rng().normal()), "test_same_seed_gives_the_same_layout"),
        (lambda y, r: y * np.float32(r.n_jobs), "test_threads_do_not_change_the_layout"),
        (lambda y, r: y * np.float32(r.representation.std()), "test_works_without_a_representation"),
        (flat, "test_cells_do_not_fall_on_a_line_or_a_point"),
        (nan_when_disconnected, "test_graph_without_edges"),
    ],
)
def test_unsound_init_is_caught(failures, change, check):
    assert check in failures("init", init_with(change))


def test_sound_init_passes(failures):
    assert failures("init", SoundInit) == set()


class SoundObjective(Backend):
    """One plus squared distance, inverted, as the chance of an edge."""

    negative_sample_rate = 5.0

    def form(self, name):
        return KernelForm(family="umap", parameters=(1.0, 1.0, 1.0))

    def attraction(self, squared_distance):
        return np.log1p(squared_distance)

    def repulsion(self, squared_distance):
        return np.log1p(1 / (squared_distance + 1e-3))

    def rescale(self, layout):
        extent = float(np.ptp(layout)) or 1.0
        return (layout * (10 / extent)).astype(np.float32)


@pytest.mark.parametrize(
    ("members", "check"),
    [
        ({"attraction": lambda s, d: -np.log1p(d)}, "test_attraction_rises_with_distance"),
        ({"attraction": lambda s, d: np.log1p(d)[::2]}, "test_attraction_rises_with_distance"),
        ({"repulsion": lambda s, d: np.log1p(d)}, "test_repulsion_falls_with_distance"),
        ({"repulsion": lambda s, d: 1 / d}, "test_losses_are_finite_from_no_distance_to_a_large_one"),
        ({"attraction": lambda s, d: np.round(np.log1p(d), 1)}, "test_losses_are_smooth"),
        ({"form": lambda s, name: None}, "test_gives_every_form_it_declares"),
        (
            {"form": lambda s, name: KernelForm(family="umap", parameters=(np.nan,))},
            "test_kernel_forms_are_data",
        ),
        (
            {"form": lambda s, name: KernelForm(family="umap", parameters=[1.0])},
            "test_kernel_forms_are_data",
        ),
        ({"rescale": lambda s, y: y / y.std()}, "test_rescaling_layouts_without_extent"),
        ({"rescale": lambda s, y: y.astype(np.float64)}, "test_rescaled_layout_is_usable_whatever_its_units"),
        ({"rescale": lambda s, y: -y}, "test_rescaling_keeps_the_order_along_each_dimension"),
        ({"negative_sample_rate": float("nan")}, "test_negative_sample_rate_is_a_number"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_unsound_objective_is_caught(failures, members, check):
    assert check in failures("objective", type("Changed", (SoundObjective,), members))


def test_sound_objective_passes(failures):
    assert failures("objective", SoundObjective) == set()


@njit
def cauchy_pull(squared, parameters):
    return -2 / (1 + squared)


@njit
def cauchy_push(squared, parameters):
    return 2 * parameters[0] / (squared + 1e-3) / (squared + 1 + 1e-3)


@njit
def euclidean(x, y):
    distance = np.sqrt(((x - y) ** 2).sum())
    return distance, (x - y) / (distance + 1e-6)


@njit
def uphill(squared, parameters):
    return 2 / (1 + squared)


@njit
def too_strong(squared, parameters):
    return -3 / (1 + squared)


@njit
def no_number(squared, parameters):
    return np.float32(np.nan)


@njit
def wrong_gradient(x, y):
    return np.sqrt(((x - y) ** 2).sum()), y - x


def objective_in_form(form):
    return type("WithForm", (SoundObjective,), {"form": lambda self, name: form})


def coefficients(attraction=cauchy_pull, repulsion=cauchy_push):
    return CoefficientForm(attraction=attraction, repulsion=repulsion, parameters=(1.0,))


def metric(function=euclidean):
    return MetricForm(family="umap", parameters=(1.0, 1.0, 1.0), metric=function)


@pytest.mark.parametrize(
    ("name", "form", "check"),
    [
        ("coefficients", metric(), "test_forms_are_of_their_type"),
        ("coefficients", coefficients(cauchy_pull.py_func), "test_functions_of_forms_are_jitted"),
        ("coefficients", coefficients(uphill), "test_coefficients_pull_and_push"),
        ("coefficients", coefficients(no_number), "test_coefficients_pull_and_push"),
        ("coefficients", coefficients(too_strong), "test_coefficients_are_the_slopes_of_the_losses"),
        ("metric", metric(euclidean.py_func), "test_functions_of_forms_are_jitted"),
        ("metric", metric(wrong_gradient), "test_metric_is_that_of_the_losses_and_has_its_own_gradient"),
    ],
)
def test_unsound_functions_of_an_objective_are_caught(failures, name, form, check):
    assert check in failures("objective", objective_in_form(form), capabilities=Capabilities(forms=(name,)))


@pytest.mark.parametrize(("name", "form"), [("coefficients", coefficients()), ("metric", metric())])
def test_sound_functions_of_an_objective_pass(failures, name, form):
    assert failures("objective", objective_in_form(form), capabilities=Capabilities(forms=(name,))) == set()


def tensor_attraction(squared):
    return squared.log1p()


def tensor_repulsion(squared):
    return (1 / (squared + 1e-3)).log1p()


def in_tensors(attraction=tensor_attraction, repulsion=tensor_repulsion):
    form = TorchForm(attraction=attraction, repulsion=repulsion)
    return {"backend": objective_in_form(form), "capabilities": Capabilities(forms=("torch",))}


def test_sound_losses_of_tensors_pass(failures):
    pytest.importorskip("torch")
    assert failures("objective", **in_tensors()) == set()


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"attraction": lambda d: 1.001 * d.log1p()}, "test_tensors_have_the_same_losses"),
        ({"repulsion": lambda d: 2 * tensor_repulsion(d)}, "test_tensors_have_the_same_losses"),
        ({"attraction": lambda d: d.double().log1p()}, "test_tensors_have_the_same_losses"),
        ({"attraction": lambda d: d.log1p().mean()}, "test_tensors_have_the_same_losses"),
        ({"attraction": lambda d: d.sqrt().square().log1p()}, "test_losses_of_tensors_can_be_descended"),
        ({"repulsion": lambda d: tensor_repulsion(d) + 0 * d.log()}, "test_losses_of_tensors_can_be_descended"),
        ({"repulsion": lambda d: tensor_repulsion(d) + 0 * d.exp()}, "test_losses_of_tensors_can_be_descended"),
    ],
)
def test_unsound_losses_of_tensors_are_caught(failures, changes, check):
    pytest.importorskip("torch")
    assert check in failures("objective", **in_tensors(**changes))


def test_losses_of_tensors_without_torch_are_left_out(failures, monkeypatch):
    """Where torch is missing, an objective is checked in its other forms."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    class Both(SoundObjective):
        def form(self, name):
            if name == "torch":
                raise ModuleNotFoundError("torch")
            return super().form(name)

    assert failures("objective", Both, capabilities=Capabilities(forms=("kernel", "torch"))) == set()


class SoundOptimizer(Backend):
    def start(self, request):
        return Descent(request)


class Descent:
    """Gradient descent on the expected loss of `SoundObjective`."""

    n_epochs = 30
    rate = np.float32(0.02)

    def __init__(self, request):
        self.request, self.epoch, self.layout = request, 0, request.layout.copy()
        self.weights = request.graph.to_scipy().toarray()
        self.moves = self.weights.any(axis=1)
        if request.fixed is not None:
            self.moves &= ~request.fixed

    def step(self, n_epochs, **overrides):
        for _ in range(n_epochs):
            self.epoch_once()
            self.epoch += 1

    def epoch_once(self):
        apart = self.layout[:, None, :] - self.layout[None, :, :]
        squared = (apart**2).sum(axis=2, keepdims=True)
        pull = self.weights[:, :, None] / (1 + squared)
        per_pair = self.weights.sum(axis=1)[:, None, None] * 5 / len(self.layout)
        push = per_pair / ((squared + 1e-3) * (squared + 1 + 1e-3))
        slope = ((pull - push) * apart).sum(axis=1)
        self.layout[self.moves] -= (self.rate * np.clip(slope, -4, 4))[self.moves]

    def state(self):
        return {"layout": self.layout.copy()}

    def restore(self, state, epoch):
        self.layout, self.epoch = state["layout"].copy(), epoch


def optimizer_with(**members):
    changed = type("Changed", (Descent,), members)
    return type("Optimizer", (SoundOptimizer,), {"start": lambda self, request: changed(request)})


def moves_all(self, request):
    Descent.__init__(self, dataclasses.replace(request, fixed=None))


def moves_at_start(self, request):
    Descent.__init__(self, request)
    self.layout += 1


def runs_away(self):
    before = self.layout.copy()
    Descent.epoch_once(self)
    self.layout = 2 * before - self.layout


def depends_on_the_call(self, n_epochs):
    Descent.step(self, n_epochs)
    self.layout[self.moves] *= np.float32(0.999)


def sets_its_rate(self, n_epochs, rate=0.02, **unknown):
    if unknown:
        raise InputError(f"{unknown} cannot be changed on the way")
    self.rate = np.float32(rate)
    Descent.step(self, n_epochs)


def half_a_state(self):
    return {"layout": self.layout[::2].copy()}


def pickled_state(self):
    return {"layout": np.array([self.layout, None], dtype=object)}


def by_threads(self):
    Descent.epoch_once(self)
    self.layout[self.moves] *= np.float32(1 - 1e-4 * self.request.n_jobs)


def by_chance(self):
    Descent.epoch_once(self)
    self.layout[self.moves] *= np.float32(1 - 1e-4 * np.random.default_rng().random())


def divides_by_distance(self):
    here = self.layout - self.layout.mean(axis=0)
    self.layout = (here / np.abs(here).max()).astype(np.float32)


@pytest.mark.parametrize(
    ("members", "check"),
    [
        ({"__init__": moves_all}, "test_fixed_cells_stay"),
        ({"__init__": moves_all}, "test_nothing_moves_where_all_is_fixed"),
        ({"__init__": moves_at_start}, "test_no_epoch_moves_nothing"),
        ({"epoch_once": lambda self: None}, "test_loss_falls"),
        ({"epoch_once": runs_away}, "test_loss_falls"),
        ({"epoch_once": by_threads}, "test_threads_do_not_change_the_layout"),
        ({"epoch_once": by_chance}, "test_same_seed_gives_the_same_layout"),
        ({"epoch_once": divides_by_distance}, "test_coincident_cells"),
        ({"step": depends_on_the_call}, "test_steps_add_up"),
        ({"step": lambda self, n_epochs: self.epoch_once()}, "test_counts_its_epochs"),
        ({"n_epochs": 10}, "test_counts_its_epochs"),
        ({"state": half_a_state}, "test_resumes_where_it_was"),
        ({"state": pickled_state}, "test_resumes_where_it_was"),
        ({"restore": lambda self, state, epoch: None}, "test_resumes_where_it_was"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_unsound_optimizer_is_caught(failures, members, check):
    made = {"make_objective": lambda self: SoundObjective(None)}
    assert check in failures("optimizer", optimizer_with(**members), **made)


@pytest.mark.parametrize(
    ("said", "steps", "check"),
    [
        ({"overrides": ("rate",)}, {}, "test_takes_its_overrides"),
        ({"overrides": ("speed",)}, {"step": sets_its_rate}, "test_takes_its_overrides"),
        ({"schedule": lambda self, n_obs: [{"n": 29}]}, {}, "test_schedule_is_of_its_epochs"),
        ({"schedule": lambda self, n_obs: [{"n": 30, "rate": 0.1}]}, {}, "test_schedule_is_of_its_epochs"),
    ],
)
def test_an_optimizer_that_cannot_do_what_it_says_of_phases_is_caught(failures, said, steps, check):
    backend = type("Optimizer", (optimizer_with(**steps),), said)
    assert failures("optimizer", backend, make_objective=lambda self: SoundObjective(None)) == {check}


def test_an_optimizer_with_phases_passes(failures):
    said = {"overrides": ("rate",), "schedule": lambda self, n_obs: [{"n": 10, "rate": 0.01}, {"n": 20}]}
    backend = type("Optimizer", (optimizer_with(step=sets_its_rate),), said)
    made = {"make_objective": lambda self: SoundObjective(None), "override_values": {"rate": 0.01}}
    assert failures("optimizer", backend, **made) == set()


def test_sound_optimizer_passes(failures):
    made = {"make_objective": lambda self: SoundObjective(None)}
    assert failures("optimizer", SoundOptimizer, **made) == set()


class SoundScore(Backend):
    """Share of the five nearest cells that stay the nearest."""

    def measure(self, request):
        k = min(5, request.layout_ranks.shape[1])
        return {"kept": float((request.layout_ranks[:, :k] <= k).mean())}


def score_with(change):
    class Changed(SoundScore):
        def measure(self, request):
            return change(super().measure(request), request)

    return Changed


def by_luck(scores, request):
    return {"kept": scores["kept"] - 1e-9 * np.random.default_rng().random()}


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (lambda s, r: {"kept": s["kept"] + 2}, "test_scores_are_named_numbers_within_bounds"),
        (lambda s, r: {"kept": np.nan}, "test_scores_are_named_numbers_within_bounds"),
        (lambda s, r: [s["kept"]], "test_scores_are_named_numbers_within_bounds"),
        (lambda s, r: {}, "test_gives_a_score_where_all_is_there"),
        (lambda s, r: {"kept": 1 - s["kept"]}, "test_a_true_map_beats_a_shuffled_one"),
        (lambda s, r: {"kept": 0.5}, "test_a_true_map_beats_a_shuffled_one"),
        (lambda s, r: {"kept": float(np.tanh(abs(r.layout[0, 0])))}, "test_turning_the_map_changes_nothing"),
        (
            lambda s, r: {"kept": s["kept"] - 1e-9 * np.random.default_rng().random()},
            "test_same_request_gives_the_same_scores",
        ),
        (lambda s, r: {"kept": s["kept"] + 0 * r.labels.max()}, "test_without_labels"),
        (lambda s, r: {"kept": s["kept"], "tenth": r.layout_ranks[0, 9] / 200}, "test_few_cells"),
        (lambda s, r: {"kept": s["kept"] / r.layout.std()}, "test_collapsed_map"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_unsound_score_is_caught(failures, change, check):
    assert check in failures("score", score_with(change))


def test_sound_score_passes(failures):
    assert failures("score", SoundScore) == set()


def test_lower_may_be_better(failures):
    assert failures("score", score_with(lambda s, r: {"lost": 1 - s["kept"]}), higher_is_better=False) == set()


class SoundNetwork(Backend):
    """One hidden layer; a seed of its own for each network."""

    def build(self, request):
        import torch

        made = torch.Generator().manual_seed(request.seed)
        widths = (request.n_inputs, 12, request.n_outputs)
        weights = [torch.randn(b, a, generator=made) / a**0.5 for a, b in zip(widths, widths[1:], strict=False)]
        return self.network(weights, request)

    def network(self, weights, request):
        return network_of(weights, request)


def network_of(weights, request, **members):
    from torch import nn

    class Network(nn.Module):
        def __init__(self):
            super().__init__()
            self.weights = nn.ParameterList(weights)

        def forward(self, rows):
            hidden = (rows.flatten(1) @ self.weights[0].T).relu()
            return (hidden @ self.weights[1].T + 1).unflatten(1, request.output_dims)

        def state_dict(self):
            import torch

            biases = {f"bias.{i}": torch.full((len(w),), float(i)) for i, w in enumerate(self.weights)}
            return {**super().state_dict(), **biases}

        def layers(self):
            names = [{"op": "dense", "weight": f"weights.{i}", "bias": f"bias.{i}"} for i in (0, 1)]
            return [{**names[0], "activation": "relu"}, {**names[1], "activation": "none"}]

    return type("Changed", (Network,), members)()


def network_with(**members):
    return type("Changed", (SoundNetwork,), {"network": lambda self, w, request: network_of(w, request, **members)})


def draws_from_torch(self, request):
    import torch

    torch.rand(1)
    return SoundNetwork.build(self, request)


def starts_from_the_global_seed(self, request):
    import torch

    weights = [torch.randn(12, request.n_inputs), torch.randn(request.n_outputs, 12)]
    return network_of(weights, request)


def ignores_the_seed(self, request):
    return SoundNetwork.build(self, dataclasses.replace(request, seed=0))


def needs_units(self, request):
    return SoundNetwork.build(self, request) if request.input_scale.all() else None


def keeps_units_apart(self, request):
    network = type("Plain", (SoundNetwork,), {"network": lambda s, w, r: network_of(w, r, layers=None)})(None)
    made = network.build(request)
    if request.input_center is not None:
        made.weights.append(made.weights[0][:1])
    return made


def frozen(self, request):
    return SoundNetwork.build(self, request).requires_grad_(False)


@pytest.mark.parametrize(
    ("build", "check"),
    [
        (draws_from_torch, "test_leaves_the_random_state_of_torch_alone"),
        (starts_from_the_global_seed, "test_same_seed_gives_the_same_weights"),
        (ignores_the_seed, "test_another_seed_gives_other_weights"),
        (needs_units, "test_works_without_knowing_the_units"),
        (frozen, "test_has_weights_that_can_be_trained"),
        (keeps_units_apart, "test_can_be_built_again_for_its_weights"),
    ],
)
def test_unsound_builder_of_networks_is_caught(failures, build, check):
    pytest.importorskip("torch")
    assert check in failures("network", type("Changed", (SoundNetwork,), {"build": build}))


@pytest.mark.parametrize(
    ("members", "check"),
    [
        ({"forward": lambda s, x: x.flatten(1) @ s.weights[0].T}, "test_maps_rows_of_every_shape"),
        ({"forward": lambda s, x: (x @ s.weights[0].T).relu() @ s.weights[1].T}, "test_maps_rows_of_every_shape"),
        ({"__call__": lambda s, x: s.forward(x).double()}, "test_maps_rows_of_every_shape"),
        ({"__call__": lambda s, x: 0 * s.forward(x) + s.forward(x * 0)}, "test_tells_rows_apart"),
        ({"__call__": lambda s, x: s.forward(x) * 1.001}, "test_layers_give_what_the_network_gives"),
        ({"__call__": lambda s, x: s.forward(x / x.std(0, correction=0))}, "test_constant_columns"),
        ({"layers": lambda s: []}, "test_layers_give_what_the_network_gives"),
    ],
)
def test_unsound_network_is_caught(failures, members, check):
    pytest.importorskip("torch")
    assert check in failures("network", network_with(**members))


@pytest.mark.parametrize("members", [{}, {"layers": None}])
def test_sound_network_passes(failures, members):
    pytest.importorskip("torch")
    assert failures("network", network_with(**members)) == set()


@pytest.mark.parametrize("conformance", CONFORMANCE.values())
def test_classes_name_their_stage(conformance):
    assert CONFORMANCE[conformance.stage] is conformance


def test_kit_imports_no_built_in_backend():
    """Beyond what `import vicinal` reads for its help: those modules are forgotten first, and must not come back."""
    import subprocess

    ours = "[m for m in sys.modules if m.startswith('vicinal.backends')]"
    code = (
        f"import sys, vicinal\nfor name in {ours}: del sys.modules[name]\n"
        f"assert 'vicinal.testing' not in sys.modules\nimport vicinal.testing\nprint({ours})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
