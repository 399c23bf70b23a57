"""What umap-learn adds to the memory that cells with stored neighbours take: python umap_learn_memory.py FILE N_EPOCHS.

After a call on 1,000 cells, so that compiled code is not counted.
"""

import sys
import time

import anndata as ad
import numpy as np
from peak import most, watch
from umap.umap_ import find_ab_params, fuzzy_simplicial_set, simplicial_set_embedding

A, B = find_ab_params(1.0, 0.5)


def embed(rows, graph, first, n_epochs: int) -> None:
    settings = ("euclidean", {}, False, {}, False)
    random_state = np.random.RandomState(0)
    simplicial_set_embedding(rows, graph, 2, 1.0, A, B, 1.0, 5, n_epochs, first, random_state, *settings)


if __name__ == "__main__":
    adata, n_epochs = ad.read_h5ad(sys.argv[1]), int(sys.argv[2])
    few = adata.obsm["X_pca"][:1000]
    embed(few, fuzzy_simplicial_set(few, 15, np.random.RandomState(0), "euclidean")[0], few[:, :2].copy(), 5)
    held, start = watch(), time.perf_counter()
    embed(adata.obsm["X_pca"], adata.obsp["connectivities"], adata.obsm["X_first"], n_epochs)
    print("SECONDS", time.perf_counter() - start)
    print("HELD", held)
    print("ADDED", most() - held)
