"""Words for arguments: what each is to be given, and what other packages call it."""

from __future__ import annotations

SYNONYMS = {
    "alpha": "learning_rate",
    "gamma": "repulsion_strength",
    "init_pos": "init",
    "k": "n_neighbors",
    "maxiter": "n_epochs",
    "n_iter": "n_epochs",
    "n_dims": "n_components",
    "rng": "random_state",
    "seed": "random_state",
    "y": "labels",
    "verbose": "logging.getLogger('vicinal')",
    "inplace": "copy",
    "n_threads": "n_jobs",
    "num_threads": "n_jobs",
    "max_iter": "n_epochs",
    "n_sne_iter": "n_epochs",
    "use_representation": "use_rep",
    "rep": "use_rep",
}
"""Names that other packages use, to the ones used here."""

ELSEWHERE = {
    "layer": "The name of a layer is given as use_rep.",
    "layers": "The name of a layer is given as use_rep.",
    "use_raw": "The genes of .raw are an AnnData of their own: adata.raw.to_adata().",
    "use_highly_variable": "Subset the genes first: adata[:, adata.var['highly_variable']].",
    "mask_var": "Subset the genes first: adata[:, mask].",
    "color": "Colours are given to vc.pl.embedding.",
    "densmap": "densMAP is not available.",
    **dict.fromkeys(
        ("batch_key", "batch", "batches"),
        "Batches are corrected before: give the corrected representation, such as harmony's or scVI's, as use_rep.",
    ),
}
"""Arguments of other packages for which there is none here, and what to do instead."""

WANTED = {
    "method": "give a method's name, such as 'umap'",
    "n_components": "give an integer from 1 to 10",
    "n_neighbors": "give an integer, the number of neighbours, such as 15",
    "neighbors_key": "name the entry of uns that holds neighbours",
    "use_rep": "name a key of obsm, a layer, or 'X'; values go into obsm first: adata.obsm['X_mine'] = values",
    "n_pcs": "give how many columns to take from the front",
    "metric": "give a metric's name, such as 'euclidean', or a function",
    "metric_kwds": "give a mapping of the metric's arguments, such as {'p': 1}",
    "min_dist": "give a number from 0",
    "spread": "give a number above 0",
    "n_epochs": "give a number of epochs, or a list of epochs to keep the map at",
    "n_jobs": "give a positive integer",
    "key_added": "give a non-empty string without '/'",
    "labels": "name a column of obs: adata.obs['labels'] = values",
    "checkpoint": "give the path of a file, as text or a pathlib.Path",
    "checkpoint_every": "give a number of epochs, 1 or more",
    "basis": "name a map in obsm, such as 'X_umap'",
    "key": "name a map's entry in uns, such as 'umap'",
    "model": "give a Model, the path of one, or an AnnData that carries one",
    "adata_or_model": "give the AnnData with the map, or a Model",
    "path": "give the path of a file, as text or a pathlib.Path",
    "n_sample": "give how many cells to score, at least 1",
    "min_overlap": "give a number above 0 and at most 1",
    "stranger_level": "give a number between 0 and 1, or None for no flags",
    "max_drift": "give a number from 0, a share of the map's spread",
    "color": "name columns of obs or genes; values go into obs first: adata.obs['mine'] = values",
    "ax": "give Axes of matplotlib, such as plt.subplots()[1]",
    "spectrum n_epochs": "give the steps for each map, 1 or more",
    "spectrum color": "give one column of obs or one gene, all maps have it",
    "step n_epochs": "give how many epochs to take, such as 50",
    "exaggerations": "give numbers above 0, falling, such as [30, 12, 4, 1]",
}
"""What an argument is to be given, after what was given instead; ``function name`` where that is particular."""


def elsewhere(name: str) -> str:
    """Return a sentence on what another package's argument is here, or an empty string."""
    return f" {ELSEWHERE[name]}" if name in ELSEWHERE else ""
