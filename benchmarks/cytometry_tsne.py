"""t-SNE of 929,685 cells in one call: a sample first, all beside it, then two phases of exaggeration.

python benchmarks/cytometry_tsne.py [--cells N] [--perplexity P] [--graph perplexity|uniform] [--picture FILE.png]

The workflow of Kobak and Berens (2019, doi:10.1038/s41467-019-13056-x) for large data: 25,000 cells are mapped with
perplexity 500 and the method's own schedule, every other cell starts where its nearest cell of the sample is, and all
take 500 epochs at exaggeration 12 and 750 at 4, with perplexity 50. Kernels are in numba's cache on disk before. What
is printed: seconds by stage, those of the sample apart, the divergence at the end of each phase, and the most memory
that the process held.
"""

from __future__ import annotations

import argparse
import logging
import time
from pathlib import Path

import anndata as ad
import numpy as np
from data import as_cells, cytometry, cytometry_labels
from first_layouts import subset
from optimizer import quality
from peers.peak import MIB, most, watch

import vicinal as vc
from vicinal._warmup import warmup
from vicinal.kernels.processors import available_threads

PHASES = [{"n": 500, "exaggeration": 12}, {"n": 750, "exaggeration": 4}]
N_EPOCHS = [0, 500, 1250]
N_WARM = 2000


def embed(adata: ad.AnnData, perplexity: float, graph: str, sample_size: int, sample_perplexity: float) -> None:
    neighborhood = {"perplexity": perplexity} if graph == "perplexity" else {"graph": graph}
    vc.tl.embed(
        adata,
        "tsne",
        **neighborhood,
        init="sample_place",
        sample_size=sample_size,
        sample_params={"graph": "perplexity", "perplexity": sample_perplexity},
        place_neighbors=1,
        place_jitter=0,
        phases=PHASES,
        n_epochs=N_EPOCHS,
    )


def report(adata: ad.AnnData) -> None:
    made = adata.uns["tsne"]
    for stage, seconds in made["timings"].items():
        print(f"{stage:<10} {seconds:8.1f} s")
    losses = dict(zip(made["loss_epoch"], made["loss"], strict=True))
    for epoch in N_EPOCHS:
        print(f"divergence after {epoch:>4} epochs: {losses[epoch]:.4f}")
    kept = quality(adata.obsm["X_pca"], adata.obsm["X_tsne"], None, available_threads())
    print(", ".join(f"{name} {value:.4f}" for name, value in kept.items()))


def draw(adata: ad.AnnData, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    made = adata.uns["tsne"]
    sampled = made["init"]["sample"]
    adata.obsm["placed"], adata.obsm["early"] = made["init"]["placement"], made["snapshots"][1]
    shown = [
        (f"{sampled.sum():,} cells sampled", adata[sampled].copy(), "placed"),
        (f"after {N_EPOCHS[1]:,} epochs", adata, "early"),
        (f"after {N_EPOCHS[2]:,} epochs", adata, "X_tsne"),
    ]
    figure, axes = plt.subplots(1, len(shown), figsize=(6 * len(shown), 6))
    for ax, (title, cells, basis) in zip(axes, shown, strict=True):
        legend = "right margin" if basis == "X_tsne" else "none"
        vc.pl.embedding(cells, basis, color="gate", title=title, legend_loc=legend, ax=ax, show=False)
    figure.savefig(path, dpi=110, bbox_inches="tight")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=len(cytometry_labels()), metavar="N")
    parser.add_argument("--perplexity", type=float, default=50, metavar="P")
    parser.add_argument("--graph", choices=("perplexity", "uniform"), default="perplexity")
    parser.add_argument("--sample-size", type=int, default=25_000, metavar="N")
    parser.add_argument("--sample-perplexity", type=float, default=500, metavar="P")
    parser.add_argument("--picture", type=Path, metavar="FILE.png")
    parser.add_argument("--keep", type=Path, metavar="FILE.h5ad", help="write the cells with their map")
    given = parser.parse_args()
    warmup()
    embed(as_cells(cytometry(N_WARM)), 5, given.graph, 500, 10)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("vicinal").setLevel(logging.DEBUG)  # the stages of the sample's map, too
    chosen = subset(given.cells)
    adata = as_cells(cytometry()[chosen])
    print(f"cytometry, {adata.n_obs:,} x 8, {available_threads()} threads", flush=True)
    watch()
    start = time.perf_counter()
    embed(adata, given.perplexity, given.graph, given.sample_size, given.sample_perplexity)
    print(f"{'in all':<10} {time.perf_counter() - start:8.1f} s, {most() / MIB:,.0f} MiB at most")
    report(adata)
    gates = cytometry_labels()[chosen]
    adata.obs["gate"] = np.where(gates > 0, gates, np.nan)
    adata.obs["gate"] = adata.obs["gate"].astype("Int64").astype("category")
    if given.picture:
        draw(adata, given.picture)
    if given.keep:
        adata.write_h5ad(given.keep)


if __name__ == "__main__":
    main()
