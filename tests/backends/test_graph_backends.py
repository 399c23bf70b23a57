from __future__ import annotations

import logging

import numpy as np
import pytest

from vicinal.api import Graph, GraphRequest, InputError, Neighbors
from vicinal.backends.graph.fuzzy import FuzzyGraph, FuzzyParams
from vicinal.backends.graph.precomputed import PrecomputedGraph, PrecomputedParams


def neighbors_of(points: np.ndarray, k: int, metric: str = "euclidean") -> Neighbors:
    if metric == "cosine":
        points = points / np.linalg.norm(points, axis=1, keepdims=True)
        distances = 1 - points @ points.T
    else:
        distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    indices = np.argsort(distances, axis=1)[:, :k]
    return Neighbors(
        indices=indices.astype(np.int32),
        distances=np.take_along_axis(distances, indices, axis=1).astype(np.float32),
        metric=metric,
    )


def fuzzy_graph(neighbors: Neighbors, **params) -> Graph:
    return FuzzyGraph(FuzzyParams(**params)).build(GraphRequest(n_obs=neighbors.n_obs, neighbors=neighbors))


def precomputed_graph(stored: Graph) -> Graph:
    return PrecomputedGraph(PrecomputedParams()).build(GraphRequest(n_obs=stored.n_obs, stored=stored))


@pytest.fixture
def neighbors(rng) -> Neighbors:
    return neighbors_of(rng.normal(size=(60, 3)), 6)


def test_fuzzy_graph_is_symmetric_by_default(neighbors):
    graph = fuzzy_graph(neighbors)
    dense = graph.to_scipy().toarray()
    assert not graph.directed
    assert np.array_equal(dense, dense.T)
    assert (dense > 0).sum(axis=1).min() >= 6


def test_without_symmetrisation_every_cell_keeps_its_own_memberships(neighbors):
    directed = fuzzy_graph(neighbors, symmetrize=False)
    assert directed.directed
    assert np.array_equal(np.diff(directed.indptr), np.full(60, 6))
    for row in range(60):
        kept = directed.indices[directed.indptr[row] : directed.indptr[row + 1]]
        assert np.array_equal(kept, np.sort(neighbors.indices[row]))
    a = directed.to_scipy().toarray()
    np.testing.assert_allclose(fuzzy_graph(neighbors).to_scipy().toarray(), a + a.T - a * a.T, atol=1e-6)


def test_mix_ratio_goes_from_intersection_to_union(neighbors):
    both = fuzzy_graph(neighbors, set_op_mix_ratio=0).to_scipy()
    either = fuzzy_graph(neighbors, set_op_mix_ratio=1).to_scipy()
    half = fuzzy_graph(neighbors, set_op_mix_ratio=0.5).to_scipy()
    assert both.nnz < either.nnz == half.nnz
    np.testing.assert_allclose(half.toarray(), (both + either).toarray() / 2, atol=1e-6)


def test_local_connectivity_joins_that_many_with_weight_one(neighbors):
    graph = fuzzy_graph(neighbors, local_connectivity=3, symmetrize=False).to_scipy().toarray()
    assert ((graph == 1).sum(axis=1) == 3).all()


@pytest.mark.parametrize("limit", [1.0, None])
def test_neighbours_at_the_disconnection_distance_are_dropped(limit):
    points = np.array([[0.0], [0.9], [1.9], [5.0]])
    graph = fuzzy_graph(neighbors_of(points, 3), disconnection_distance=limit)
    joined = graph.to_scipy().toarray() > 0
    assert joined[0, 1]
    assert joined[1, 2] == (limit is None)
    assert joined[3].any() == (limit is None)


@pytest.mark.parametrize(("metric", "limit"), [("cosine", 2), ("correlation", 2), ("jaccard", 1), ("dice", 1)])
def test_bounded_metrics_drop_what_is_as_far_as_can_be(metric, limit, caplog):
    caplog.set_level(logging.INFO, logger="vicinal")
    indices = np.array([[1, 2], [0, 2], [0, 1]], np.int32)
    distances = np.array([[0.2, limit], [0.2, 0.99 * limit], [0.99 * limit, limit]], np.float32)
    table = Neighbors(indices=indices, distances=distances, metric=metric)
    graph = fuzzy_graph(table, symmetrize=False)
    assert np.diff(graph.indptr).tolist() == [1, 2, 1]
    assert f"2 of 6 neighbours are at distance {limit} or beyond" in caplog.text
    assert np.diff(fuzzy_graph(table, symmetrize=False, disconnection_distance=np.inf).indptr).tolist() == [2, 2, 2]
    np.testing.assert_array_equal(table.indices, indices)


def test_opposite_cells_are_not_neighbours_by_cosine():
    graph = fuzzy_graph(neighbors_of(np.array([[1.0, 0.0], [1.0, 0.1], [-1.0, 0.0]]), 2, "cosine"))
    assert graph.to_scipy()[0, 2] == 0


def test_cells_may_be_isolated(neighbors):
    indices, distances = neighbors.indices.copy(), neighbors.distances.copy()
    alone = 5
    distances[indices == alone], indices[indices == alone] = np.inf, -1
    indices[alone], distances[alone] = -1, np.inf
    graph = fuzzy_graph(Neighbors(indices=indices, distances=distances))
    assert np.diff(graph.indptr)[alone] == 0
    assert alone not in graph.indices
    assert np.isfinite(graph.weights).all()


@pytest.mark.parametrize("n", [0, 1, 7])
@pytest.mark.parametrize("symmetrize", [True, False])
def test_a_table_without_columns_gives_an_empty_graph(n, symmetrize):
    empty = Neighbors(indices=np.empty((n, 0), np.int32), distances=np.empty((n, 0), np.float32))
    graph = fuzzy_graph(empty, symmetrize=symmetrize)
    assert graph.n_obs == n
    assert len(graph.indices) == len(graph.weights) == 0


@pytest.mark.parametrize("value", [0.5, "1", True, None, np.nan])
@pytest.mark.parametrize(
    "name", ["local_connectivity", "set_op_mix_ratio", "symmetrize", "disconnection_distance", "target_weight"]
)
def test_fuzzy_parameters_are_checked(name, value):
    fine = {"symmetrize": isinstance(value, bool), "disconnection_distance": value is None or value == 0.5}
    if fine.get(name, value == 0.5):
        assert getattr(FuzzyParams(**{name: value}), name) is value
        return
    with pytest.raises(InputError, match=f"{name}=.*not allowed; give"):
        FuzzyParams(**{name: value})


@pytest.mark.parametrize(
    "params",
    [{"set_op_mix_ratio": 1.01}, {"set_op_mix_ratio": -0.1}, {"local_connectivity": -1}, {"disconnection_distance": 0}],
)
def test_fuzzy_parameters_out_of_range_are_refused(params):
    with pytest.raises(InputError, match=next(iter(params))):
        FuzzyParams(**params)


def stored_graph(dense: list[list[float]]) -> Graph:
    dense_array = np.array(dense, np.float32)
    there = dense_array != 0
    indptr = np.concatenate([[0], np.cumsum(there.sum(axis=1))]).astype(np.int32)
    return Graph(indptr=indptr, indices=np.nonzero(there)[1].astype(np.int32), weights=dense_array[there])


def test_a_stored_graph_is_used_as_it_is():
    stored = stored_graph([[0, 0.5, 2], [0.5, 0, 0], [2, 0, 0]])
    graph = precomputed_graph(stored)
    assert not graph.directed
    assert graph.weights is stored.weights and graph.indices is stored.indices and graph.indptr is stored.indptr


@pytest.mark.parametrize("dense", [[[0, 0.5], [0, 0]], [[0, 0.5], [0.4, 0]]])
def test_a_stored_graph_that_is_not_symmetric_is_directed(dense, caplog):
    caplog.set_level(logging.INFO, logger="vicinal")
    assert precomputed_graph(stored_graph(dense)).directed
    assert "not symmetric" in caplog.text


@pytest.mark.parametrize("bad", [-0.1, np.nan, np.inf])
def test_bad_stored_weights_are_refused(bad):
    stored = stored_graph([[0, 1, 1], [1, 0, 0], [1, 0, 0]])
    stored.weights[1] = bad
    before = stored.weights.copy()
    with pytest.raises(InputError, match="1 of 4 stored connectivities are negative or not finite"):
        precomputed_graph(stored)
    np.testing.assert_array_equal(stored.weights, before)


def test_a_stored_graph_may_be_empty():
    assert precomputed_graph(stored_graph(np.zeros((4, 4)).tolist())).n_obs == 4
