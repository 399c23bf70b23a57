"""Small inputs whose right answers are known; every array is read-only, as a host's may be."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial.distance import cdist

from vicinal.contract.data import MISSING, Graph, Layout, Neighbors
from vicinal.contract.requests import ScoreRequest

A = TypeVar("A", bound=np.ndarray)

SCIPY_METRICS = {"manhattan": "cityblock"}
"""Metrics that scipy calls by another name."""


def read_only(array: A) -> A:
    """Return a C-contiguous copy that cannot be written to."""
    copy = np.array(array, order="C", copy=True)
    copy.setflags(write=False)
    return copy  # type: ignore[return-value]


def blobs(n_obs: int = 240, n_features: int = 8, n_groups: int = 3) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Return points in round groups, float32 ``(n_obs, n_features)``, and each point's group."""
    draw = np.random.Generator(np.random.Philox(key=n_obs))
    labels = np.arange(n_obs) % n_groups
    centers = 6 * draw.normal(size=(n_groups, n_features))
    points = centers[labels] + draw.normal(size=(n_obs, n_features))
    return read_only(points.astype(np.float32)), read_only(labels)


def brute_force(rows: np.ndarray, k: int, metric: str = "euclidean") -> Neighbors:
    """Return the ``k`` nearest other rows of each row, from all distances in double precision."""
    distances = all_distances(rows, rows, metric)
    np.fill_diagonal(distances, np.inf)
    indices = np.argsort(distances, axis=1, kind="stable")[:, :k]
    return Neighbors(
        indices=read_only(indices.astype(np.int32)),
        distances=read_only(np.take_along_axis(distances, indices, axis=1).astype(np.float32)),
        metric=metric,
    )


def all_distances(rows: np.ndarray, others: np.ndarray, metric: str = "euclidean") -> NDArray[np.float64]:
    """Return the distances between all rows of two arrays, in double precision."""
    wide = (np.asarray(rows, dtype=np.float64), np.asarray(others, dtype=np.float64))
    return cdist(*wide, metric=SCIPY_METRICS.get(metric, metric))


def ring_graph(n_obs: int, n_rings: int = 1) -> Graph:
    """Return ``n_rings`` separate rings of ``n_obs`` cells in all; every edge has weight 1."""
    rings = [_ring(len(part)) for part in np.array_split(np.arange(n_obs), n_rings)]
    return _frozen(Graph.from_scipy(sparse.block_diag(rings, format="csr")))


def knn_graph(neighbors: Neighbors) -> Graph:
    """Return a symmetric graph in which a neighbour's weight falls with its rank."""
    ranks = np.tile(1 / np.arange(1, neighbors.k + 1), (neighbors.n_obs, 1))
    present = neighbors.indices != MISSING
    rows = np.nonzero(present)[0]
    shape = (neighbors.n_obs, neighbors.n_obs)
    one_way = sparse.csr_matrix((ranks[present], (rows, neighbors.indices[present])), shape=shape)
    return _frozen(Graph.from_scipy(one_way.maximum(one_way.T)))


def normal_layout(n_obs: int, n_components: int = 2, seed: int = 0) -> Layout:
    """Return a layout of independent normal coordinates."""
    draw = np.random.Generator(np.random.Philox(key=seed))
    return read_only(draw.normal(size=(n_obs, n_components)).astype(np.float32))


def score_request(
    representation: np.ndarray,
    layout: np.ndarray,
    *,
    labels: np.ndarray | None = None,
    sample: np.ndarray | None = None,
    k: int = 50,
) -> ScoreRequest:
    """Return the request of a layout's scores, with exact tables for the sampled cells (None for all)."""
    sample = np.arange(len(layout)) if sample is None else sample
    order, ranks = _orders(representation, sample)
    layout_order, _ = _orders(layout, sample)
    k = min(k, len(layout) - 1)
    near_in_layout = layout_order[:, :k]
    return ScoreRequest(
        representation=read_only(representation.astype(np.float32)),
        layout=read_only(layout.astype(np.float32)),
        sample=read_only(sample.astype(np.intp)),
        representation_neighbors=read_only(order[:, :k].astype(np.int32)),
        layout_neighbors=read_only(near_in_layout.astype(np.int32)),
        layout_ranks=read_only(np.take_along_axis(ranks, near_in_layout, axis=1).astype(np.int64)),
        labels=None if labels is None else read_only(labels),
    )


def _orders(values: np.ndarray, sample: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distances = all_distances(values[sample], values)
    distances[np.arange(len(sample)), sample] = -1  # the cell itself comes first, and is then cut off
    order = np.argsort(distances, axis=1, kind="stable")
    return order[:, 1:], np.argsort(order, axis=1)


def _ring(n_obs: int) -> sparse.csr_matrix:
    here = np.arange(n_obs)
    step = sparse.csr_matrix(
        (np.ones(n_obs, dtype=np.float32), (here, (here + 1) % max(n_obs, 1))), shape=(n_obs, n_obs)
    )
    return step.maximum(step.T)


def _frozen(graph: Graph) -> Graph:
    return Graph(
        indptr=read_only(graph.indptr),
        indices=read_only(graph.indices),
        weights=read_only(graph.weights),
        directed=graph.directed,
    )
