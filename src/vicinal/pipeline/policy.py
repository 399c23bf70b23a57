"""What ``auto`` means for each stage: plain rules, each answer with its reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vicinal.contract.errors import InputError
from vicinal.contract.metrics import checked_kwds
from vicinal.contract.options import EmbedOptions
from vicinal.contract.source import Source

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vicinal.kernels.metrics import Space

EXACT_UP_TO = 100_000
"""Cells up to which exact neighbours in tens of columns take seconds; where there is structure they come soonest."""

EXACT_WORK = 5e11
"""Cells, squared, times columns, up to which the same is true of more columns than `TENS`."""

CACHED_COLUMNS, UNCACHED = 4_000, 5
"""Columns of which a block of cells stays in the processor's cache, and how much longer each takes of more."""

TENS = 100

PAIRWISE_UP_TO = 10_000
"""Cells up to which all pairs are compared by scikit-learn where exact has no kernel of its own."""

PAIRWISE_COLUMNS = 50
"""Columns up to which that is so; of more, cells are fewer."""

BINARY_SECONDS = 60
"""Seconds on one thread up to which exact compares all pairs of binary rows; pynndescent compiles for half of it."""

SPECTRAL_UP_TO = 500_000
"""Cells up to which the eigenvectors of the graph are found sooner, and in less memory, than a sample is placed."""

EDGELESS = "edgeless"
"""The graph of a map that is its first layout."""


def auto_knn(source: Source, options: EmbedOptions) -> tuple[str, str]:
    """Choose how neighbours are found."""
    if source.stored is not None and source.stored.neighbors is not None:
        wanted = options.n_neighbors
        if wanted is None or wanted - 1 <= source.stored.neighbors.k:
            number = "" if wanted is None else f"{wanted} "
            lacking = f"; {source.stored.note}" if source.stored.note else ""
            return "given", f"the {number}nearest of the neighbours stored under {source.stored.key!r}{lacking}"
    rows = None if source.representation is None else source.representation.values
    return _search(options, source.n_obs, 1 if rows is None else rows.shape[1], rows)


def auto_index(options: EmbedOptions, n_rows: int, n_columns: int) -> str:
    """Choose how rows are looked up among others."""
    if _space(options) is not None:
        return "exact"
    return _search(options, n_rows, n_columns)[0]


def _search(
    options: EmbedOptions, n_obs: int, n_columns: int, rows: NDArray[np.float32] | None = None
) -> tuple[str, str]:
    """Choose who searches neighbours: exact where that is soon done, else the soonest that has the metric."""
    if callable(options.metric):
        return "pynndescent", "the metric is a function"
    space, wide = _space(options), f" with {n_columns:,} columns" if n_columns > TENS else ""
    if space is not None:
        limit = exact_up_to(n_columns)
        if n_obs <= limit:
            return "exact", f"{n_obs:,} cells are at most {limit:,}{wide}"
        if space.metric in ("euclidean", "cosine"):
            return "ivf", f"{n_obs:,} cells are more than {limit:,}{wide}"
    return _by_pairs(options, n_obs, n_columns, rows)


def _by_pairs(options: EmbedOptions, n_obs: int, n_columns: int, rows: NDArray[np.float32] | None) -> tuple[str, str]:
    """Choose who searches by a metric that has no kernel, or of more cells than that is quick for."""
    from vicinal.backends.knn.exact import is_known
    from vicinal.kernels.binary import METRICS as BINARY

    metric, limit = str(options.metric), pairwise_up_to(n_columns)
    wide = f" with {n_columns:,} columns" if n_columns > PAIRWISE_COLUMNS else ""
    exact = is_known(metric)
    if metric in BINARY and binary_is_soon_done(n_obs, n_columns, rows):
        return "exact", f"all pairs of {n_obs:,} cells{wide} are soon counted with metric {metric!r}"
    if exact and n_obs <= limit and _space(options) is None:
        return "exact", f"{n_obs:,} cells{wide} are at most {limit:,}, with metric {metric!r}"
    if exact and not _is_of_pynndescent(options):
        return "exact", f"only exact has metric {metric!r} here; all pairs of {n_obs:,} cells{wide} take long"
    return "pynndescent", f"{n_obs:,} cells{wide} with metric {metric!r}"


def exact_up_to(n_columns: int) -> int:
    """Return the cells up to which exact is chosen where it has a kernel."""
    if n_columns <= TENS:
        return EXACT_UP_TO
    work = EXACT_WORK if n_columns <= CACHED_COLUMNS else EXACT_WORK / UNCACHED
    return min(EXACT_UP_TO, int((work / n_columns) ** 0.5))


def binary_is_soon_done(n_obs: int, n_columns: int, rows: NDArray[np.float32] | None) -> bool:
    """Return whether exact is chosen for binary rows, from their columns, or else from what is there in them."""
    from vicinal.kernels.binary_nearest import A_PAIR, rows_with_columns, seconds_by_lists, seconds_by_words

    pairs = float(n_obs) ** 2
    if rows is None or pairs * A_PAIR > BINARY_SECONDS or seconds_by_words(pairs, n_columns) <= BINARY_SECONDS:
        return seconds_by_words(pairs, n_columns) <= BINARY_SECONDS
    counts = rows_with_columns(rows)
    return seconds_by_lists(pairs, counts, counts) <= BINARY_SECONDS


def pairwise_up_to(n_columns: int) -> int:
    """Return the cells up to which exact is chosen where it compares all pairs by scikit-learn."""
    return int(PAIRWISE_UP_TO * min(1.0, PAIRWISE_COLUMNS / n_columns) ** 0.5)


def _is_of_pynndescent(options: EmbedOptions) -> bool:
    try:
        from vicinal.backends.knn.pynndescent import known_metrics

        known = known_metrics()
    except ImportError:
        return False
    return options.metric in known and not set(options.metric_kwds or {}) - {"p"}


def _space(options: EmbedOptions) -> Space | None:
    from vicinal.kernels.metrics import space_of

    if callable(options.metric):
        return None
    try:
        return space_of(options.metric, checked_kwds(options.metric, options.metric_kwds))
    except InputError:  # which is raised where neighbours are really searched
        return None


def auto_graph(source: Source, options: EmbedOptions) -> tuple[str, str]:
    """Choose how the graph is made."""
    if source.stored is not None and source.stored.graph is not None:
        lacking = f"; {source.stored.note}" if source.stored.note else ""
        return "precomputed", f"the connectivities stored under {source.stored.key!r}{lacking}"
    return "fuzzy", "from the neighbours"


def auto_init(source: Source, options: EmbedOptions) -> tuple[str, str]:
    """Choose the first layout."""
    if source.representation is None:
        return "spectral", "there is no representation"
    if source.n_obs <= SPECTRAL_UP_TO:
        return "spectral", f"{source.n_obs:,} cells are at most {SPECTRAL_UP_TO:,}"
    return "sample_place", f"{source.n_obs:,} cells are more than {SPECTRAL_UP_TO:,}"
