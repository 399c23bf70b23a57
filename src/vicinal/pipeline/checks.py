"""What the host demands of every stage's output."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

import numpy as np

from vicinal.contract.data import FARTHEST, MISSING, Graph, Neighbors


def check_neighbors(found: Any, n_obs: int, k: int) -> str:
    """Return what is wrong with a neighbour table, or an empty string."""
    if not isinstance(found, Neighbors):
        return f"returned {type(found).__name__}, expected Neighbors"
    problem = _array("indices", found.indices, np.int32, 2) or _array("distances", found.distances, np.float32, 2)
    if problem:
        return problem
    if found.indices.shape != found.distances.shape or found.n_obs != n_obs or found.k > max(k, 0):
        return f"shapes {found.indices.shape} and {found.distances.shape}; expected ({n_obs}, at most {k}) for both"
    present = found.indices != MISSING
    if found.indices.size and (found.indices.min() < MISSING or found.indices.max() >= n_obs):
        return f"indices outside -1 to {n_obs - 1}"
    if not np.isfinite(found.distances[present]).all() or (found.distances[present] < 0).any():
        return "distances of present neighbours must be finite and not negative"
    if (found.indices == np.arange(n_obs, dtype=np.int32)[:, None]).any():
        return "a cell is listed as its own neighbour"
    return ""


def check_graph(graph: Any, n_obs: int) -> str:
    """Return what is wrong with a graph, or an empty string."""
    if not isinstance(graph, Graph):
        return f"returned {type(graph).__name__}, expected Graph"
    problem = _array("indices", graph.indices, np.int32, 1) or _array("weights", graph.weights, np.float32, 1)
    if problem:
        return problem
    if (
        graph.n_obs != n_obs
        or graph.indptr[0] != 0
        or graph.indptr[-1] != len(graph.indices)
        or (np.diff(graph.indptr) < 0).any()
    ):
        return f"indptr does not describe {n_obs} rows of {len(graph.indices)} entries"
    if len(graph.weights) != len(graph.indices):
        return f"{len(graph.weights)} weights for {len(graph.indices)} edges"
    if graph.indices.size and (graph.indices.min() < 0 or graph.indices.max() >= n_obs):
        return f"indices outside 0 to {n_obs - 1}"
    if not np.isfinite(graph.weights).all() or (graph.weights < 0).any():
        return "weights must be finite and not negative"
    return ""


def check_layout(layout: Any, n_obs: int, n_components: int) -> str:
    """Return what is wrong with a layout, or an empty string."""
    problem = _array("the layout", layout, np.float32, 2)
    if problem:
        return problem
    if layout.shape != (n_obs, n_components):
        return f"the layout has shape {layout.shape}, expected {(n_obs, n_components)}"
    bad = int((~np.isfinite(layout)).any(axis=1).sum())
    if bad:
        return f"the layout is not finite for {bad} cells"
    far = int((np.abs(layout) > FARTHEST).any(axis=1).sum())
    return f"the layout has {far} cells farther than {FARTHEST:g} from 0: they have left the map" if far else ""


def check_scores(scores: Any) -> str:
    """Return what is wrong with scores, or an empty string."""
    if not isinstance(scores, Mapping):
        return f"returned {type(scores).__name__}, expected a mapping of names to numbers"
    bad = [name for name, value in scores.items() if not _is_storable(name) or not _is_finite(value)]
    return f"the scores {bad} are not finite numbers with a name without '/'" if bad else ""


def _is_storable(name: Any) -> bool:
    return isinstance(name, str) and bool(name) and "/" not in name


def _is_finite(value: Any) -> bool:
    return isinstance(value, numbers.Real) and math.isfinite(value)


def _array(name: str, value: Any, dtype: Any, ndim: int) -> str:
    if not isinstance(value, np.ndarray):
        return f"{name} is a {type(value).__name__}, expected an array"
    if value.dtype != dtype or value.ndim != ndim:
        return f"{name} has dtype {value.dtype} and {value.ndim} dimensions, expected {np.dtype(dtype)} and {ndim}"
    return ""
