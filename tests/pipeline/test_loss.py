from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from vicinal.api import Graph
from vicinal.backends.objective.umap import UmapObjective, UmapParams
from vicinal.pipeline import loss
from vicinal.pipeline.loss import LossProbe


@pytest.fixture(scope="module")
def objective() -> UmapObjective:
    return UmapObjective(UmapParams(a=1.3, b=0.9, repulsion_strength=1.7, negative_sample_rate=4))


def random_graph(rng: np.random.Generator, n: int, density: float, *, directed: bool = False) -> Graph:
    matrix = sparse.random(n, n, density, random_state=rng, data_rvs=lambda size: rng.uniform(0.05, 1, size))
    return Graph.from_scipy(matrix if directed else matrix.maximum(matrix.T), directed=directed)


def naive_loss(graph: Graph, objective: UmapObjective, layout: np.ndarray) -> dict[str, float]:
    weights = graph.to_scipy().toarray().astype(float)
    n, m = len(weights), objective.negative_sample_rate
    attraction = repulsion = 0.0
    for i in range(n):
        for j in range(n):
            if i == j:
                continue
            squared = float(((layout[i].astype(float) - layout[j]) ** 2).sum())
            q = 1 / (1 + objective.a * squared**objective.b)
            attraction += weights[i, j] * -np.log(q)
            softened = 1 / (1 + objective.a * (squared + 0.001) ** objective.b)
            repulsion += weights[i].sum() * objective.repulsion_strength * -np.log(1 - softened)
    ends = 1 if graph.directed else 2
    return {"attraction": attraction / weights.sum(), "repulsion": m / (ends * n) * repulsion / weights.sum()}


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize(("n", "density", "d"), [(2, 1.0, 2), (40, 0.1, 2), (90, 0.02, 3), (25, 0.5, 1)])
def test_equals_the_naive_formula_over_all_pairs(rng, objective, n, density, d, directed):
    graph = random_graph(rng, n, density, directed=directed)
    layout = (4 * rng.normal(size=(n, d))).astype(np.float32)
    layout[1] = layout[0]
    found = LossProbe(graph, objective, seed=0).evaluate(layout)
    expected = naive_loss(graph, objective, layout)
    assert found == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("directed", [False, True])
def test_its_gradient_is_along_the_expected_update(rng, objective, directed):
    n = 12
    ring = sparse.diags_array([np.ones(n - 1), [1.0]], offsets=[1, 1 - n]).tocsr()
    graph = Graph.from_scipy(ring if directed else ring + ring.T, directed=directed)
    layout = 3 * rng.normal(size=(n, 2))
    a, b, rate = objective.a, objective.b, objective.negative_sample_rate

    def force(i: int, j: int) -> tuple[np.ndarray, np.ndarray]:
        difference = layout[i] - layout[j]
        squared = (difference**2).sum()
        pull = -2 * a * b * squared ** (b - 1) / (1 + a * squared**b) * difference
        softened = squared + 0.001
        return pull, 2 * objective.repulsion_strength * b / (softened * (1 + a * softened**b)) * difference

    update = np.zeros_like(layout)
    rows = graph.to_scipy().toarray()
    for i, j in zip(*np.nonzero(rows), strict=True):
        update[i] += force(i, j)[0]
        if not directed:
            update[j] += force(j, i)[0]
        update[i] += rate / n * sum(force(i, other)[1] for other in range(n) if other != i)
    probe = LossProbe(graph, objective, seed=0)

    def own_loss(i: int, moved: np.ndarray) -> float:
        if not directed:
            return sum(probe.evaluate(moved).values())
        # In a directed graph an owner sees only the terms it owns.
        single = Graph(
            indptr=np.where(np.arange(n + 1) > i, 1, 0).astype(np.int32),
            indices=graph.indices[i : i + 1],
            weights=graph.weights[i : i + 1],
            directed=True,
        )
        return sum(LossProbe(single, objective, seed=0).evaluate(moved).values())

    gradient, step = np.zeros_like(layout), 1e-5
    for i in range(n):
        for k in range(2):
            up, down = layout.copy(), layout.copy()
            up[i, k] += step
            down[i, k] -= step
            gradient[i, k] = (own_loss(i, up) - own_loss(i, down)) / (2 * step)
    cosine = -(gradient * update).sum() / np.linalg.norm(gradient) / np.linalg.norm(update)
    assert cosine > 1 - 1e-6


@pytest.mark.parametrize("directed", [False, True])
def test_the_sample_estimates_the_sum_over_all_pairs(rng, objective, directed, monkeypatch):
    graph = random_graph(rng, 700, 0.02, directed=directed)
    layout = rng.normal(size=(700, 2)).astype(np.float32) * 3
    estimates = [LossProbe(graph, objective, seed=s, n_pairs=20_000).evaluate(layout) for s in range(8)]
    monkeypatch.setattr(loss, "EXACT_UP_TO", 700)
    exact = LossProbe(graph, objective, seed=0).evaluate(layout)
    for part in ("attraction", "repulsion"):
        values = np.array([e[part] for e in estimates])
        assert values.std() > 0
        assert values.mean() == pytest.approx(exact[part], rel=0.01)
        assert np.abs(values / exact[part] - 1).max() < 0.05


def test_the_sample_is_fixed_by_the_seed_and_layouts_can_be_compared(rng, objective):
    graph = random_graph(rng, 800, 0.01)
    layout = rng.normal(size=(800, 2)).astype(np.float32)
    first, again, other = (LossProbe(graph, objective, seed=s) for s in (1, 1, 2))
    assert first.evaluate(layout) == again.evaluate(layout) == first.evaluate(layout)
    assert first.evaluate(layout) != other.evaluate(layout)
    assert first.evaluate(10 * layout)["attraction"] > first.evaluate(layout)["attraction"]
    assert first.evaluate(10 * layout)["repulsion"] < first.evaluate(layout)["repulsion"]


def test_sampled_pairs_are_edges_and_never_a_cell_with_itself(rng, objective):
    graph = random_graph(rng, 600, 0.003)
    dense = graph.to_scipy().toarray()
    probe = LossProbe(graph, objective, seed=3, n_pairs=5000)
    assert (dense[probe._edges.heads, probe._edges.tails] > 0).all()
    assert (probe._others.heads != probe._others.tails).all()
    assert (dense[probe._others.heads].sum(axis=1) > 0).all()
    assert set(probe._others.tails.tolist()) == set(range(600))


def test_entries_are_drawn_in_proportion_to_weight_across_chunks(rng, monkeypatch):
    weights = rng.uniform(0, 1, 1000).astype(np.float32)
    weights[::7] = 0
    quantiles = (np.arange(20_000) + rng.random(20_000)) / 20_000
    whole = loss._draw_by_weight(weights, quantiles)
    monkeypatch.setattr(loss, "CHUNK", 33)
    chunked = loss._draw_by_weight(weights, quantiles)
    assert (whole != chunked).sum() <= 2  # sums in another order may round across a boundary
    drawn = np.bincount(chunked, minlength=1000) / 20_000
    assert not drawn[weights == 0].any()
    assert np.abs(drawn - weights / weights.sum()).max() < 1.1e-4


@pytest.mark.parametrize("seed", range(10))
def test_the_last_quantile_falls_on_the_last_entry(seed):
    weights = np.random.default_rng(seed).lognormal(sigma=4, size=3000).astype(np.float32)
    weights[-1] = weights.max()
    assert loss._draw_by_weight(weights, np.array([0.0, 1 - 1e-15, np.nextafter(1, 0), 1.0])).tolist() == [
        0,
        2999,
        2999,
        2999,
    ]


@pytest.mark.parametrize("n", [3, 600])
def test_weights_of_zero_are_no_edges(objective, n):
    graph = random_graph(np.random.default_rng(0), n, 0.9 if n == 3 else 0.01)
    zeroed = Graph(indptr=graph.indptr, indices=graph.indices, weights=np.zeros_like(graph.weights))
    found = LossProbe(zeroed, objective, seed=0).evaluate(np.zeros((n, 2), np.float32))
    assert found == {"attraction": 0.0, "repulsion": 0.0}


@pytest.mark.parametrize("n", [0, 1, 3, 600])
def test_a_graph_without_edges_has_no_loss(objective, n):
    empty = Graph(indptr=np.zeros(n + 1, np.int32), indices=np.empty(0, np.int32), weights=np.empty(0, np.float32))
    found = LossProbe(empty, objective, seed=0).evaluate(np.zeros((n, 2), np.float32))
    assert found == {"attraction": 0.0, "repulsion": 0.0}


def test_global_random_state_and_layout_are_left_alone(rng, objective):
    graph = random_graph(rng, 600, 0.01)
    layout = rng.normal(size=(600, 2)).astype(np.float32)
    before, kept = np.random.get_state()[1].copy(), layout.copy()
    LossProbe(graph, objective, seed=0).evaluate(layout)
    np.testing.assert_array_equal(np.random.get_state()[1], before)
    np.testing.assert_array_equal(layout, kept)
