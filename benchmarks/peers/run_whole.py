"""A peer from rows to map: python run_whole.py NAME METHOD ROWS.npy OUT.npy."""

import sys

import numpy as np


def umap_learn(rows: np.ndarray) -> np.ndarray:
    from umap import UMAP

    return UMAP(n_neighbors=15, min_dist=0.1).fit_transform(rows)


def manifolds_rs(rows: np.ndarray) -> np.ndarray:
    from manifolds_rs import UMAP

    return UMAP(n_neighbors=15, min_dist=0.1, ann="nndescent", n_epochs=200).fit_transform(rows)


def manifolds_rs_tsne(rows: np.ndarray, approx: str = "fft") -> np.ndarray:
    from manifolds_rs import TSNE

    return TSNE(approx=approx).fit_transform(rows)


PEERS = {
    ("umap-learn", "umap"): umap_learn,
    ("manifolds-rs", "umap"): manifolds_rs,
    ("manifolds-rs", "tsne"): manifolds_rs_tsne,
    ("manifolds-rs, barnes_hut", "tsne"): lambda rows: manifolds_rs_tsne(rows, "barnes_hut"),
    ("manifolds-rs, fft_3k", "tsne"): lambda rows: manifolds_rs_tsne(rows, "fft_3k"),
}

if __name__ == "__main__":
    name, method, rows_file, out_file = sys.argv[1:]
    np.save(out_file, np.asarray(PEERS[name, method](np.load(rows_file)), dtype=np.float32))
