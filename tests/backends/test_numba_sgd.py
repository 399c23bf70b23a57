from __future__ import annotations

import tracemalloc
from contextlib import contextmanager

import numpy as np
import pytest
from scipy import sparse

from vicinal.api import Graph, InputError, KernelForm, OptimizeRequest, StageError
from vicinal.backends.optimizer.numba_sgd import SPEC, NumbaSgd, NumbaSgdParams
from vicinal.kernels import parallel


class Cauchy:
    """The kernel 1 / (1 + d^2)."""

    def __init__(self, *, strength=1.0, negative_sample_rate=5, family="umap"):
        self.strength, self.negative_sample_rate, self.family = strength, negative_sample_rate, family

    def form(self, name):
        assert name in SPEC.capabilities.forms
        return KernelForm(family=self.family, parameters=(1.0, 1.0, self.strength))


def ring(n):
    here = np.arange(n)
    matrix = sparse.csr_matrix((np.ones(n), (here, (here + 1) % n)), shape=(n, n))
    return Graph.from_scipy(matrix + matrix.T)


def pair(*, directed=False):
    one_way = sparse.csr_matrix(np.array([[0.0, 1.0], [0.0 if directed else 1.0, 0.0]]))
    return Graph.from_scipy(one_way, directed=directed)


def request(graph, *, layout=None, n_components=2, **fields):
    if layout is None:
        layout = np.random.default_rng(0).normal(scale=5, size=(graph.n_obs, n_components)).astype(np.float32)
    return OptimizeRequest(graph=graph, layout=layout, **{"objective": Cauchy(), "seed": 7, **fields})


def started(wanted, **params):
    return NumbaSgd(NumbaSgdParams(**params)).start(wanted)


def layout_after(wanted, n_epochs=6, **params):
    run = started(wanted, n_epochs=n_epochs, **params)
    run.step(n_epochs)
    return run.layout


@pytest.mark.parametrize(("n", "expected"), [(1, 500), (10_000, 500), (10_001, 200)])
def test_epochs_planned_by_size(n, expected):
    assert started(request(ring(n))).n_epochs == expected


def test_given_epochs_are_planned():
    assert started(request(ring(5)), n_epochs=13).n_epochs == 13


@pytest.mark.parametrize("n_jobs", [2, 3, 8])
def test_any_number_of_threads_gives_the_same_bits(n_jobs):
    graph = ring(9_000)  # more than a thread takes at a time
    np.testing.assert_array_equal(layout_after(request(graph, n_jobs=n_jobs)), layout_after(request(graph)))


@pytest.mark.parametrize("chunks", [[1] * 12, [5, 7], [0, 11, 0, 1]])
def test_any_chunking_of_the_steps_gives_the_same_bits(chunks):
    run = started(request(ring(50)), n_epochs=12)
    for chunk in chunks:
        run.step(chunk)
    assert run.epoch == 12
    np.testing.assert_array_equal(run.layout, layout_after(request(ring(50)), 12))


def test_the_seed_matters():
    assert not np.array_equal(layout_after(request(ring(50))), layout_after(request(ring(50), seed=8)))


@pytest.mark.parametrize("n_epochs", [0, 4])
def test_no_epochs_and_nothing_to_optimise_leave_the_first_layout(n_epochs):
    empty = Graph.from_scipy(sparse.csr_matrix((1, 1)))
    graph = ring(20) if n_epochs == 0 else empty
    wanted = request(graph)
    np.testing.assert_array_equal(layout_after(wanted, n_epochs), wanted.layout)


def test_a_directed_edge_moves_only_its_owner():
    layout = np.array([[0, 0], [3, 0]], dtype=np.float32)
    directed, both = (layout_after(request(pair(directed=d), layout=layout), 3) for d in (True, False))
    np.testing.assert_array_equal(directed[1], layout[1])
    assert 0 < directed[0, 0] and (both != layout).any(axis=1).all()


def test_an_edge_stored_from_both_ends_pulls_twice_at_each():
    layout = np.array([[0], [100]], dtype=np.float32)
    attracting = {"layout": layout, "objective": Cauchy(negative_sample_rate=0)}
    once = layout_after(request(pair(directed=True), **attracting), 1)[0, 0]
    twice = layout_after(request(pair(), **attracting), 1)
    assert once == pytest.approx(2 / 100, rel=1e-3)
    np.testing.assert_allclose(twice[:, 0], [2 * once, 100 - 2 * once], rtol=1e-3)


def test_the_learning_rate_falls_linearly_to_zero():
    layout = np.array([[0], [100]], dtype=np.float32)
    wanted = request(pair(), layout=layout, objective=Cauchy(negative_sample_rate=0))
    steps = []
    for epoch in range(10):
        run = started(wanted, n_epochs=10, learning_rate=0.5)
        run.restore({"layout": layout}, epoch)
        run.step(1)
        steps.append(run.layout[0, 0])
    np.testing.assert_allclose(np.array(steps) / steps[0], 1 - np.arange(10) / 10, rtol=1e-4)
    assert steps[0] == pytest.approx(0.5 * 2 * 2 / 100, rel=1e-3)


@pytest.mark.parametrize(
    ("override", "same_as"),
    [
        ({"repulsion_strength": 4.0}, {"objective": Cauchy(strength=4.0)}),
        ({"negative_sample_rate": 1.5}, {"objective": Cauchy(negative_sample_rate=1.5)}),
        ({"learning_rate": 0.25}, {"learning_rate": 0.25}),
    ],
)
def test_an_override_is_as_if_planned_so_and_ends_with_its_step(override, same_as):
    planned = {"learning_rate": same_as.get("learning_rate", 1.0)}
    fields = {name: value for name, value in same_as.items() if name == "objective"}
    overridden, other = (
        started(request(ring(40)), n_epochs=8),
        started(request(ring(40), **fields), n_epochs=8, **planned),
    )
    overridden.step(4, **override)
    other.step(4)
    np.testing.assert_array_equal(overridden.layout, other.layout)
    plain = started(request(ring(40)), n_epochs=8)
    plain.restore(overridden.state(), 4)
    plain.step(4)
    overridden.step(4)
    np.testing.assert_array_equal(overridden.layout, plain.layout)


@pytest.mark.parametrize(
    ("n_epochs", "overrides", "message"),
    [
        (
            2,
            {"learning_rat": 1},
            "'learning_rate', 'negative_sample_rate', 'repulsion_strength'. Did you mean 'learning_rate'",
        ),
        (2, {"learning_rate": -1}, "learning_rate=-1"),
        (2, {"negative_sample_rate": "five"}, "negative_sample_rate='five'"),
        (2, {"repulsion_strength": float("nan")}, "repulsion_strength=nan"),
        (11, {}, "10 of 10 epochs are left"),
        (-1, {}, "n_epochs=-1"),
        (1.5, {}, "n_epochs=1.5"),
    ],
)
def test_bad_steps_say_what_is_allowed_and_move_nothing(n_epochs, overrides, message):
    wanted = request(ring(10))
    run = started(wanted, n_epochs=10)
    with pytest.raises(InputError) as error:
        run.step(n_epochs, **overrides)
    assert message in str(error.value)
    assert run.epoch == 0
    np.testing.assert_array_equal(run.layout, wanted.layout)


@pytest.mark.parametrize("params", [{"n_epochs": -1}, {"n_epochs": 2.5}, {"n_epochs": True}, {"learning_rate": "fast"}])
def test_bad_parameters(params):
    name, value = next(iter(params.items()))
    with pytest.raises(InputError, match=f"{name}={value!r}"):
        NumbaSgdParams(**params)


def test_another_family_of_kernels_is_refused():
    with pytest.raises(StageError, match="'umap', not 'tsne'"):
        started(request(ring(5), objective=Cauchy(family="tsne")))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layout": np.zeros((4, 2), dtype=np.float32)}, r"layout has shape \(4, 2\), expected \(5, n_components\)"),
        ({"fixed": np.zeros(6, dtype=bool)}, r"fixed has shape \(6,\), expected \(5,\)"),
    ],
)
def test_sizes_must_fit(fields, message):
    with pytest.raises(InputError, match=message):
        started(request(ring(5), **fields))


@pytest.mark.parametrize(
    ("state", "epoch"), [({}, 1), ({"layout": np.zeros((3, 2))}, 1), ({"layout": np.zeros((5, 2))}, 99)]
)
def test_a_foreign_state_is_refused(state, epoch):
    with pytest.raises(InputError, match="state"):
        started(request(ring(5)), n_epochs=10).restore(state, epoch)


def test_inputs_are_left_alone_and_layouts_are_copies():
    wanted = request(ring(30))
    before = [
        array.copy() for array in (wanted.layout, wanted.graph.indptr, wanted.graph.indices, wanted.graph.weights)
    ]
    run = started(wanted, n_epochs=4)
    run.step(2)
    seen = run.layout
    kept = seen.copy()
    run.step(2)
    np.testing.assert_array_equal(seen, kept)
    after = (wanted.layout, wanted.graph.indptr, wanted.graph.indices, wanted.graph.weights)
    for old, new in zip(before, after, strict=True):
        np.testing.assert_array_equal(old, new)


def test_holds_at_most_ten_bytes_an_edge():
    layout_after(request(ring(10)), 1)  # compile first
    n, n_edges = 2_000, 400_000
    rng = np.random.default_rng(0)
    matrix = sparse.csr_matrix((rng.random(n_edges), (rng.integers(0, n, n_edges), rng.integers(0, n, n_edges))))
    wanted = request(Graph.from_scipy(matrix))
    tracemalloc.start()
    run = started(wanted, n_epochs=1)
    run.step(1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10 * len(wanted.graph.indices)


def test_an_interrupt_leaves_the_last_whole_epoch(monkeypatch):
    run, plain = (started(request(ring(6000)), n_epochs=5) for _ in range(2))
    workers, calls = parallel.workers, []

    @contextmanager
    def interrupted(n_jobs):
        with workers(n_jobs) as run_tasks:

            def run_until_interrupted(work, edges):
                calls.append(edges)
                if len(calls) == 30:  # within the third epoch, which has three passes of four parts
                    work(edges[0], edges[1])
                    raise KeyboardInterrupt
                run_tasks(work, edges)

            yield run_until_interrupted

    with monkeypatch.context() as patched:
        patched.setattr(parallel, "workers", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run.step(5)
    assert run.epoch == 2
    plain.step(2)
    np.testing.assert_array_equal(run.layout, plain.layout)
    run.step(3)
    plain.step(3)
    np.testing.assert_array_equal(run.layout, plain.layout)


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_groups_come_out_together_and_nothing_flies_off(n_components):
    """Six cliques, started in a muddle: members end nearer to each other than to the rest, and no cell far out."""
    labels = np.repeat(np.arange(6), 50)
    rng = np.random.default_rng(3)
    inside = (labels[:, None] == labels) * rng.random((300, 300))
    graph = Graph.from_scipy(sparse.csr_matrix(np.maximum(inside, inside.T)))
    layout = layout_after(request(graph, n_components=n_components), 200).astype(np.float64)
    distance = np.sqrt(((layout[:, None] - layout[None]) ** 2).sum(axis=2))
    nearest = np.argsort(distance, axis=1)[:, 1:16]
    assert (labels[nearest] == labels[:, None]).mean() > 0.95
    radius = np.linalg.norm(layout - np.median(layout, axis=0), axis=1)
    assert radius.max() < 2 * np.quantile(radius, 0.9)
