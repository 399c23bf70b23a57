"""Neighbours by a peer: python run_neighbors.py ROWS.npy OUT.npy NAME N_THREADS.

Prints wall and CPU seconds, and MiB beyond what the process held before.
"""

import os
import sys
import time

import numpy as np
from peak import MIB, most, watch

K = 15  # the cell itself counted


def pynndescent(rows, n_threads):
    import numba
    from pynndescent import NNDescent

    numba.set_num_threads(n_threads)
    n = len(rows)
    index = NNDescent(
        rows,
        n_neighbors=K,
        n_trees=min(64, 5 + round(n**0.5 / 20)),
        n_iters=max(5, round(np.log2(n))),
        max_candidates=60,
        random_state=0,
        n_jobs=n_threads,
    )
    return index.neighbor_graph[0][:, 1:]


def manifolds(ann):
    def find(rows, n_threads):
        import manifolds_rs

        manifolds_rs.set_num_threads(n_threads)
        return np.asarray(manifolds_rs.knn_graph(rows, K - 1, metric="euclidean", ann=ann, seed=0, verbose=0)[0])

    return find


def faiss(n_probe):
    def find(rows, n_threads):
        import faiss as library

        library.omp_set_num_threads(n_threads)
        if n_probe is None:
            index = library.IndexFlatL2(rows.shape[1])
        else:
            flat = library.IndexFlatL2(rows.shape[1])
            index = library.IndexIVFFlat(flat, rows.shape[1], round(4 * len(rows) ** 0.5))
            index.nprobe = n_probe
            index.train(rows)
        index.add(rows)
        found = index.search(rows, K)[1]
        return without_self(found)

    return find


def without_self(found):
    """Drop the cell itself, or where equal rows have hidden it, the last."""
    own = found == np.arange(len(found))[:, None]
    own[~own.any(axis=1), -1] = True
    return found[~own].reshape(len(found), -1)


PEERS = {
    "pynndescent": pynndescent,
    "pynndescent cold": pynndescent,
    "manifolds-rs kmknn": manifolds("kmknn"),
    "manifolds-rs nndescent": manifolds("nndescent"),
    "faiss flat": faiss(None),
    "faiss ivf": faiss(16),
}

if __name__ == "__main__":
    rows, out, name, n_threads = np.load(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4])
    for variable in ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "NUMBA_NUM_THREADS"):
        os.environ[variable] = str(n_threads)
    if "cold" not in name:
        PEERS[name](rows[:5000], n_threads)
    held = watch()
    start = time.perf_counter(), time.process_time()
    found = PEERS[name](rows, n_threads)
    seconds = time.perf_counter() - start[0], time.process_time() - start[1]
    added = most() - held
    np.save(out, np.asarray(found))
    print("RESULT", *seconds, added // MIB)
