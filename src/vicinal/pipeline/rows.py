"""The order in which rows are worked on: by name, so that a map does not depend on the order cells are stored in."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vicinal.contract.data import MISSING, Graph, Neighbors
from vicinal.contract.source import Representation, Source

from .spool import new_rows

OF_OTHERS = ("paga_positions", "validation_rows")
"""Extra inputs whose rows are not those of the cells."""

SORTED_AT_ONCE = 10_000
"""Rows in a file that are put in order at a time."""

logger = logging.getLogger("vicinal")


class RowOrder:
    """Rows sorted by name, and back.

    Parameters
    ----------
    names
        Name of each row; None to leave the order alone.
    """

    def __init__(self, names: NDArray[Any] | None) -> None:
        self._order = None if names is None else sorting(names)
        self._place: NDArray[np.int32] | None = None
        if self._order is not None:
            self._place = np.empty(len(self._order), dtype=np.int32)
            self._place[self._order] = np.arange(len(self._order), dtype=np.int32)

    def back(self) -> RowOrder:
        """Return what sorts rows that were sorted by this into the order they are stored in."""
        stored = RowOrder(None)
        if self._order is not None and self._place is not None:
            stored._order, stored._place = self._place.astype(np.intp), self._order.astype(np.int32)
        return stored

    def sort(self, source: Source) -> Source:
        """Return a source with its rows sorted."""
        if self._order is None:
            return source
        representation = source.representation and self.sort_representation(source.representation)
        stored = source.stored
        if stored is not None:
            graph = stored.graph and self.sort_graph(stored.graph)
            stored = dataclasses.replace(stored, graph=graph)
        arrays = {k: v if k in OF_OTHERS else self.sort_rows(v) for k, v in source.arrays.items()}
        labels = None if source.labels is None else self.sort_rows(source.labels)
        fixed = None if source.fixed is None else self.sort_rows(source.fixed)
        return dataclasses.replace(
            source, representation=representation, stored=stored, arrays=arrays, labels=labels, fixed=fixed
        )

    def sort_representation(self, found: Representation) -> Representation:
        """Return a representation with its rows sorted, in a file again where it is in one."""
        if not found.spooled or self._order is None:
            return dataclasses.replace(found, values=self.sort_rows(found.values))
        values = new_rows(found.values.shape, found.name)
        for start in range(0, len(values), SORTED_AT_ONCE):
            part = slice(start, start + SORTED_AT_ONCE)
            values[part] = found.values[self._order[part]]
        return dataclasses.replace(found, values=values)

    def sort_rows(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return rows in the order they are worked on."""
        return values if self._order is None or len(values) != len(self._order) else values[self._order]

    def unsort_rows(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return a copy of the rows in the order they are stored in."""
        return values.copy() if self._place is None else values[self._place]

    def sort_graph(self, graph: Graph) -> Graph:
        """Return a graph with rows and columns sorted."""
        if self._order is None or self._place is None:
            return graph
        lengths = np.diff(graph.indptr)[self._order]
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        taken = np.repeat(graph.indptr[:-1][self._order] - indptr[:-1], lengths) + np.arange(indptr[-1])
        columns, weights = self._place[graph.indices[taken]], graph.weights[taken]
        del taken
        matrix = sparse.csr_matrix((weights, columns, indptr), shape=(graph.n_obs, graph.n_obs))
        matrix.sort_indices()
        return dataclasses.replace(graph, indptr=matrix.indptr, indices=matrix.indices, weights=matrix.data)

    def sort_neighbors(self, neighbors: Neighbors) -> Neighbors:
        """Return a neighbour table with rows sorted and cells renumbered; ties in distance by the new number."""
        if self._order is None or self._place is None:
            return neighbors
        indices = neighbors.indices[self._order]
        indices = np.where(indices == MISSING, MISSING, self._place[indices]).astype(np.int32)
        distances = neighbors.distances[self._order]
        ranked = np.lexsort((indices, distances), axis=1)
        return dataclasses.replace(
            neighbors,
            indices=np.take_along_axis(indices, ranked, axis=1),
            distances=np.take_along_axis(distances, ranked, axis=1),
        )


def sorting(names: NDArray[Any]) -> NDArray[np.intp] | None:
    """Return the permutation that sorts names; None where they are sorted already, or are not unique."""
    text = _as_text(names)
    if _is_rising(text):
        return None
    order = np.argsort(text, kind="stable")
    ordered = text[order]
    if (ordered[:-1] == ordered[1:]).any():
        logger.warning(
            "obs names are not unique: the map depends on the order of the rows; see adata.obs_names_make_unique"
        )
        return None
    return order


def is_sorted(names: NDArray[Any]) -> bool:
    """Tell whether each name comes after the one before it."""
    return _is_rising(_as_text(names))


def _as_text(names: NDArray[Any]) -> NDArray[Any]:
    try:
        return np.asarray(names, dtype="S")  # bytes sort several times faster than objects
    except UnicodeEncodeError:
        return np.asarray(names, dtype="U")


def _is_rising(text: NDArray[Any]) -> bool:
    return bool((text[:-1] < text[1:]).all())
