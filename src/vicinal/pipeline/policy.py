"""What ``auto`` means for each stage: plain rules, each answer with its reason."""

from __future__ import annotations

from vicinal.contract.options import EmbedOptions
from vicinal.contract.source import Source

EXACT_UP_TO = 100_000
"""Cells up to which exact neighbours in tens of columns take seconds; where there is structure they come soonest."""

PAIRWISE_UP_TO = 10_000
"""Cells up to which all pairs are compared by scikit-learn where exact has no kernel of its own."""

SPECTRAL_UP_TO = 500_000
"""Cells up to which the eigenvectors of the graph are found sooner, and in less memory, than a sample is placed."""

EDGELESS = "edgeless"
"""The graph of a map that is its first layout."""


def auto_knn(source: Source, options: EmbedOptions) -> tuple[str, str]:
    """Choose how neighbours are found."""
    from vicinal.backends.knn import ivf
    from vicinal.backends.knn.exact import OWN, SYNONYMS, is_known

    if source.stored is not None and source.stored.neighbors is not None:
        wanted = options.n_neighbors
        if wanted is None or wanted - 1 <= source.stored.neighbors.k:
            number = "" if wanted is None else f"{wanted} "
            return "given", f"the {number}nearest of the neighbours stored under {source.stored.key!r}"
    if callable(options.metric):
        return "pynndescent", "the metric is a function"
    if options.metric in (*OWN, *SYNONYMS) and source.n_obs <= EXACT_UP_TO:
        return "exact", f"{source.n_obs:,} cells are at most {EXACT_UP_TO:,}"
    if options.metric in ivf.METRICS:
        return "ivf", f"{source.n_obs:,} cells are more than {EXACT_UP_TO:,}"
    if source.n_obs <= PAIRWISE_UP_TO and is_known(options.metric):
        return "exact", f"{source.n_obs:,} cells are at most {PAIRWISE_UP_TO:,}, with metric {str(options.metric)!r}"
    return "pynndescent", f"{source.n_obs:,} cells with metric {str(options.metric)!r}"


def auto_index(options: EmbedOptions, n_rows: int) -> str:
    """Choose how rows are looked up among others."""
    from vicinal.backends.knn.exact import OWN, SYNONYMS, is_known

    if options.metric in (*OWN, *SYNONYMS):
        return "exact"
    few = n_rows <= PAIRWISE_UP_TO and not callable(options.metric) and is_known(options.metric)
    return "exact" if few else "pynndescent"


def auto_graph(source: Source, options: EmbedOptions) -> tuple[str, str]:
    """Choose how the graph is made."""
    if source.stored is not None and source.stored.graph is not None:
        return "precomputed", f"the connectivities stored under {source.stored.key!r}"
    return "fuzzy", "from the neighbours"


def auto_init(source: Source, options: EmbedOptions) -> tuple[str, str]:
    """Choose the first layout."""
    if source.representation is None:
        return "spectral", "there is no representation"
    if source.n_obs <= SPECTRAL_UP_TO:
        return "spectral", f"{source.n_obs:,} cells are at most {SPECTRAL_UP_TO:,}"
    return "sample_place", f"{source.n_obs:,} cells are more than {SPECTRAL_UP_TO:,}"
