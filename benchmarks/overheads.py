"""What scoring and loss recording cost beside the map itself, on Fashion-MNIST (n x 50 principal components)."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import anndata as ad
import numpy as np

import vicinal as vc

DATA = Path(os.environ.get("VICINAL_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))


def main(n: int = 20_000) -> None:
    values = np.load(DATA / "fashion_mnist_pca50.npz")["X_pca"][:n].astype(np.float32)
    adata = ad.AnnData(np.zeros((n, 1), dtype=np.float32), obsm={"X_pca": values})
    vc.tl.embed(adata, n_epochs=5)  # compiles, so that the second call times the work
    vc.tl.embed(adata)
    seconds = adata.uns["umap"]["timings"]
    work = sum(seconds[stage] for stage in ("knn", "graph", "init", "optimizer"))
    print(f"{n:,} cells:", ", ".join(f"{stage} {taken:.2f} s" for stage, taken in seconds.items()))
    shares = {"score": seconds["score"] / work, "loss": seconds["loss"] / seconds["optimizer"]}
    print(f"score: {shares['score']:.1%} of the embedding; loss: {shares['loss']:.1%} of the optimisation")
    print("scores:", ", ".join(f"{name} {value:.3f}" for name, value in adata.uns["umap"]["score"].items()))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
