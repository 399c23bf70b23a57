"""Graphs intersected with labels, against the definition written out for dense matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import sparse

from vicinal.api import Graph, GraphRequest, InputError
from vicinal.backends.graph.precomputed import PrecomputedGraph, PrecomputedParams
from vicinal.backends.graph.supervision import supervised
from vicinal.testing import brute_force, knn_graph, read_only


@pytest.fixture
def graph(rng) -> Graph:
    return knn_graph(brute_force(rng.normal(size=(70, 4)), 6))


@pytest.fixture
def labels(rng) -> np.ndarray:
    return read_only(rng.integers(-1, 4, size=70))


def defined(weights: np.ndarray, labels: np.ndarray, target_weight: float, *, directed: bool) -> np.ndarray:
    """Return what the graph must be, entry by entry, in double precision."""
    far = 2.5 / (1 - target_weight) if target_weight < 1 else 1e12
    met = weights.astype(np.float64)
    for i, j in np.argwhere(weights > 0):
        if labels[i] < 0 or labels[j] < 0:
            met[i, j] *= math.exp(-1)
        elif labels[i] != labels[j]:
            met[i, j] *= math.exp(-far)
    largest = met.max(axis=1, keepdims=True)
    met = np.divide(met, largest, out=np.zeros_like(met), where=largest > 0)
    return met if directed else met + met.T - met * met.T


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("target_weight", [0, 0.3, 0.5, 0.9, 1])
def test_it_is_as_defined(graph, labels, target_weight, directed):
    dense = graph.to_scipy().toarray()
    if directed:
        dense = np.triu(dense) + 0.3 * np.tril(dense)
        graph = Graph.from_scipy(sparse.csr_matrix(dense), directed=True)
    found = supervised(graph, labels, target_weight)
    assert found.directed == directed
    assert found.weights.dtype == np.float32 and found.indices.dtype == np.int32
    assert (found.weights > 0).all() and (found.weights <= 1).all()
    expected = defined(dense, labels, target_weight, directed=directed)
    np.testing.assert_allclose(found.to_scipy().toarray(), expected, atol=1e-6)


def test_at_one_no_edge_between_labels_is_left(graph, labels):
    found = supervised(graph, labels, 1.0)
    owners = np.repeat(labels, np.diff(found.indptr))
    others = labels[found.indices]
    assert ((owners == others) | (owners < 0) | (others < 0)).all()
    assert 0 < len(found.weights) < len(graph.weights)
    known = labels[labels >= 0]
    assert (np.unique(known) == np.unique(owners[owners >= 0])).all()


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_that_are_all_the_same_leave_a_graph_whose_rows_reach_one(graph, label):
    dense = supervised(graph, np.full(70, label), 0.9).to_scipy().toarray()
    assert np.array_equal(dense > 0, graph.to_scipy().toarray() > 0)
    assert (dense.max(axis=1) == 1).all()


def test_cells_alone_in_the_graph_or_by_their_label(graph):
    dense = graph.to_scipy().toarray()
    dense[5], dense[:, 5] = 0, 0
    labels = np.zeros(70, dtype=np.int64)
    labels[9] = 1
    found = supervised(Graph.from_scipy(sparse.csr_matrix(dense)), labels, 1.0)
    degree = np.diff(found.indptr)
    assert degree[5] == degree[9] == 0
    assert not np.isin([5, 9], found.indices).any()
    # Short of 1, a cell all of whose neighbours have another label keeps them: its nearest has weight 1 again.
    assert supervised(graph, labels, 0.5).to_scipy().toarray()[9].max() == 1


def test_the_graph_given_is_left_as_it_is(graph, labels):
    before = [array.copy() for array in (graph.indptr, graph.indices, graph.weights)]
    supervised(graph, labels, 1.0)
    for array, kept in zip((graph.indptr, graph.indices, graph.weights), before, strict=True):
        np.testing.assert_array_equal(array, kept)


def test_the_order_of_cells_and_the_numbers_of_labels_do_not_matter(graph, labels, rng):
    order = rng.permutation(70)
    shuffled = Graph.from_scipy(graph.to_scipy()[order][:, order])
    renamed = np.where(labels < 0, -1, np.array([7, 2, 5, 0])[labels])
    here, there = supervised(graph, labels, 0.7), supervised(shuffled, renamed[order], 0.7)
    np.testing.assert_array_equal(here.to_scipy().toarray()[order][:, order], there.to_scipy().toarray())


@pytest.mark.parametrize("target_weight", [0.5, 1.0])
def test_many_rows_in_threads_and_wide_pointers(rng, target_weight):
    matrix = sparse.random(5000, 5000, density=2e-3, dtype=np.float32, random_state=0)
    matrix = sparse.csr_matrix(matrix.maximum(matrix.T))
    narrow = Graph.from_scipy(matrix)
    wide = Graph(indptr=narrow.indptr.astype(np.int64), indices=narrow.indices, weights=narrow.weights)
    labels = rng.integers(-1, 5, size=5000)
    expected = supervised(narrow, labels, target_weight, n_jobs=1)
    for found in (supervised(narrow, labels, target_weight, n_jobs=3), supervised(wide, labels, target_weight)):
        for name in ("indptr", "indices", "weights"):
            np.testing.assert_array_equal(getattr(found, name), getattr(expected, name))
    assert abs(expected.to_scipy() - expected.to_scipy().T).max() == 0


@pytest.mark.parametrize("n", [0, 1, 5])
def test_without_edges(n):
    empty = Graph.from_scipy(sparse.csr_matrix((n, n), dtype=np.float32))
    assert supervised(empty, np.zeros(n, dtype=np.int64), 0.5).n_obs == n


def test_stored_weights_above_one_are_brought_down():
    weights = sparse.csr_matrix(np.array([[0, 8, 2], [8, 0, 4], [2, 4, 0]], dtype=np.float32))
    request = GraphRequest(n_obs=3, stored=Graph.from_scipy(weights), labels=np.array([0, 0, 1]))
    found = PrecomputedGraph(PrecomputedParams(target_weight=0.0)).build(request).to_scipy().toarray()
    np.testing.assert_allclose(found, defined(weights.toarray(), request.labels, 0.0, directed=False), atol=1e-6)


@pytest.mark.parametrize("value", [-0.1, 1.1, "half", None, True, np.nan])
def test_target_weight_is_checked(value):
    with pytest.raises(InputError, match="target_weight=.*not allowed; give a finite number from 0 to 1"):
        PrecomputedParams(target_weight=value)
