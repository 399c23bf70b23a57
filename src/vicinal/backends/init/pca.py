"""The first principal components as first layout."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import Layout
from vicinal.contract.requests import InitRequest
from vicinal.contract.seeds import generator
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities, NoParams

from .linear_algebra import leading_eigenvectors, one_blas_thread, with_fixed_signs, with_noise_for_flat

LARGEST_EIGENPROBLEM = 2000
CHUNK = 50_000

SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="init",
    name="pca",
    target="vicinal.backends.init.pca:Backend",
    summary="The first principal components of the representation",
    capabilities=Capabilities(inputs=("representation",), deterministic=True),
    cite=("Kobak & Berens 2019, doi:10.1038/s41467-019-13056-x",),
)


class Backend:
    """Projects the representation on its directions of largest variance."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def place(self, request: InitRequest) -> Layout:
        """Return the principal components, small noise for those that the representation does not have."""
        assert request.representation is not None
        draw = generator(request.seed)
        return principal_components(request.representation, request.n_components, draw).astype(np.float32)


def principal_components(
    rows: NDArray[np.floating], n_components: int, draw: np.random.Generator
) -> NDArray[np.float64]:
    """Return the first principal components of the rows, the largest coordinate 1.

    Of more than 2,000 columns, the directions are those of at most 2,000 evenly spaced rows.
    """
    center = rows.mean(axis=0, dtype=np.float64)
    with one_blas_thread():
        directions = _directions(rows, center, n_components)
        layout = np.zeros((len(rows), n_components))
        layout[:, : directions.shape[1]] = np.concatenate([part @ directions for part in _centered(rows, center)])
    largest = np.abs(layout).max()
    return with_noise_for_flat(layout / largest if largest > 0 else layout, draw)


def _directions(rows: NDArray[np.floating], center: NDArray[np.float64], n_components: int) -> NDArray[np.float64]:
    n_columns = rows.shape[1]
    if n_columns <= LARGEST_EIGENPROBLEM:
        covariance = np.zeros((n_columns, n_columns))
        for part in _centered(rows, center):
            covariance += part.T @ part
        return with_fixed_signs(leading_eigenvectors(covariance, min(n_components, n_columns)))
    step = -(-len(rows) // LARGEST_EIGENPROBLEM)
    sample = rows[::step] - center
    directions = sample.T @ leading_eigenvectors(sample @ sample.T, min(n_components, len(sample)))
    lengths = np.linalg.norm(directions, axis=0)
    return with_fixed_signs(directions / np.where(lengths > 0, lengths, 1.0))


def _centered(rows: NDArray[np.floating], center: NDArray[np.float64]) -> Iterator[NDArray[np.float64]]:
    for start in range(0, len(rows), CHUNK):
        yield rows[start : start + CHUNK] - center
