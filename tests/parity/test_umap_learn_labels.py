"""Graphs intersected with labels against umap-learn, on real and random graphs."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

import vicinal as vc
from vicinal.api import Graph, GraphRequest
from vicinal.backends.graph.fuzzy import FuzzyGraph, FuzzyParams
from vicinal.backends.graph.precomputed import PrecomputedGraph, PrecomputedParams
from vicinal.testing import brute_force

pytestmark = pytest.mark.slow

TARGET_WEIGHTS = (0.0, 0.25, 0.5, 0.9, 0.99, 1.0)
UNKNOWN = -1


@pytest.fixture(scope="module")
def cells():
    return vc.datasets.pbmc68k_reduced()


@pytest.fixture(scope="module")
def cell_types(cells) -> np.ndarray:
    return cells.obs["bulk_labels"].cat.codes.to_numpy().astype(np.int64)


@pytest.fixture(params=[0.0, 0.2, 1.0], ids="{:.0%} unknown".format)
def labels(request, cell_types) -> np.ndarray:
    gone = np.random.default_rng(0).random(len(cell_types)) < request.param
    return np.where(gone, UNKNOWN, cell_types)


def theirs(matrix: sparse.csr_matrix, labels: np.ndarray, target_weight: float) -> sparse.csr_matrix:
    from umap.umap_ import discrete_metric_simplicial_set_intersection

    far = 2.5 / (1.0 - target_weight) if target_weight < 1 else 1e12
    found = discrete_metric_simplicial_set_intersection(matrix.copy(), labels, far_dist=far)
    found = sparse.csr_matrix(found)
    found.sort_indices()
    return found


def ours(matrix: sparse.csr_matrix, labels: np.ndarray, target_weight: float) -> Graph:
    request = GraphRequest(n_obs=matrix.shape[0], stored=Graph.from_scipy(matrix), labels=labels, n_jobs=2)
    return PrecomputedGraph(PrecomputedParams(target_weight=target_weight)).build(request)


def assert_equal_graphs(found: sparse.csr_matrix, expected: sparse.csr_matrix) -> None:
    np.testing.assert_array_equal(found.indptr, expected.indptr)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_allclose(found.data, expected.data, rtol=0, atol=1e-6)


@pytest.mark.parametrize("target_weight", TARGET_WEIGHTS)
def test_stored_graph_of_cells(cells, labels, target_weight):
    matrix = sparse.csr_matrix(cells.obsp["connectivities"]).astype(np.float32)
    expected = theirs(matrix, labels, target_weight)
    assert_equal_graphs(ours(matrix, labels, target_weight).to_scipy(), expected)


@pytest.mark.parametrize("target_weight", TARGET_WEIGHTS)
@pytest.mark.parametrize("seed", range(3))
def test_random_graphs(seed, target_weight):
    rng = np.random.default_rng(seed)
    matrix = sparse.random(400, 400, density=0.02, dtype=np.float32, random_state=seed)
    matrix = sparse.csr_matrix(matrix.maximum(matrix.T))
    matrix.setdiag(0)
    matrix.eliminate_zeros()
    labels = rng.integers(UNKNOWN, 1 + 3 * seed, size=400)
    expected = theirs(matrix, labels, target_weight)
    assert_equal_graphs(ours(matrix, labels, target_weight).to_scipy(), expected)


@pytest.mark.parametrize("target_weight", [0.5, 0.9])
def test_the_graph_that_umap_learn_fits(cells, labels, target_weight):
    """From the rows on; umap-learn finds the neighbours of so few cells exactly too."""
    from umap import UMAP

    rows = cells.obsm["X_pca"].astype(np.float32)
    fitted = UMAP(n_neighbors=15, target_weight=target_weight, transform_mode="graph").fit(rows, labels).graph_
    fitted = sparse.csr_matrix(fitted)
    fitted.sort_indices()
    request = GraphRequest(n_obs=len(rows), neighbors=brute_force(rows, 14), labels=labels)
    found = FuzzyGraph(FuzzyParams(target_weight=target_weight)).build(request).to_scipy()
    np.testing.assert_array_equal(found.indptr, fitted.indptr)
    np.testing.assert_array_equal(found.indices, fitted.indices)
    np.testing.assert_allclose(found.data, fitted.data, rtol=0, atol=2e-5)  # distances are found in other sums


@pytest.mark.parametrize("target_weight", TARGET_WEIGHTS)
def test_directed_graph(cells, labels, target_weight):
    """umap-learn stops before the union here: the intersection, each row by its maximum."""
    from sklearn.preprocessing import normalize
    from umap.umap_ import fast_intersection

    table = brute_force(cells.obsm["X_pca"], 14)
    own = FuzzyGraph(FuzzyParams(symmetrize=False)).build(GraphRequest(n_obs=table.n_obs, neighbors=table)).to_scipy()
    met = own.tocoo(copy=True)
    fast_intersection(met.row, met.col, met.data, labels, 1.0, 2.5 / (1 - target_weight) if target_weight < 1 else 1e12)
    met.eliminate_zeros()
    expected = sparse.csr_matrix(normalize(met, norm="max"))
    request = GraphRequest(n_obs=table.n_obs, neighbors=table, labels=labels)
    found = FuzzyGraph(FuzzyParams(symmetrize=False, target_weight=target_weight)).build(request)
    assert found.directed
    assert_equal_graphs(found.to_scipy(), expected)
