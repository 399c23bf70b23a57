"""A kNN backend for vicinal in thirty lines: scipy's k-d tree, chosen with ``knn="scipy_tree"``."""

import numpy as np

from vicinal.api import BackendSpec, Capabilities, KnnRequest, Neighbors, NoParams, hookimpl

SPEC = BackendSpec(
    api_version=1,
    stage="knn",
    name="scipy_tree",
    target="vicinal_template:ScipyTree",
    summary="exact neighbours from scipy's k-d tree; for few dimensions",
    capabilities=Capabilities(
        inputs=("representation",), metrics=("euclidean",), deterministic=True, out_of_sample=True
    ),
    requires=("scipy",),
)


@hookimpl
def vicinal_register():
    """Tell the host what this package brings."""
    return [SPEC]


class ScipyTree:
    """Builds the index; its parameters would be the fields of ``params``."""

    def __init__(self, params: NoParams) -> None:
        self.params = params

    def build(self, request: KnnRequest) -> "TreeIndex":
        """Return an index over the representation."""
        return TreeIndex(request)


class TreeIndex:
    """A k-d tree over the reference rows."""

    def __init__(self, request: KnnRequest) -> None:
        from scipy.spatial import cKDTree

        self.k, self.n_jobs = request.k, request.n_jobs
        self.tree = cKDTree(request.representation)

    def neighbors(self) -> Neighbors:
        """Return the neighbours of the reference rows, each row itself left out."""
        found = self.query(self.tree.data, self.k + 1)
        drop = found.indices == np.arange(self.tree.n)[:, None]
        drop[~drop.any(axis=1), -1] = True  # among many duplicates a row may not have found itself
        table = (self.tree.n, self.k)
        return Neighbors(indices=found.indices[~drop].reshape(table), distances=found.distances[~drop].reshape(table))

    def query(self, rows: np.ndarray, k: int) -> Neighbors:
        """Return the ``k`` reference rows nearest to each of ``rows``."""
        distances, indices = self.tree.query(rows, k=np.arange(1, k + 1), workers=self.n_jobs)
        return Neighbors(indices=indices.astype(np.int32), distances=distances.astype(np.float32))
