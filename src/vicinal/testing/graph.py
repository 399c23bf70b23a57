"""What every graph backend must do."""

# ruff: noqa: D102  the name of a check says what it checks

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
from numpy.typing import NDArray

from vicinal.contract.data import MISSING, Graph, Neighbors
from vicinal.contract.requests import GraphRequest
from vicinal.pipeline.checks import check_graph

from .base import SMALL, Conformance, unless_refused
from .data import blobs, brute_force, knn_graph, read_only


class GraphConformance(Conformance):
    """Checks of a graph backend.

    Attributes
    ----------
    k
        Neighbours of each cell.
    """

    stage: ClassVar[str] = "graph"
    k: ClassVar[int] = 10

    def build(
        self, neighbors: Neighbors, *, seed: int = 0, n_jobs: int = 1, labels: NDArray[np.integer] | None = None
    ) -> Graph:
        """Return the graph of a neighbour table, or of the graph stored with it where that is what it works from."""
        stored = knn_graph(neighbors) if "stored_graph" in self.spec.capabilities.inputs else None
        request = GraphRequest(
            n_obs=neighbors.n_obs, neighbors=neighbors, stored=stored, labels=labels, seed=seed, n_jobs=n_jobs
        )
        return self.make_backend().build(request)

    def exercise(self) -> Any:
        """Build the graph of some points."""
        return self.build(brute_force(blobs()[0], self.k))

    def test_graph_is_well_formed(self) -> None:
        assert_graph(self.exercise(), len(blobs()[0]))

    def test_every_cell_with_neighbors_has_an_edge(self) -> None:
        graph = self.exercise()
        ends = np.r_[np.repeat(np.arange(graph.n_obs), np.diff(graph.indptr)), graph.indices]
        assert set(ends.tolist()) == set(range(graph.n_obs))

    def test_edges_join_neighbors_only(self) -> None:
        neighbors = brute_force(blobs()[0], self.k)
        allowed = neighbors.to_csr().astype(bool)
        allowed = allowed + allowed.T
        edges = self.build(neighbors).to_scipy().astype(bool)
        assert (edges > allowed).nnz == 0, "an edge joins two cells of which neither is the other's neighbour"

    def test_missing_neighbors(self) -> None:
        table = _with_missing(brute_force(blobs()[0], self.k))
        assert_graph(self.build(table), table.n_obs)

    def test_cells_without_any_neighbor(self) -> None:
        table = _with_missing(brute_force(blobs()[0], self.k), isolated=(0, 7))
        assert_graph(self.build(table), table.n_obs)

    def test_duplicated_points(self) -> None:
        rows = blobs()[0][np.r_[:20, np.zeros(60, dtype=int)]]
        assert_graph(self.build(brute_force(rows, self.k)), len(rows))

    def test_same_seed_gives_the_same_graph(self) -> None:
        assert_same_graph(self.exercise(), self.exercise())

    def test_threads_do_not_change_the_graph(self) -> None:
        if not self.spec.capabilities.deterministic:
            pytest.skip("not declared deterministic")
        neighbors = brute_force(blobs()[0], self.k)
        assert_same_graph(self.build(neighbors, n_jobs=1), self.build(neighbors, n_jobs=2))

    def test_few_points(self) -> None:
        for n_obs in SMALL:
            neighbors = brute_force(blobs(n_obs)[0], min(self.k, n_obs - 1))
            graph = unless_refused(lambda neighbors=neighbors: self.build(neighbors))  # type: ignore[misc]
            if graph is not None:
                assert_graph(graph, n_obs)

    def test_labels_part_cells(self) -> None:
        labels = self._labels()
        unlabelled, labelled = self.exercise(), self._labelled(labels)
        assert_graph(labelled, len(labels))
        assert _between(labelled, labels) < _between(unlabelled, labels), "cells of two labels are joined as before"
        assert not (labelled.to_scipy().astype(bool) > unlabelled.to_scipy().astype(bool)).nnz, "labels join cells"

    def test_labels_may_be_unknown_or_all_the_same(self) -> None:
        labels = self._labels()
        for some in (np.where(np.arange(len(labels)) % 3, labels, -1), np.full_like(labels, -1), np.zeros_like(labels)):
            assert_graph(self._labelled(some), len(labels))

    def test_only_which_labels_are_equal_matters(self) -> None:
        labels = self._labels()
        assert_same_graph(self._labelled(labels), self._labelled(7 - labels))

    def test_threads_do_not_change_the_labelled_graph(self) -> None:
        if not self.spec.capabilities.deterministic:
            pytest.skip("not declared deterministic")
        labels = self._labels()
        assert_same_graph(self._labelled(labels), self._labelled(labels, n_jobs=2))

    def _labels(self) -> NDArray[np.int64]:
        """Return labels of which each group of points has two."""
        if not self.spec.capabilities.supervised:
            pytest.skip("does not use labels")
        return np.arange(len(blobs()[0])) // 3 % 2

    def _labelled(self, labels: NDArray[np.int64], n_jobs: int = 1) -> Graph:
        return self.build(brute_force(blobs()[0], self.k), labels=read_only(labels), n_jobs=n_jobs)


def assert_graph(graph: Graph, n_obs: int) -> None:
    """Fail unless the graph is one the host, every initialisation and every optimizer can use."""
    problem = check_graph(graph, n_obs)
    assert not problem, problem
    rows = np.repeat(np.arange(n_obs), np.diff(graph.indptr))
    same_row = rows[1:] == rows[:-1]
    assert (np.diff(graph.indices)[same_row] > 0).all(), "columns must rise within a row, none listed twice"
    assert (graph.indices != rows).all(), "a cell has an edge to itself"
    assert ((graph.weights > 0) & (graph.weights <= 1)).all(), "weights must be above 0 and at most 1"
    if not graph.directed:
        matrix = graph.to_scipy()
        assert abs(matrix - matrix.T).max() == 0, "an undirected graph must be stored equally from both ends"


def assert_same_graph(one: Graph, two: Graph) -> None:
    """Fail unless two graphs have the same bits."""
    for name in ("indptr", "indices", "weights"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name), name)


def _between(graph: Graph, labels: NDArray[np.int64]) -> float:
    """Return the share of the weight that is on edges between two labels."""
    owners = np.repeat(labels, np.diff(graph.indptr))
    return float(graph.weights[owners != labels[graph.indices]].sum() / max(graph.weights.sum(), 1e-30))


def _with_missing(table: Neighbors, isolated: tuple[int, ...] = ()) -> Neighbors:
    """Return the table with ragged rows, and without any trace of the isolated cells."""
    indices, distances = table.indices.copy(), table.distances.copy()
    ragged = np.arange(table.k) >= (1 + np.arange(table.n_obs) % table.k)[:, None]
    gone = ragged | np.isin(indices, isolated) | np.isin(np.arange(table.n_obs), isolated)[:, None]
    order = np.argsort(gone, axis=1, kind="stable")
    indices[gone], distances[gone] = MISSING, np.inf
    return Neighbors(
        indices=read_only(np.take_along_axis(indices, order, axis=1)),
        distances=read_only(np.take_along_axis(distances, order, axis=1)),
        metric=table.metric,
    )
