"""Whether stored neighbours are still whole: cells that were taken out take them along."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import MISSING
from vicinal.contract.source import StoredNeighbors

FEW = 0.01
"""Share of the cells that may have fewer neighbours than wanted."""
AGAIN = "run sc.pp.neighbors(adata) again"

logger = logging.getLogger("vicinal")


def as_far_as_whole(stored: StoredNeighbors | None, wanted: int | None, *, can_search: bool) -> StoredNeighbors | None:
    """Return stored neighbours without those that are no longer enough, and with a note where some are missing.

    Parameters
    ----------
    wanted
        Neighbours that will be taken of each cell, the cell itself counted.
    can_search
        Whether there is a representation that they were made from, to search afresh in.
    """
    if stored is None:
        return None
    if stored.neighbors is not None and wanted is not None:
        return _table_as_far_as_whole(stored, wanted, can_search)
    return stored if stored.graph is None else _noted_if_cut(stored)


def _table_as_far_as_whole(stored: StoredNeighbors, wanted: int, can_search: bool) -> StoredNeighbors:
    assert stored.neighbors is not None
    counts = (stored.neighbors.indices != MISSING).sum(axis=1)
    lacking = _lacking(counts, min(wanted, len(counts)) - 1)
    if not lacking:
        return stored
    note = f"{lacking} stored under {stored.key!r}"
    if can_search:
        note = f"{note}: all are searched afresh"
        logger.warning("%s", note)
        return dataclasses.replace(stored, neighbors=None, note=note)
    logger.warning("%s, and there is nothing to search afresh in: the map is made from those", note)
    return dataclasses.replace(stored, note=note)


def _noted_if_cut(stored: StoredNeighbors) -> StoredNeighbors:
    """Return stored connectivities with a note where cells have fewer edges than neighbours were found."""
    assert stored.graph is not None
    # Other tools count otherwise: of neighbours in space some lie at the edge.
    if stored.n_neighbors is None or "method" not in stored.params:
        return stored
    degrees = np.diff(stored.graph.indptr)
    lacking = _lacking(degrees, min(stored.n_neighbors, len(degrees)) - 1, what="edges")
    if not lacking:
        return stored
    note = f"{lacking} in the graph stored under {stored.key!r}: it was cut, as by taking cells out"
    logger.warning("%s. For a whole one %s", note, AGAIN)
    return dataclasses.replace(stored, note=note)


def _lacking(counts: NDArray[np.integer], wanted: int, what: str = "neighbours") -> str:
    """Return how many cells have fewer than wanted, in words; "" where these are few."""
    short, n_obs = int((counts < wanted).sum()), len(counts)
    if short <= FEW * n_obs:
        return ""
    none = int((counts == 0).sum())
    of_these = f", and {none:,} of these none," if none else ""
    return f"{short:,} of {n_obs:,} cells have fewer than {wanted} {what}{of_these}"
