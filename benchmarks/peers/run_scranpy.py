"""scranpy's UMAP on given neighbours and first layout: python run_scranpy.py IN.npz OUT.npy SEED N_EPOCHS N_THREADS.

Its function makes the graph and optimises: the seconds are those of the whole call.
"""

import sys
import time

import numpy as np
import scranpy
from knncolle import FindKnnResults


def embed(given, seed: int, n_epochs: int, n_threads: int) -> np.ndarray:
    neighbors = FindKnnResults(given["knn_indices"].astype(np.uint32), given["knn_distances"].astype(np.float64))
    return scranpy.run_umap(
        neighbors,
        min_dist=0.1,
        initialize_method="none",
        initial_coordinates=given["layout"].astype(np.float64),
        num_epochs=n_epochs,
        optimize_seed=seed,
        parallel_optimization=True,
        num_threads=n_threads,
    )


if __name__ == "__main__":
    given = dict(np.load(sys.argv[1]))
    start = time.perf_counter()
    layout = embed(given, *map(int, sys.argv[3:6]))
    print("SECONDS", time.perf_counter() - start)
    np.save(sys.argv[2], layout)
