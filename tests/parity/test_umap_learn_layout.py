"""The same graph, laid out by umap-learn and by the spectral initialisation with the built-in optimiser."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from scipy import sparse
from sklearn.neighbors import NearestNeighbors

from vicinal.api import Graph, InitRequest, NoParams, OptimizeRequest, generator
from vicinal.backends.init.spectral import Backend as Spectral
from vicinal.backends.objective.umap import UmapObjective, UmapParams
from vicinal.backends.optimizer.numba_sgd import NumbaSgd, NumbaSgdParams
from vicinal.kernels.lanes import LANES, LARGEST_WEIGHT, lanes_epoch

A, B = 1.5769434603, 0.8950608779
SEEDS = range(3)
N_NEIGHBORS = 15

pytestmark = pytest.mark.slow


def representation(name, data_dir):
    if name == "fashion_mnist":
        return np.load(data_dir / "fashion_mnist_pca50.npz")["X_pca"][:20_000].astype(np.float32)
    return np.ascontiguousarray(ad.read_h5ad(data_dir / f"{name}.h5ad").obsm["X_pca"], dtype=np.float32)


def fuzzy_graph(rows):
    from umap.umap_ import fuzzy_simplicial_set

    found = NearestNeighbors(n_neighbors=N_NEIGHBORS, algorithm="brute").fit(rows)
    distances, indices = found.kneighbors(rows)
    state = np.random.RandomState(0)
    graph, _, _ = fuzzy_simplicial_set(rows, N_NEIGHBORS, state, "euclidean", knn_indices=indices, knn_dists=distances)
    return sparse.csr_matrix(graph)


def epochs_of(rows):
    return 500 if len(rows) <= 10_000 else 200


def theirs(rows, matrix, seed):
    from umap.umap_ import simplicial_set_embedding

    layout, _ = simplicial_set_embedding(
        rows,
        matrix.copy(),
        n_components=2,
        initial_alpha=1.0,
        a=A,
        b=B,
        gamma=1.0,
        negative_sample_rate=5,
        n_epochs=epochs_of(rows),
        init="spectral",
        random_state=np.random.RandomState(seed),
        metric="euclidean",
        metric_kwds={},
        densmap=False,
        densmap_kwds={},
        output_dens=False,
    )
    return layout


def ours(rows, matrix, seed):
    graph, objective = Graph.from_scipy(matrix), UmapObjective(UmapParams(a=A, b=B))
    first = Spectral(NoParams()).place(InitRequest(graph=graph, n_components=2, representation=rows, seed=seed))
    first = objective.rescale(first) + generator(seed).normal(scale=1e-4, size=first.shape).astype(np.float32)
    run = NumbaSgd(NumbaSgdParams()).start(
        OptimizeRequest(graph=graph, layout=first, objective=objective, seed=seed, n_jobs=2)
    )
    assert run.n_epochs == epochs_of(rows)
    run.step(run.n_epochs)
    return run.layout


def neighbor_sets(values, sample, k=15):
    found = NearestNeighbors(n_neighbors=k + 1).fit(values).kneighbors(values[sample], return_distance=False)
    return [set(row) - {cell} for row, cell in zip(found, sample, strict=True)]


def recall(rows, layout):
    sample = np.random.default_rng(0).choice(len(rows), 2000, replace=False)
    pairs = zip(neighbor_sets(rows, sample), neighbor_sets(layout, sample), strict=True)
    return np.mean([len(true & found) / len(true) for true, found in pairs])


@pytest.mark.parametrize("name", ["pbmc3k", "paul15", "worm_l2", "fashion_mnist"])
def test_recall_is_that_of_umap_learn(name, data_dir):
    rows = representation(name, data_dir)
    matrix = fuzzy_graph(rows)
    layouts = [ours(rows, matrix, seed) for seed in SEEDS]
    for layout in layouts:
        radius = np.linalg.norm(layout - np.median(layout, axis=0), axis=1)
        assert radius.max() < 1.6 * np.quantile(radius, 0.99), "a cell flew off"
    own = np.mean([recall(rows, layout) for layout in layouts])
    peer = np.mean([recall(rows, theirs(rows, matrix, seed)) for seed in SEEDS])
    print(f"{name}: recall {own:.4f}, umap-learn {peer:.4f}")
    assert own >= peer - 0.01


def test_edges_are_used_as_often_as_umap_learn_schedules_them(data_dir):
    """Each edge's weight as the only edge of a vertex of its own, which moves when the edge is used."""
    from umap.umap_ import make_epochs_per_sample

    n_epochs = 500
    weights = fuzzy_graph(representation("pbmc3k", data_dir)).data
    scheduled = n_epochs / make_epochs_per_sample(weights, n_epochs)
    n = len(weights)
    layout = np.zeros((n + 1, 1), dtype=np.float32)
    layout[n] = 1
    moved, uses = np.empty_like(layout), np.zeros(n)
    starts, ends = np.append(np.arange(n + 1), n), np.full(n, n, dtype=np.int32)
    shares = np.round(weights * (LARGEST_WEIGHT / weights.max())).astype(np.uint16)
    numbers = (1, *map(np.float32, (A, B, 1.0)), 0.0, np.float32(1e-3), 3)
    for epoch in range(n_epochs):
        lanes_epoch(starts, ends, shares, layout, moved, *numbers, epoch, 0, 2, 0, n // LANES + 1)
        uses += moved[:n, 0] > 0
    assert np.abs(uses - scheduled).max() < 5
    assert abs((uses - scheduled).mean()) < 0.05
