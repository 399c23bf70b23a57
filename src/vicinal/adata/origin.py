"""What stored neighbours were made from: told by their record, and checked on a sample of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import anndata as ad
import numpy as np
from scipy import sparse

from vicinal.contract.data import Neighbors
from vicinal.contract.errors import InputError, listing
from vicinal.contract.options import EUCLIDEAN, EmbedOptions, Unset
from vicinal.contract.schema import described
from vicinal.contract.source import Representation, StoredNeighbors
from vicinal.pipeline.metric import stored_metric

from .sampled import MOST, Pairs, pairs_of_matrix, pairs_of_table, share_linked, share_reproduced

RECORDED = ("method", "metric")
"""What tools record that find neighbours in a representation; others record how cells lie in space."""


@dataclasses.dataclass(frozen=True)
class Evidence:
    """What is stored of neighbours, and what is said of them.

    Attributes
    ----------
    called
        How messages name them.
    pairs
        Some of the distances; None where there are none.
    graph
        The connectivities, a sparse matrix; None where there are none.
    params
        As recorded.
    """

    called: str
    pairs: Pairs | None
    graph: Any
    params: Mapping[str, Any]

    @property
    def made_from(self) -> Any:
        """What the record names, of whatever type."""
        return self.params.get("use_rep")

    def share(self, values: np.ndarray) -> float | None:
        """Return the share of the sample that rows reproduce; None where that cannot be told."""
        metric, kwds = stored_metric(self.params)
        if metric is None and self.params.get("metric") is not None:  # a function, which nothing is computed by here
            return None
        if self.pairs is not None and len(self.pairs.rows):
            return share_reproduced(values, self.pairs, metric, kwds)
        return None if self.graph is None else share_linked(values, self.graph, metric)


def with_origin(
    adata: ad.AnnData, options: EmbedOptions, stored: StoredNeighbors | None, found: Representation | None
) -> tuple[Representation | None, str]:
    """Return the representation that stored neighbours were made from, and "", or why it is doubted that it is.

    Only where such neighbours will be used and ``use_rep`` names nothing: what the user says is taken.
    """
    if found is None or options.use_rep is not None:
        return found, ""
    evidence = _evidence(adata, options, stored)
    return (found, "") if evidence is None else judged(adata, found, evidence)


def judged(adata: ad.AnnData, found: Representation, evidence: Evidence) -> tuple[Representation, str]:
    """Return a representation that fits the evidence, and "", or the one given and why it does not fit."""
    if isinstance(evidence.made_from, Mapping | list | tuple | np.ndarray):
        return found, f"{evidence.called} were made from several representations: {_several(evidence.made_from)}"
    share = evidence.share(found.values)
    if _fits(share, found, evidence):
        return found, ""
    other = _raw(adata, found, evidence)
    if other is not None and (evidence.share(other.values) or 0) >= MOST:
        return other, ""
    return found, f"{_why(found, evidence, share)}{_hint(adata, found, evidence)}"


def _fits(share: float | None, found: Representation, evidence: Evidence) -> bool:
    if share is not None:
        return share >= MOST
    if evidence.made_from is not None:
        return evidence.made_from == found.name
    return not evidence.params or any(name in evidence.params for name in RECORDED)


def _several(made_from: Any) -> str:
    found = made_from.values() if isinstance(made_from, Mapping) else list(made_from)
    return listing(one if isinstance(one, str) else described(one) for one in found)


def _why(found: Representation, evidence: Evidence, share: float | None) -> str:
    called, made_from = evidence.called, evidence.made_from
    gives = f"{found.name!r} does not give them" + ("" if share is None else f" ({share:.0%} of a sample)")
    if made_from is None:
        return f"{called} do not say what they were made from, and {gives}"
    if made_from == found.name:
        return f"{called} were made from {made_from!r}, which has changed since: {gives}"
    return f"{called} were made from {made_from!r}, which is not there, and {gives}"


def _raw(adata: ad.AnnData, found: Representation, evidence: Evidence) -> Representation | None:
    """Return .X where scanpy may have taken it, which it does where genes are few, or ``n_pcs`` is 0."""
    from .read import MAX_RAW_COLUMNS, read_slot

    is_taken = 0 < adata.n_vars <= MAX_RAW_COLUMNS or (adata.n_vars > 0 and evidence.params.get("n_pcs") == 0)
    if evidence.made_from is not None or found.name == "X" or adata.X is None or not is_taken:
        return None
    return read_slot(adata, "X", None, metric=evidence.params.get("metric", EUCLIDEAN))


def _hint(adata: ad.AnnData, found: Representation, evidence: Evidence) -> str:
    """Return which other slots give the stored distances, in words."""
    if evidence.pairs is None or not len(evidence.pairs.rows):
        return ""
    fitting = [name for name, values in _others(adata, found) if (evidence.share(values) or 0) >= MOST]
    return f"; obsm[{fitting[0]!r}] does" if fitting else ""


def _others(adata: ad.AnnData, found: Representation) -> Iterator[tuple[str, np.ndarray]]:
    for name, values in adata.obsm.items():
        is_rows = isinstance(values, np.ndarray) and values.ndim == 2 and values.shape[1] > 0
        if name != found.name and is_rows and values.dtype.kind in "fiu":
            yield name, values


def _evidence(adata: ad.AnnData, options: EmbedOptions, stored: StoredNeighbors | None) -> Evidence | None:
    """Return what there is on neighbours that will be used; None where they are searched in the representation."""
    own = {} if isinstance(options.metric, Unset) else {"metric": options.metric, "metric_kwds": options.metric_kwds}
    if isinstance(options.knn, tuple):
        pairs = _given_pairs(options.knn, adata.n_obs)
        return None if pairs is None else Evidence("the neighbours given as knn", pairs, None, own)
    if stored is None or (stored.graph is None and stored.neighbors is None):
        return None
    if sparse.issparse(options.graph):
        return Evidence("the weights given as graph", None, options.graph, own)
    return stored_evidence(adata, stored)


def stored_evidence(adata: ad.AnnData, stored: StoredNeighbors) -> Evidence:
    """Return what an AnnData holds of its neighbours."""
    from .read import read_links

    called = f"the neighbours stored under {stored.key!r}"
    if stored.neighbors is not None:
        return Evidence(called, pairs_of_table(stored.neighbors), None, stored.params)
    distances, graph = read_links(adata, stored.key)
    is_square = distances is not None and distances.shape == (adata.n_obs, adata.n_obs)
    return Evidence(called, pairs_of_matrix(distances) if is_square else None, graph, stored.params)


def _given_pairs(knn: tuple, n_obs: int) -> Pairs | None:
    """Return some of the neighbours given as arrays; None where these cannot be used, which the backend says."""
    try:
        indices, distances = (np.asarray(array) for array in knn)
    except ValueError:
        return None
    if indices.ndim != 2 or indices.shape != distances.shape or len(indices) != n_obs:
        return None
    if indices.dtype.kind not in "iuf" or distances.dtype.kind not in "iuf":
        return None
    cells = np.arange(n_obs)[:, None]
    usable = (indices != cells) & (indices >= 0) & (indices < n_obs) & np.isfinite(distances)
    table = Neighbors(indices=np.where(usable, indices, -1).astype(np.int32), distances=distances)
    return pairs_of_table(table)


def require_origin(adata: ad.AnnData, stored: StoredNeighbors | None, found: Representation) -> Representation:
    """Return the representation that stored neighbours were made from, or raise `InputError`."""
    if stored is None:
        return found
    found, doubt = judged(adata, found, stored_evidence(adata, stored))
    if doubt:
        raise InputError(f"{doubt}. Give use_rep=, the representation that the map was made from")
    return found
