"""fastumap on given neighbours and first layout: python run_fastumap.py IN.npz OUT.npy SEED N_EPOCHS.

Its function makes the graph and optimises: the seconds are those of the whole call.
"""

import sys
import time

import numpy as np
from fastumap import umap_project


def embed(given, seed: int, n_epochs: int) -> np.ndarray:
    own = np.arange(len(given["rows"]))[:, None]  # it expects the cell itself in the first column
    neighbors = (np.hstack([own, given["knn_indices"]]), np.hstack([0.0 * own, given["knn_distances"]]))
    return umap_project(
        given["rows"],
        2,
        n_neighbors=neighbors[0].shape[1],
        min_dist=0.1,
        n_epochs=n_epochs,
        random_state=seed,
        precomputed_knn=neighbors,
        init=given["layout"],
    )


if __name__ == "__main__":
    given = dict(np.load(sys.argv[1]))
    start = time.perf_counter()
    layout = embed(given, int(sys.argv[3]), int(sys.argv[4]))
    print("SECONDS", time.perf_counter() - start)
    np.save(sys.argv[2], layout)
