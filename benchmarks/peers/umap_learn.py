"""umap-learn's optimiser on a given graph and first layout: python umap_learn.py IN.npz OUT.npy SEED N_EPOCHS."""

import sys
import time

import numpy as np
from scipy import sparse
from umap.umap_ import simplicial_set_embedding


def embed(given, seed: int, n_epochs: int) -> np.ndarray:
    graph = sparse.csr_matrix((given["weights"], given["indices"], given["indptr"])).tocoo()
    a, b = map(float, given["curve"])
    random_state = np.random.RandomState(seed)
    settings = ("euclidean", {}, False, {}, False)
    start = given["layout"].copy()
    layout, _ = simplicial_set_embedding(
        given["rows"], graph, 2, 1.0, a, b, 1.0, 5, n_epochs, start, random_state, *settings, parallel=False
    )
    return layout


if __name__ == "__main__":
    given = np.load(sys.argv[1])
    embed(given, 0, 1)  # compiles
    start = time.perf_counter()
    layout = embed(given, int(sys.argv[3]), int(sys.argv[4]))
    print("SECONDS", time.perf_counter() - start)
    np.save(sys.argv[2], layout)
