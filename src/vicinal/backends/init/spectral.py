"""Eigenvectors of the graph's Laplacian as first layout, each connected component by itself."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vicinal.contract.data import Graph, Layout
from vicinal.contract.requests import InitRequest
from vicinal.contract.seeds import child_seed, generator
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities, NoParams

from .arrangement import pushed_apart, spiral
from .linear_algebra import leading_eigenvectors, one_blas_thread, with_fixed_signs, with_noise_for_flat
from .pca import principal_components
from .random import random_layout

DENSE_UP_TO = 400
ROOM = 0.7  # radius that a component of unit side is given

logger = logging.getLogger("vicinal")

SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="init",
    name="spectral",
    target="vicinal.backends.init.spectral:Backend",
    summary="Eigenvectors of the graph's normalised Laplacian",
    capabilities=Capabilities(inputs=("graph",), deterministic=True),
    cite=("Belkin & Niyogi 2003, doi:10.1162/089976603321780317",),
)


class Backend:
    """Lays out each component by its slowest modes and sets the components beside each other.

    A component's side is in proportion to the square root of its size. The work on a component is bounded; one
    whose eigenvectors are not found within it starts from its principal components, or at random.
    """

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def place(self, request: InitRequest) -> Layout:
        """Return the eigenvectors, components apart from each other."""
        from scipy.sparse.csgraph import connected_components

        adjacency = _undirected(request.graph)
        _, labels = connected_components(adjacency, connection="strong")
        order, sizes = np.argsort(labels, kind="stable"), np.bincount(labels)
        if len(sizes) > 1:
            adjacency = adjacency[order][:, order]
        layout = np.zeros((len(order), request.n_components))
        layout[order] = _components_in_order(adjacency, order, sizes, request)
        if len(sizes) > 1:
            layout += _centers(labels, sizes, request)[labels]
        return layout.astype(np.float32)


def _undirected(graph: Graph) -> sparse.csr_matrix:
    matrix = graph.to_scipy()
    if not graph.weights.all():
        matrix = matrix.copy()
        matrix.eliminate_zeros()
    return matrix + matrix.T if graph.directed else matrix


def _components_in_order(
    adjacency: sparse.csr_matrix, order: NDArray[np.intp], sizes: NDArray[np.intp], request: InitRequest
) -> NDArray[np.float64]:
    """Return each component's layout around the origin; its rows follow one another in ``adjacency``."""
    draw = generator(request.seed)
    layout = np.zeros((len(order), request.n_components))
    stops = np.cumsum(sizes)
    with one_blas_thread():
        for component in np.flatnonzero(sizes > 1):
            rows = slice(stops[component] - sizes[component], stops[component])
            part = adjacency[rows, rows] if len(sizes) > 1 else adjacency
            layout[rows] = _component(part, order[rows], request, draw)
    return layout


def _component(
    adjacency: sparse.csr_matrix, cells: NDArray[np.intp], request: InitRequest, draw: np.random.Generator
) -> NDArray[np.float64]:
    found = slowest_modes(adjacency, min(request.n_components, len(cells) - 1), request.n_jobs)
    layout = np.zeros((len(cells), request.n_components))
    if found is None:
        layout[:] = _fallback(cells, request, draw)
    else:
        layout[:, : found.shape[1]] = found
    layout = with_noise_for_flat(layout, draw)
    low, high = layout.min(axis=0), layout.max(axis=0)
    return (layout - (low + high) / 2) * (np.sqrt(len(cells)) / (high - low).max())


def _fallback(cells: NDArray[np.intp], request: InitRequest, draw: np.random.Generator) -> NDArray[np.floating]:
    rows = request.representation
    instead = "random positions" if rows is None else "its principal components"
    logger.warning(
        "init='spectral': a component of %d cells starts from %s: its eigenvectors were not found in bounded time",
        len(cells),
        instead,
    )
    if rows is None:
        return random_layout(len(cells), request.n_components, draw)
    return principal_components(rows[cells], request.n_components, draw)


def slowest_modes(adjacency: sparse.csr_matrix, k: int, n_jobs: int = 1) -> NDArray[np.float64] | None:
    """Return the ``k`` first non-trivial solutions of ``L y = lambda D y`` on a connected graph, slowest first.

    They are eigenvectors of the normalised adjacency over the root of the degrees. None where they are not found
    within the bounds. The trivial one, known beforehand, is taken out, so that one nearly as slow (two parts joined
    by one edge) is not lost beside it.
    """
    if adjacency.shape[0] <= DENSE_UP_TO:
        return with_fixed_signs(_dense_modes(adjacency, k))
    from .eigensolver import multilevel_modes

    # Writable and of one type each, so that one compiled variant serves every caller.
    types = zip((adjacency.indptr, adjacency.indices, adjacency.data), (np.int64, np.int32, np.float32), strict=True)
    starts, indices, weights = (np.require(part, dtype, ["C", "W"]) for part, dtype in types)
    modes = multilevel_modes((starts, indices, weights), k, n_jobs)
    return None if modes is None else with_fixed_signs(modes)


def _dense_modes(adjacency: sparse.csr_matrix, k: int) -> NDArray[np.float64]:
    dense = adjacency.toarray().astype(np.float64)
    root = np.sqrt(dense.sum(axis=1))
    trivial = root / np.linalg.norm(root)
    vectors = leading_eigenvectors(dense / root[:, None] / root - 2 * np.outer(trivial, trivial), k)
    return vectors / root[:, None]


def _centers(labels: NDArray[np.integer], sizes: NDArray[np.intp], request: InitRequest) -> NDArray[np.float64]:
    radii = ROOM * np.sqrt(sizes)
    rows = request.representation
    if rows is None:
        return spiral(radii, request.n_components)
    draw = generator(child_seed(request.seed, "arrangement"))
    members = sparse.csr_matrix((1 / sizes[labels], (labels, np.arange(len(labels)))), shape=(len(sizes), len(labels)))
    return pushed_apart(principal_components(members @ rows, request.n_components, draw), radii, draw)
