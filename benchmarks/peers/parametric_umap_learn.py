"""umap-learn's ParametricUMAP, as it is by default: python parametric_umap_learn.py IN.npz OUT.npz SEED [N_EPOCHS].

IN.npz holds `rows` and `new`, OUT.npz gets `train` and `new`. Prints SECONDS of fitting and of transforming, and MEMORY
held before and at most (bytes). Few N_EPOCHS make it short, to fill caches. Without its progress bar.
"""

import sys
import time

import keras
import numpy as np
from peak import most, watch
from umap.parametric_umap import ParametricUMAP


def make(n_epochs: int | None) -> ParametricUMAP:
    return ParametricUMAP(n_neighbors=15, min_dist=0.1, n_epochs=n_epochs, keras_fit_kwargs={"verbose": 0})


if __name__ == "__main__":
    given = np.load(sys.argv[1])
    rows, new = given["rows"], given["new"]
    # Not random_state=, which would keep its neighbours to one thread.
    keras.utils.set_random_seed(int(sys.argv[3]))
    held, start = watch(), time.perf_counter()
    model = make(int(sys.argv[4]) if sys.argv[4:] else None)
    train = model.fit_transform(rows)
    fitted = time.perf_counter()
    places = model.transform(new) if len(new) else np.empty((0, 2), np.float32)
    print("SECONDS", fitted - start, time.perf_counter() - fitted)
    print("MEMORY", held, most())
    np.savez(sys.argv[2], train=train, new=places)
