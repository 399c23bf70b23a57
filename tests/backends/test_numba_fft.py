from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from vicinal.api import Graph, InputError, NormalizedForm, OptimizeRequest, StageError
from vicinal.backends.objective.tsne import TsneObjective, TsneParams
from vicinal.backends.optimizer import numba_fft, repulsion
from vicinal.backends.optimizer.numba_fft import NumbaFft, NumbaFftParams, morton_order
from vicinal.kernels import field, tsne
from vicinal.kernels.parallel import in_turn
from vicinal.testing.optimizer import normalized_loss

MANY = 1200
"""Cells that are repelled on a grid, not pair by pair."""


@pytest.fixture(autouse=True)
def grids_from_a_thousand_on(monkeypatch):
    monkeypatch.setattr(repulsion, "PAIRS_UP_TO", 1000)


def ring(n, reach=3):
    here = np.arange(n)
    rows = np.repeat(here, reach)
    columns = (rows + np.tile(np.arange(1, reach + 1), n)) % n
    matrix = sparse.csr_matrix((np.ones(n * reach, dtype=np.float32), (rows, columns)), shape=(n, n))
    return Graph.from_scipy(matrix + matrix.T)


def request(graph, *, scale=1e-2, n_components=2, dof=1.0, **fields):
    layout = np.random.default_rng(0).normal(scale=scale, size=(graph.n_obs, n_components)).astype(np.float32)
    objective = TsneObjective(TsneParams(dof=dof))
    return OptimizeRequest(
        graph=graph, **{"layout": layout, "objective": objective, "forms": ("normalized",), "seed": 7, **fields}
    )


def started(wanted, **params):
    return NumbaFft(NumbaFftParams(**params)).start(wanted)


def layout_after(wanted, n_epochs=60, **overrides):
    run = started(wanted, n_epochs=n_epochs)
    run.step(n_epochs, **overrides)
    return run.layout


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, [(125, 12), (350, 1)]),
        ({"n_epochs": 95}, [(25, 12), (70, 1)]),
        ({"exaggeration": 4}, [(250, 12), (500, 4)]),
        ({"n_epochs": 2000, "exaggeration": 4}, [(250, 12), (1750, 4)]),
        ({"exaggeration": 30}, [(250, 30), (500, 30)]),
        ({"exaggeration": 0.5}, [(125, 12), (350, 0.5)]),
        ({"early_exaggeration": 6}, [(125, 6), (350, 1)]),
        ({"n_epochs": 2}, [(2, 1)]),
        ({"n_epochs": 0}, []),
    ],
)
def test_the_schedule(params, expected):
    phases = NumbaFft(NumbaFftParams(**params)).schedule(1000)
    assert [(phase["n"], phase["exaggeration"]) for phase in phases] == expected


def test_momentum_grows_after_a_hundred_epochs_of_one_exaggeration_up_to_one():
    wanted = request(ring(60))

    def places(*phases, **params):
        run = started(wanted, n_epochs=sum(n for n, _ in phases), **params)
        for n, overrides in phases:
            run.step(n, **overrides)
        return run.layout

    def same(*runs):
        return all(np.array_equal(runs[0], run) for run in runs[1:])

    early, half, low, high = {"exaggeration": 12}, {"exaggeration": 0.5}, {"momentum": 0.8}, {"momentum": 0.95}
    assert same(places((50, early), (110, {})), places((50, early | low), (100, low), (10, high)))
    assert same(places((110, {}), (20, early), (20, {})), places((100, low), (10, high), (20, early | low), (20, low)))
    assert same(places((150, {"exaggeration": 4})), places((150, {"exaggeration": 4} | low)))
    assert same(places((150, half)), places((100, half | low), (50, half | high)))
    assert same(places((110, {}), (110, half)), places((100, low), (10, high), (100, half | low), (10, half | high)))
    assert same(places((150, {}), momentum=0.8), places((150, low)))
    assert same(places((150, {"momentum": "auto"}), momentum=0.8), places((100, low), (50, high)))
    assert not same(places((150, low)), places((100, low), (50, high)))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_epochs", -1),
        ("n_epochs", 2.5),
        ("early_exaggeration", 0),
        ("exaggeration", -1),
        ("exaggeration", None),
        ("learning_rate", "fast"),
        ("learning_rate", 0),
        ("momentum", 1.5),
        ("max_step", 0),
    ],
)
def test_bad_parameters_are_named(name, value):
    with pytest.raises(InputError, match=f"{name}="):
        NumbaFftParams(**{name: value})


@pytest.mark.parametrize("override", [{"exageration": 4}, {"exaggeration": -4}, {"n": 3}])
def test_bad_overrides_are_named_before_a_step(override):
    run = started(request(ring(50)))
    with pytest.raises(InputError, match=next(iter(override))):
        run.step(1, **override)
    with pytest.raises(InputError):
        NumbaFft(NumbaFftParams()).check_overrides(override)
    assert run.epoch == 0


def test_more_epochs_than_are_left_are_refused():
    run = started(request(ring(50)), n_epochs=5)
    run.step(4)
    with pytest.raises(InputError, match="1 of 5 epochs are left"):
        run.step(2)


@pytest.mark.parametrize("n", [80, MANY])
def test_any_number_of_threads_gives_the_same_bits(n):
    expected = layout_after(request(ring(n)), exaggeration=4.0)
    for n_jobs in (2, 3, 8):
        np.testing.assert_array_equal(layout_after(request(ring(n), n_jobs=n_jobs), exaggeration=4.0), expected)


@pytest.mark.parametrize("n", [80, MANY])
def test_resumes_with_the_same_bits_after_cells_were_put_in_order(n):
    whole = started(request(ring(n)), n_epochs=120)
    whole.step(120)
    for at in (49, 50, 51, 110):
        first, second = (started(request(ring(n)), n_epochs=120) for _ in range(2))
        first.step(at)
        second.restore({name: values.copy() for name, values in first.state().items()}, at)
        second.step(120 - at)
        np.testing.assert_array_equal(second.layout, whole.layout)


def test_taking_the_loss_changes_nothing():
    quiet, watched = (started(request(ring(MANY)), n_epochs=60) for _ in range(2))
    quiet.step(60)
    for _ in range(60):
        watched.losses()
        watched.step(1)
    np.testing.assert_array_equal(quiet.layout, watched.layout)


@pytest.mark.parametrize("dof", [0.5, 1.0, 2.0])
@pytest.mark.parametrize("n", [80, MANY])
def test_the_loss_is_the_divergence_whatever_the_exaggeration(n, dof):
    wanted = request(ring(n), scale=5, dof=dof)
    run = started(wanted)
    run.step(5, exaggeration=12.0)
    layout = run.layout.astype(np.float64)
    squared = ((layout[:, None] - layout[None]) ** 2).sum(axis=2)
    expected = normalized_loss(wanted.objective, squared, wanted.graph.to_scipy().toarray())
    losses = run.losses()
    assert losses["loss"] == pytest.approx(expected, abs=5e-3 if n == MANY else 1e-4)
    assert losses["loss"] == pytest.approx(losses["attraction"] + losses["repulsion"])


def test_a_step_is_along_the_gradient_of_the_loss():
    """Without momentum, and with gains of 1.2, the first step is -1.2 rate / 4 times the numeric gradient."""
    wanted = request(ring(12), scale=1.0)
    run = started(wanted)
    run.step(1, learning_rate=0.01, exaggeration=1.0)
    moved = run.layout - wanted.layout

    def loss(layout):
        squared = ((layout[:, None] - layout[None]) ** 2).sum(axis=2)
        return normalized_loss(wanted.objective, squared, wanted.graph.to_scipy().toarray())

    gradient, base = np.zeros((12, 2)), wanted.layout.astype(np.float64)
    for i, k in np.ndindex(12, 2):
        step = np.zeros_like(base)
        step[i, k] = 1e-5
        gradient[i, k] = (loss(base + step) - loss(base - step)) / 2e-5
    np.testing.assert_allclose(moved, -1.2 * 0.01 / 4 * gradient, atol=1e-5)
    np.testing.assert_allclose(moved.mean(axis=0), 0, atol=1e-6)


def test_automatic_learning_rate_is_cells_over_exaggeration():
    wanted = request(ring(80))
    for exaggeration in (1.0, 4.0):
        automatic = layout_after(wanted, 5, exaggeration=exaggeration)
        named = layout_after(wanted, 5, exaggeration=exaggeration, learning_rate=80 / exaggeration)
        np.testing.assert_array_equal(automatic, named)


def test_exaggeration_draws_the_map_together():
    # A ring that is at rest is as wide as repulsion makes it.
    extents = [np.ptp(layout_after(request(ring(300)), 300, exaggeration=e)) for e in (1.0, 4.0, 12.0)]
    assert extents[0] > extents[1] > extents[2]


def test_fixed_cells_keep_the_map_in_its_place():
    fixed = np.arange(MANY) % 5 == 0
    wanted = request(ring(MANY), scale=3, fixed=fixed)
    layout = layout_after(wanted)
    np.testing.assert_array_equal(layout[fixed], wanted.layout[fixed])
    assert (layout[~fixed] != wanted.layout[~fixed]).any(axis=1).all()


def test_a_directed_edge_pulls_its_owner_alone():
    one_way = Graph.from_scipy(sparse.csr_matrix(np.array([[0, 1, 0], [0, 0, 0], [0, 0, 0]], dtype=np.float32)))
    layout = np.array([[0, 0], [10, 0], [0, 10]], dtype=np.float32)
    pulls = np.empty_like(layout)
    tsne.attract(
        one_way.indptr.astype(np.int64), one_way.indices.view(np.uint32), one_way.weights, layout, 1.0, pulls, 0, 3
    )
    assert pulls[0, 0] < 0 and not pulls[1:].any()


@pytest.mark.parametrize(
    "graph", [Graph.from_scipy(sparse.csr_matrix((n, n), dtype=np.float32)) for n in (1, 2, 40, MANY)]
)
def test_a_graph_without_edges_gives_a_finite_map(graph):
    assert np.isfinite(layout_after(request(graph))).all()


def test_coincident_cells_give_a_finite_map():
    wanted = request(ring(MANY), layout=np.zeros((MANY, 2), dtype=np.float32))
    assert np.isfinite(layout_after(wanted)).all()


@pytest.mark.parametrize(
    ("n", "module", "name"),
    [
        (80, tsne, "arrange"),
        (80, tsne, "attract"),
        (80, tsne, "descend"),
        (MANY, field, "spread_2d"),
        (MANY, field, "merge"),
        (MANY, field, "gather_2d"),
    ],
)
def test_an_interrupt_leaves_a_run_that_goes_on_with_the_same_bits(n, module, name, monkeypatch):
    expected = layout_after(request(ring(n)), 60)
    run = started(request(ring(n)), n_epochs=60)
    run.step(49)
    kernel = getattr(module, name)

    def interrupted(*arguments):
        kernel(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(module, name, interrupted)
        run.step(2)
    assert run.epoch in (49, 50) and run.state()["layout"].shape == (n, 2)
    run.step(60 - run.epoch)
    np.testing.assert_array_equal(run.layout, expected)


def test_another_family_of_kernels_is_refused():
    class Gaussian(TsneObjective):
        def form(self, name):
            return NormalizedForm(family="gaussian", parameters=())

    with pytest.raises(StageError, match="family 'student_t', not 'gaussian'"):
        started(request(ring(20), objective=Gaussian(TsneParams())))


@pytest.mark.parametrize("shape", [(3, 2), (20,)])
def test_sizes_must_fit(shape):
    with pytest.raises(InputError, match="layout has shape"):
        started(request(ring(20), layout=np.zeros(shape, dtype=np.float32)))


@pytest.mark.parametrize(
    "change",
    [
        lambda state: {**state, "order": np.zeros(80, dtype=np.int32)},
        lambda state: {**state, "moves": state["moves"][:5]},
        lambda state: {**state, "steady": np.zeros(3)},
        lambda state: {"layout": state["layout"]},
        lambda state: {},
    ],
)
def test_a_state_of_something_else_is_refused(change):
    run = started(request(ring(80)))
    with pytest.raises(InputError, match="state=arrays of shapes"):
        run.restore(change(dict(run.state())), 0)
    assert run.epoch == 0


@pytest.mark.parametrize("n_obs", [80, MANY])
def test_a_rate_that_throws_cells_out_of_the_map_is_named(n_obs):
    run = started(request(ring(n_obs)), learning_rate=3e38, max_step=None, n_epochs=200)
    with np.errstate(all="ignore"), pytest.raises(InputError, match="give a smaller learning_rate, or a max_step"):
        run.step(200)
    assert run.epoch < 200


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_near_places_are_near_in_the_order(n_components, rng):
    places = rng.uniform(size=(4000, n_components)).astype(np.float32)
    order = morton_order(places)
    assert sorted(order) == list(range(4000))
    steps = np.linalg.norm(np.diff(places[order], axis=0), axis=1).mean()
    assert steps < 0.3 * np.linalg.norm(np.diff(places, axis=0), axis=1).mean()


def test_cells_are_put_in_order_at_times_that_follow_from_the_epoch_alone():
    times = [epoch for epoch in range(900) if numba_fft._is_arranged_at(epoch)]
    assert times == [0, 50, 150, 350, 600, 850]


@pytest.mark.parametrize(("n_components", "dof"), [(1, 1.0), (1, 0.6), (2, 1.0), (2, 0.6), (2, 2.0)])
def test_a_lone_cell_is_not_repelled_by_itself_on_the_grid(n_components, dof, rng):
    """Between nodes its own potential falls, by far more than what cells at this distance add."""
    lattice = np.stack(np.meshgrid(*[np.arange(25 // (4 * n_components - 3)) * 20.0] * n_components), -1)
    places = (lattice.reshape(-1, n_components) + rng.uniform(0, 3, (25, n_components))).astype(np.float32)
    by_grid, by_pairs = np.empty_like(places), np.empty_like(places)
    grid = repulsion.Grid(25, n_components, dof)
    total = grid.evaluate(places, by_grid, 0, in_turn)
    own = np.pi * grid._spectrum.own[1] / grid._spectrum.width
    assert total == pytest.approx(repulsion.Pairs(25, dof).evaluate(places, by_pairs, 0, in_turn), abs=1e-3)
    assert np.abs(by_grid - by_pairs).max() < 0.2 * own
    assert own > 5e-4
