"""Sigmas, rhos, graph weights, a and b against umap-learn, on real neighbours."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import sparse

from vicinal.api import GraphRequest, Neighbors
from vicinal.backends.graph.fuzzy import FuzzyGraph, FuzzyParams
from vicinal.backends.objective.umap import UmapObjective, UmapParams
from vicinal.kernels import fuzzy

pytestmark = pytest.mark.slow

DATASETS = ("pbmc3k", "paul15", "worm_l2")
CONNECTIVITIES = (1.0, 1.5, 2.0, 3.0)
N_NEIGHBORS = 15


def nearest(points: np.ndarray, algorithm: str = "brute") -> Neighbors:
    from sklearn.neighbors import NearestNeighbors

    distances, indices = NearestNeighbors(n_neighbors=N_NEIGHBORS - 1, algorithm=algorithm).fit(points).kneighbors()
    return Neighbors(indices=indices.astype(np.int32), distances=distances.astype(np.float32))


@pytest.fixture(scope="module", params=DATASETS)
def neighbors(request, data_dir) -> Neighbors:
    import anndata

    return nearest(anndata.read_h5ad(data_dir / f"{request.param}.h5ad").obsm["X_pca"])


@pytest.fixture(scope="module")
def duplicated(data_dir) -> Neighbors:
    """Every cell twice, and forty of them forty times more: rows of zeros among others."""
    import anndata

    points = anndata.read_h5ad(data_dir / "pbmc3k.h5ad").obsm["X_pca"][:600]
    # A tree measures distances directly, so that they are exactly zero between duplicates.
    return nearest(np.concatenate([points, points, np.repeat(points[:40], 40, axis=0)]), "kd_tree")


def with_self(neighbors: Neighbors) -> tuple[np.ndarray, np.ndarray]:
    n = neighbors.n_obs
    indices = np.column_stack([np.arange(n, dtype=np.int32), neighbors.indices])
    return indices, np.column_stack([np.zeros(n, np.float32), neighbors.distances])


def peer_bandwidths(distances: np.ndarray, local_connectivity: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    from umap.umap_ import smooth_knn_dist

    return smooth_knn_dist(distances, float(distances.shape[1]), local_connectivity=float(local_connectivity))


def peer_graph(
    neighbors: Neighbors, local_connectivity: float, mix: float, *, symmetrize: bool = True
) -> sparse.csr_matrix:
    from umap.umap_ import fuzzy_simplicial_set

    indices, distances = with_self(neighbors)
    graph, _, _ = fuzzy_simplicial_set(
        np.empty((neighbors.n_obs, 1)),
        indices.shape[1],
        np.random.RandomState(0),
        "euclidean",
        knn_indices=indices,
        knn_dists=distances,
        local_connectivity=local_connectivity,
        set_op_mix_ratio=mix,
        apply_set_operations=symmetrize,
    )
    graph = sparse.csr_matrix(graph)
    graph.eliminate_zeros()
    graph.sort_indices()
    return graph


def our_graph(neighbors: Neighbors, **params) -> sparse.csr_matrix:
    request = GraphRequest(n_obs=neighbors.n_obs, neighbors=neighbors, n_jobs=2)
    return FuzzyGraph(FuzzyParams(**params)).build(request).to_scipy()


def assert_equal_graphs(found: sparse.csr_matrix, expected: sparse.csr_matrix) -> None:
    assert found.nnz > 0
    np.testing.assert_array_equal(found.indptr, expected.indptr)
    np.testing.assert_array_equal(found.indices, expected.indices)
    np.testing.assert_allclose(found.data, expected.data, rtol=0, atol=3e-6)


@pytest.mark.parametrize("local_connectivity", CONNECTIVITIES)
def test_bandwidths(neighbors, local_connectivity):
    sigmas, rhos = fuzzy.smooth_distances(neighbors.indices, neighbors.distances, local_connectivity)
    expected_sigmas, expected_rhos = peer_bandwidths(with_self(neighbors)[1], local_connectivity)
    np.testing.assert_allclose(sigmas, expected_sigmas, rtol=0, atol=3e-6)
    np.testing.assert_allclose(rhos, expected_rhos, rtol=0, atol=3e-6)


@pytest.mark.parametrize("mix", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("local_connectivity", CONNECTIVITIES)
def test_graph(neighbors, local_connectivity, mix):
    found = our_graph(neighbors, local_connectivity=local_connectivity, set_op_mix_ratio=mix)
    assert_equal_graphs(found, peer_graph(neighbors, local_connectivity, mix))


def test_directed_graph(neighbors):
    assert_equal_graphs(our_graph(neighbors, symmetrize=False), peer_graph(neighbors, 1.0, 1.0, symmetrize=False))


@pytest.mark.parametrize("local_connectivity", CONNECTIVITIES)
def test_duplicate_cells(duplicated, local_connectivity):
    assert (duplicated.distances == 0).all(axis=1).sum() > 1000
    sigmas, rhos = fuzzy.smooth_distances(duplicated.indices, duplicated.distances, local_connectivity)
    expected_sigmas, expected_rhos = peer_bandwidths(with_self(duplicated)[1], local_connectivity)
    np.testing.assert_allclose(sigmas, expected_sigmas, rtol=0, atol=3e-6)
    np.testing.assert_allclose(rhos, expected_rhos, rtol=0, atol=3e-6)
    found = our_graph(duplicated, local_connectivity=local_connectivity)
    assert_equal_graphs(found, peer_graph(duplicated, local_connectivity, 1.0))


@pytest.mark.parametrize("local_connectivity", CONNECTIVITIES)
def test_ragged_rows_are_as_in_a_table_of_their_own_length(neighbors, local_connectivity):
    """umap-learn gives any row with a missing neighbour an infinite sigma; each length apart, it can be compared."""
    rng = np.random.default_rng(0)
    lengths = rng.integers(1, neighbors.k + 1, neighbors.n_obs)
    missing = np.arange(neighbors.k) >= lengths[:, None]
    indices = np.where(missing, np.int32(-1), neighbors.indices)
    distances = np.where(missing, np.float32(np.inf), neighbors.distances)
    sigmas, rhos = fuzzy.smooth_distances(indices, distances, local_connectivity)
    for length in range(1, neighbors.k + 1):
        rows = lengths == length
        expected = peer_bandwidths(with_self(neighbors)[1][rows, : length + 1], local_connectivity)
        np.testing.assert_allclose(sigmas[rows], expected[0], rtol=0, atol=3e-6)
        np.testing.assert_allclose(rhos[rows], expected[1], rtol=0, atol=3e-6)


def test_missing_neighbours_without_the_infinite_sigma(neighbors):
    """Rows that lack nothing equal umap-learn's, where one row has lost a neighbour; that row stays graded."""
    indices, distances = neighbors.indices.copy(), neighbors.distances.copy()
    indices[7, -1], distances[7, -1] = -1, np.inf
    gapped = Neighbors(indices=indices, distances=distances)
    expected = peer_graph(gapped, 1.0, 1.0, symmetrize=False)
    found = our_graph(gapped, symmetrize=False)
    others = np.arange(neighbors.n_obs) != 7
    assert_equal_graphs(found[others], expected[others])
    assert (expected[7].data == 1).all()
    assert (found[7].data < 1).sum() >= neighbors.k - 3


@pytest.mark.parametrize("spread", [0.5, 1.0, 1.5, 3.0])
@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.25, 0.5, 0.9, 1.0])
def test_kernel_parameters(spread, fraction):
    from umap.umap_ import find_ab_params

    objective = UmapObjective(UmapParams(min_dist=fraction * spread, spread=spread))
    a, b = find_ab_params(spread, fraction * spread)
    assert objective.a == pytest.approx(a, abs=1e-6)
    assert objective.b == pytest.approx(b, abs=1e-6)
