"""Eigenvectors of the graph's Laplacian as first layout, each connected component by itself."""

from __future__ import annotations

import inspect
import logging
from typing import Any

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

DENSE_UP_TO = 1000
KRYLOV_SIZE = 40
TOLERANCES = (1e-6, 1e-9)
WORK = 1e10
FEWEST_PRODUCTS, MOST_PRODUCTS = 400, 40_000
ACCEPTED_RESIDUAL = 0.05
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
        _, labels = connected_components(adjacency, directed=False)
        order, sizes = np.argsort(labels, kind="stable"), np.bincount(labels)
        layout = np.zeros((len(order), request.n_components))
        layout[order] = _components_in_order(adjacency[order][:, order], order, sizes, request)
        if len(sizes) > 1:
            layout += _centers(labels, sizes, request)[labels]
        return layout.astype(np.float32)


def _undirected(graph: Graph) -> sparse.csr_matrix:
    matrix = sparse.csr_matrix(graph.to_scipy(), dtype=np.float64, copy=True)
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
            layout[rows] = _component(adjacency[rows, rows], order[rows], request, draw)
    return layout


def _component(
    adjacency: sparse.csr_matrix, cells: NDArray[np.intp], request: InitRequest, draw: np.random.Generator
) -> NDArray[np.float64]:
    found = slowest_modes(adjacency, min(request.n_components, len(cells) - 1))
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


def slowest_modes(adjacency: sparse.csr_matrix, k: int) -> NDArray[np.float64] | None:
    """Return the ``k`` first non-trivial solutions of ``L y = lambda D y`` on a connected graph, slowest first.

    They are eigenvectors of the normalised adjacency over the root of the degrees. None where they are not found
    within the bounds. The trivial one, known beforehand, is moved to the other end of the spectrum, so that one
    nearly as slow (two parts joined by one edge) is not lost beside it.
    """
    root = np.sqrt(np.asarray(adjacency.sum(axis=1)).ravel())
    trivial = root / np.linalg.norm(root)
    if len(root) <= DENSE_UP_TO:
        normalised = adjacency.toarray() / root[:, None] / root
        vectors = leading_eigenvectors(normalised - 2 * np.outer(trivial, trivial), k)
    else:
        inverse = sparse.diags(1 / root)
        found = _by_lanczos(sparse.csr_matrix(inverse @ adjacency @ inverse), trivial, k)
        if found is None:
            return None
        vectors = found
    return with_fixed_signs(vectors / root[:, None])


def _by_lanczos(normalised: sparse.csr_matrix, trivial: NDArray[np.float64], k: int) -> NDArray[np.float64] | None:
    from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

    def deflated(vector: NDArray[np.float64]) -> NDArray[np.float64]:
        vector = vector.ravel()
        return normalised @ vector - 2 * trivial * (trivial @ vector)

    n = len(trivial)
    operator = LinearOperator((n, n), matvec=deflated, dtype=np.float64)
    settings: dict[str, Any] = {"k": k, "which": "LA", "ncv": KRYLOV_SIZE, "maxiter": _restarts(normalised)}
    start = generator(n).normal(size=n)
    for tolerance in TOLERANCES:
        if "rng" in inspect.signature(eigsh).parameters:  # else the vectors after a breakdown differ from run to run
            settings["rng"] = generator(n)
        try:
            values, vectors = eigsh(operator, v0=start, tol=tolerance, **settings)
        except ArpackError:
            return None
        residuals = [np.linalg.norm(deflated(v) - value * v) for value, v in zip(values, vectors.T, strict=True)]
        # The slower the modes, the nearer they lie to each other, and the more exact they must be.
        if max(residuals) <= ACCEPTED_RESIDUAL * (1 - values).max():
            return vectors[:, np.argsort(-values)]
        start = vectors.sum(axis=1)
    return None


def _restarts(normalised: sparse.csr_matrix) -> int:
    cost = 2 * normalised.nnz + 4 * KRYLOV_SIZE * normalised.shape[0]
    return int(np.clip(WORK / cost, FEWEST_PRODUCTS, MOST_PRODUCTS)) // KRYLOV_SIZE


def _centers(labels: NDArray[np.integer], sizes: NDArray[np.intp], request: InitRequest) -> NDArray[np.float64]:
    radii = ROOM * np.sqrt(sizes)
    rows = request.representation
    if rows is None:
        return spiral(radii, request.n_components)
    draw = generator(child_seed(request.seed, "arrangement"))
    members = sparse.csr_matrix((1 / sizes[labels], (labels, np.arange(len(labels)))), shape=(len(sizes), len(labels)))
    return pushed_apart(principal_components(members @ rows, request.n_components, draw), radii, draw)
