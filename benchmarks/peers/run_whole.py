"""A peer from rows to map: python run_whole.py NAME ROWS.npy OUT.npy."""

import sys

import numpy as np


def umap_learn(rows: np.ndarray) -> np.ndarray:
    from umap import UMAP

    return UMAP(n_neighbors=15, min_dist=0.1).fit_transform(rows)


def manifolds_rs(rows: np.ndarray) -> np.ndarray:
    from manifolds_rs import UMAP

    return UMAP(n_neighbors=15, min_dist=0.1, ann="nndescent", n_epochs=200).fit_transform(rows)


PEERS = {"umap-learn": umap_learn, "manifolds-rs": manifolds_rs}

if __name__ == "__main__":
    name, rows_file, out_file = sys.argv[1:]
    np.save(out_file, np.asarray(PEERS[name](np.load(rows_file)), dtype=np.float32))
