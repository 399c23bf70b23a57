"""manifolds-rs on given neighbours: python manifolds.py IN.npz OUT.npy SEED N_EPOCHS.

Its own log states the seconds of its optimiser.
"""

import sys

import numpy as np
from manifolds_rs import UMAP

if __name__ == "__main__":
    given = np.load(sys.argv[1])
    model = UMAP(
        n_epochs=int(sys.argv[4]), min_dist=0.1, init="pca", optimiser="adam_parallel", seed=int(sys.argv[3]), verbose=1
    )
    model.fit(given["rows"], knn_indices=given["knn_indices"], knn_distances=given["knn_distances"])
    np.save(sys.argv[2], np.asarray(model.embedding_))
