"""Are cells of a type that the reference lacks told from others, and how often are others flagged?

python benchmarks/strangers.py [SET ...] [--splits N] [--refit]

Each type in turn (of at least 10 cells) is left out of the reference, with a fifth of the other cells; AUROC of its
cells against that fifth. "distance" is the mean distance to the 15 nearest, "ratio" that over the neighbours' own, and
"vicinal" the score of `vc.tl.project`. "flagged" and "falsely" are the shares of the strangers and of the others with
p-values up to 0.05. Then the false flags: shares of held-out cells of a reference that has all types, at three levels,
over N random splits in half.

--refit: genes and components are chosen by the reference alone each time, as for cells that nobody had seen; for sets
with counts. Then also "residual", how far a cell lies off the components: what they leave of its genes, squared, in the
reference's variances, and summed; and "both", its p-value and that of "vicinal" by Fisher's method. The residuals of
reference cells, which the p-value is a rank among, are divided by one less their leverage: the components fit them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial

import anndata as ad
import numpy as np
import scanpy as sc
from data import FOLDER, fashion, fashion_labels
from scipy.stats import chi2
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from vicinal.kernels.knn import Reference, nearest_rows
from vicinal.kernels.processors import available_threads
from vicinal.models.strangers import find, learn

LABELS = {
    "pbmc3k": "louvain",
    "worm_l2": "cao_cell_type",
    "paul15": "paul15_clusters",
    "osmfish_cortex": "str_labels",
    "worm_neuron": "cell_type",
    "flow_flowsom_19k": "cell_type",
}
FASHION = "fashion"
UNKNOWN = ("nan", "NA", "Unlabeled")
LEVELS = (0.01, 0.05, 0.1)
SCORES = ("distance", "ratio", "vicinal")
SCORES_OFF = ("residual", "both")
LEAST_VARIANCE = 0.01
"""Quantile of the genes' residual variances: smaller ones are taken to be this one."""
MOST_LEVERAGE = 0.9
N_NEIGHBORS, N_THREADS = 15, available_threads()


def load(name: str) -> tuple[np.ndarray, np.ndarray]:
    if name == FASHION:
        return fashion(), fashion_labels().astype(str)
    adata = ad.read_h5ad(FOLDER / f"{name}.h5ad")
    labels = adata.obs[LABELS[name]].astype(str).to_numpy()
    is_known = ~np.isin(labels, UNKNOWN)
    return np.asarray(adata.obsm["X_pca"], dtype=np.float32)[is_known], labels[is_known]


def counts(name: str) -> tuple[ad.AnnData, np.ndarray]:
    """Return log counts of the same cells, with their labels."""
    adata = ad.read_h5ad(FOLDER / f"{name}.h5ad")
    labels = adata.obs[LABELS[name]].astype(str).to_numpy()
    is_known = ~np.isin(labels, UNKNOWN)
    adata = adata[is_known].copy()
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata, labels[is_known]


def refitted(adata: ad.AnnData, reference: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return all cells in 50 components of the reference cells, and how far they are off these."""
    seen = adata[reference].copy()
    sc.pp.highly_variable_genes(seen, n_top_genes=2000)
    genes = seen.var["highly_variable"].to_numpy()
    pca = PCA(50, random_state=0).fit(seen.X[:, genes].toarray())
    values = adata.X[:, genes].toarray()
    rows = pca.transform(values)
    left = np.square(values - pca.inverse_transform(rows), dtype=np.float64)
    variances = left[reference].mean(axis=0)
    off = (left / np.maximum(variances, np.quantile(variances, LEAST_VARIANCE))).sum(axis=1)
    leverage = (rows[reference] ** 2 / pca.explained_variance_).sum(axis=1) / len(reference)
    off[reference] /= 1 - np.minimum(leverage, MOST_LEVERAGE)
    return rows.astype(np.float32), off


def without_a_type(labels: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield a type with the reference, the cells of known types and those of this type."""
    for kind, count in zip(*np.unique(labels, return_counts=True), strict=True):
        if count >= 10:
            others = np.random.default_rng(0).permutation(np.flatnonzero(labels != kind))
            n_known = len(others) // 5
            yield kind, np.sort(others[n_known:]), np.sort(others[:n_known]), np.flatnonzero(labels == kind)


def baselines(reference: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean distance to the nearest cells, and that over their own."""
    packed, n = Reference.pack(reference, "euclidean"), len(reference)
    _, own = nearest_rows(packed, reference, N_NEIGHBORS, own=np.arange(n), n_jobs=N_THREADS)
    indices, distances = nearest_rows(packed, rows, N_NEIGHBORS, n_jobs=N_THREADS)
    return distances.mean(axis=1), distances.mean(axis=1) / own.mean(axis=1)[indices].mean(axis=1)


def fisher(own: np.ndarray, off: np.ndarray, new: np.ndarray) -> np.ndarray:
    """Return p-values of two: those given, and those of the residuals of new cells among the reference's."""
    ranks = np.searchsorted(np.sort(off), new, side="left")
    return chi2.sf(-2 * (np.log(own) + np.log((1 + len(off) - ranks) / (len(off) + 1))), 4)


def left_out(
    name: str, labels: np.ndarray, rows_by: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray | None]]
) -> None:
    """Print the areas under the curve for each type, and their means; rows may depend on the reference cells."""
    lines = []
    for kind, reference, known, strange in without_a_type(labels):
        rows, off = rows_by(reference)
        new = np.concatenate([rows[known], rows[strange]])
        truth = np.arange(len(new)) >= len(known)
        found = find(learn(rows[reference], "euclidean", n_jobs=N_THREADS), new, 0.05, n_jobs=N_THREADS)
        scores = (*baselines(rows[reference], new), found.scores)
        lines.append([*(roc_auc_score(truth, s) for s in scores), *(found.flags[t].mean() for t in (truth, ~truth))])
        if off is not None:
            new_off = off[np.concatenate([known, strange])]
            both = fisher(found.p_values, off[reference], new_off)
            lines[-1] += [roc_auc_score(truth, new_off), roc_auc_score(truth, -both)]
            lines[-1] += [(both[t] <= 0.05).mean() for t in (truth, ~truth)]
        report(name, kind, len(strange), lines[-1])
    report(name, "**mean**", "", np.mean(lines, axis=0))


def report(name: str, kind: str, n_cells: object, values: object) -> None:
    print(f"| {name} | {kind} | {n_cells} | {' | '.join(f'{v:.3f}' for v in values)} |", flush=True)


def false_flags(name: str, rows: np.ndarray, n_splits: int) -> None:
    """Print how many held-out cells are flagged, with the standard deviation over the splits."""
    shares = []
    for seed in range(n_splits):
        order = np.random.default_rng(seed).permutation(len(rows))
        reference, held_out = np.array_split(order, 2)
        known = learn(rows[reference], "euclidean", n_jobs=N_THREADS)
        p = find(known, rows[held_out], 0.05, n_jobs=N_THREADS).p_values
        shares.append([(p <= level).mean() for level in LEVELS])
    cells = " | ".join(f"{m:.4f} ± {s:.4f}" for m, s in zip(np.mean(shares, 0), np.std(shares, 0), strict=True))
    print(f"| {name} | {len(rows):,} | {cells} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"{', '.join(LABELS)} (all of these), {FASHION}")
    parser.add_argument("--splits", type=int, default=10, metavar="N")
    parser.add_argument("--refit", action="store_true")
    given = parser.parse_args()
    names = given.sets or list(LABELS)
    columns = ["data", "type left out", "cells", *SCORES, "flagged", "falsely"]
    columns += [*SCORES_OFF, "flagged", "falsely"] if given.refit else []
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    if given.refit:
        for name in names:
            adata, labels = counts(name)
            left_out(name, labels, partial(refitted, adata))
        return
    data = {name: load(name) for name in names}
    for name, (rows, labels) in data.items():
        left_out(name, labels, lambda _, rows=rows: (rows, None))
    print(f"\n| data | cells | {' | '.join(f'at {level}' for level in LEVELS)} |\n|---|---|---|---|---|")
    for name, (rows, _) in data.items():
        false_flags(name, rows, given.splits)


if __name__ == "__main__":
    main()
