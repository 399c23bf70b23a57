"""Are new cells told by a model whose PCA saw the reference alone, and how often are known cells flagged?

python benchmarks/novelty_genes.py [SET ...] [--splits N] [--components N ...]

2,000 variable genes and the PCA are of the reference cells; the others are projected by genes. Each type in turn (of at
least 10 cells) is left out of the reference, with a fifth of the other cells; in the last line of kang the reference
are control cells, and stimulated ones are new. "ranks" compares new cells with scores of the reference by its own PCA,
as for components that were computed on all cells; "cross-fitted" is what `vc.tl.project` does. Shares with p-values up
to 0.05, of new and of held-out known cells, means over N splits; then the seconds of a cross-fit.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from time import perf_counter

import anndata as ad
import numpy as np
import scanpy as sc
from data import FOLDER

import vicinal as vc
from vicinal.adata.model import model_from_adata, read_new_cells
from vicinal.models import novelty, strangers
from vicinal.models.inference import find_strangers

LABELS = {"pbmc3k": "louvain", "kang_pbmc_stim_2k": "leiden_computed", "worm_l2": "cao_cell_type"}
UNKNOWN, LEVEL = ("nan", "NA", "Unlabeled"), 0.05


def load(name: str) -> tuple[ad.AnnData, np.ndarray]:
    """Return log counts of cells that have a label, and the labels."""
    adata = ad.read_h5ad(FOLDER / f"{name}.h5ad")
    labels = adata.obs[LABELS[name]].astype(str).to_numpy()
    is_known = ~np.isin(labels, UNKNOWN)
    adata = ad.AnnData(adata[is_known].X.copy(), obs=adata.obs[is_known], var=adata.var[[]])
    sc.pp.normalize_total(adata, target_sum=1e4)
    sc.pp.log1p(adata)
    return adata, labels[is_known]


def parts(adata: ad.AnnData, labels: np.ndarray, seed: int) -> Iterator[tuple[str, np.ndarray, np.ndarray, np.ndarray]]:
    """Yield what is left out with the reference, the cells of known kinds and the new ones."""
    tasks = [
        (str(kind), labels != kind) for kind, n in zip(*np.unique(labels, return_counts=True), strict=True) if n >= 10
    ]
    if "condition" in adata.obs:
        tasks.append(("stimulated", (adata.obs["condition"] == "ctrl").to_numpy()))
    for kind, is_known in tasks:
        others = np.random.default_rng(seed).permutation(np.flatnonzero(is_known))
        n_held_out = len(others) // 5
        yield kind, np.sort(others[n_held_out:]), np.sort(others[:n_held_out]), np.flatnonzero(~is_known)


def shares(reference: ad.AnnData, n_pcs: int, known: ad.AnnData, new: ad.AnnData) -> list[float]:
    """Return the shares that are flagged of new and known cells, by ranks and cross-fitted."""
    reference.uns.pop("umap", None)
    vc.models.adopt(reference, use_rep="X_pca", n_pcs=n_pcs)
    model, found = model_from_adata(reference), []
    familiarity = model.familiarity(2)
    assert familiarity is not None
    for cells in (new, known):
        read = read_new_cells(cells, model)
        ranked = strangers.find(familiarity, read.rows, LEVEL, n_jobs=2)
        fitted = find_strangers(model, read.rows, LEVEL, off=read.off, n_jobs=2)
        assert isinstance(fitted, strangers.Strangers)
        found.append([ranked.flags.mean(), fitted.flags.mean()])
    return [found[0][0], found[1][0], found[0][1], found[1][1]]


def measure(name: str, n_splits: int, components: list[int]) -> None:
    adata, labels = load(name)
    lines: dict[tuple[int, str], list[list[float]]] = {}
    for seed in range(n_splits):
        for kind, reference, known, new in parts(adata, labels, seed):
            seen = adata[reference].copy()
            sc.pp.highly_variable_genes(seen, n_top_genes=2000)
            sc.pp.pca(seen, n_comps=max(components))
            seen.obsm["X_umap"] = seen.obsm["X_pca"][:, :2].copy()
            for n_pcs in components:
                found = shares(seen, n_pcs, adata[known].copy(), adata[new].copy())
                lines.setdefault((n_pcs, kind), []).append(found)
    for (n_pcs, kind), values in lines.items():
        report(name, n_pcs, kind, np.mean(values, axis=0))
    for n_pcs in components:
        types = [np.mean(v, axis=0) for (n, kind), v in lines.items() if n == n_pcs and kind != "stimulated"]
        report(name, n_pcs, "**mean of types**", np.mean(types, axis=0))


def report(name: str, n_pcs: int, kind: str, values: np.ndarray) -> None:
    print(f"| {name} | {n_pcs} | {kind} | {' | '.join(f'{v:.3f}' for v in values)} |", flush=True)


def costs() -> None:
    """Print what a cross-fit takes."""
    for n_reference in (2_700, 50_000):
        genes = np.random.default_rng(0).gamma(1.0, size=(novelty.n_asked(n_reference, 2000), 2000)).astype(np.float32)
        genes = genes[:n_reference]
        start = perf_counter()
        novelty.cross_fit(genes, 50, "euclidean", n_jobs=2)
        print(f"{n_reference:,} reference cells, of which {len(genes):,} take part: {perf_counter() - start:.1f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", metavar="SET", help=f"{', '.join(LABELS)} (all of these)")
    parser.add_argument("--splits", type=int, default=3, metavar="N")
    parser.add_argument("--components", type=int, nargs="+", default=[50, 30, 10], metavar="N")
    given = parser.parse_args()
    columns = ["data", "components", "left out", "ranks: new", "known", "cross-fitted: new", "known"]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name in given.sets or LABELS:
        measure(name, given.splits, given.components)
    costs()


if __name__ == "__main__":
    main()
