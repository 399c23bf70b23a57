"""New rows into a map: a pure function of each row, whatever comes with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import MISSING, Layout, Neighbors
from vicinal.contract.errors import InputError, ModelError, listing
from vicinal.contract.metrics import checked_kwds, shown_kwds, why_not_again
from vicinal.contract.requests import KnnRequest
from vicinal.contract.seeds import child_seed
from vicinal.contract.spec import BackendSpec
from vicinal.contract.stages import Knn
from vicinal.kernels.parallel import over_rows
from vicinal.kernels.processors import threads_for
from vicinal.plugin.manager import get_manager

from . import novelty, strangers
from .manifest import MEAN_RULE, PLACEMENT_RULE
from .network import apply_network
from .schema import MOST_STEPS
from .store import Model
from .strangers import Strangers

KNN = "exact"
NEAR_ZERO = 1e-3
"""Nearest distance, as a share of the farthest looked up, below which a row may be a reference cell itself."""
SAME_ROW = 1e-4
"""How far values of a row may be from those of the reference cell that it is, as a share of the largest: components
that are made anew of genes round otherwise."""
LARGEST = 1e9
"""Of the parameters of a curve, so that no product of them leaves float32."""
REPULSION = {"repulsion_strength": 1.0, "negative_sample_rate": 5}
"""What counts where a model does not say."""
N_OTHERS, RATE, SEED = 64, 0.01, 0
"""Cells that push at each step, the first rate, and the seed of who they are: parts of the rule, as its name is."""


def place(model: Model, rows: NDArray[np.float32], *, module: Any = None, n_jobs: int | None = None) -> Layout:
    """Return the places of rows in a model's map.

    A network maps each row. Else each goes to the geometric median of the places of the nearest reference cells,
    weighted by the kernel of the fuzzy graph (McInnes, Healy and Melville 2018, arXiv:1802.03426, section 3.1), and
    from there a few steps down the objective of the map, the reference staying where it is. Maps that state no curve
    ``a``, ``b`` have no such steps. A row that is a reference cell goes to that cell's own place.

    Parameters
    ----------
    rows
        float32 ``(n, n_features)``, finite, in the model's representation.
    module
        The user's own network, for a model that was trained with it.

    Returns
    -------
    float32 ``(n, n_components)``; the same bits for any order, batch and number of threads.

    Raises
    ------
    ModelError
        If the model asks for a placement or a metric that is not known here.
    InputError
        If rows are so far from the reference that float32 holds no distance, or have no defined one.
    """
    n_jobs = threads_for(n_jobs)
    if model.fitted is not None:
        return _by_network(model, rows, module, n_jobs)
    if module is not None:
        raise InputError("encoder is given, but the model is not a network: it places cells by their neighbours")
    neighbors = nearest_landmarks(model, rows, n_jobs)
    places = RULES[model.manifest.placement["rule"]](neighbors, model, n_jobs)
    _put_own_places(places, rows, neighbors, model.arrays)
    lost = np.flatnonzero(np.isnan(places[:, 0]))
    if len(lost):
        msg = f"{len(lost)} cells are at no finite distance from the reference; the first is row {lost[0]}"
        raise InputError(msg)
    return places


def _by_network(model: Model, rows: NDArray[np.float32], module: Any, n_jobs: int) -> Layout:
    assert model.fitted is not None
    places = apply_network(model.manifest, model.fitted.encoder, rows, module=module, n_jobs=n_jobs)
    lost = np.flatnonzero(~np.isfinite(places).all(axis=1))
    if len(lost):
        msg = f"the network makes NaN or infinity of {len(lost)} cells; the first is row {lost[0]}"
        raise InputError(f"{msg}. Are they in the units the map was made from?")
    return places


def find_strangers(
    model: Model,
    rows: NDArray[np.float32],
    level: float | None,
    *,
    off: NDArray[np.float32] | None = None,
    n_jobs: int | None = None,
) -> Strangers | str | None:
    """Return which rows are unlike the reference, or why that cannot be said; None where no level is given.

    Parameters
    ----------
    off
        float32 ``(n, 2)``, how far rows lie off the components of the model's PCA, where their genes are known.
    """
    if level is None:
        return None
    n_jobs = threads_for(n_jobs)
    known = model.familiarity(n_jobs)
    if known is None:
        return why_no_strangers(model)
    if (calibration := model.novelty) is None:
        return strangers.find(known, rows, float(level), n_jobs=n_jobs)
    novelty.warn_of_few(len(calibration.scores), level)
    scores = strangers.score(known, rows, n_jobs=n_jobs)
    return Strangers(scores, calibration.p_values(scores, off), float(level), len(calibration.scores))


def why_no_strangers(model: Model) -> str:
    """Return why a model cannot tell strangers; nothing where it can."""
    n_reference = len(model.reference)
    if n_reference >= strangers.AT_LEAST:
        return ""
    if n_reference == 0:
        return "since the model holds none of the cells it was made from"
    return f"since the model holds {n_reference} reference cells; at least {strangers.AT_LEAST} are needed"


def nearest_landmarks(model: Model, rows: NDArray[np.float32], n_jobs: int) -> Neighbors:
    """Return the reference cells nearest to each row, found exactly."""
    placement, reference = model.manifest.placement, model.arrays["reference"]
    if placement.get("rule") not in RULES:
        msg = f"the model is placed by {placement.get('rule')!r}; this version knows {listing(RULES)}. Upgrade vicinal"
        raise ModelError(msg)
    assert model.manifest.representation is not None
    k, metric = min(placement["n_neighbors"], len(reference)), model.manifest.representation["metric"]
    output_metric = model.manifest.params.get("output_metric", "euclidean")
    if output_metric != "euclidean":
        msg = f"the map was made with output_metric={output_metric!r}, and only Euclidean places can be averaged"
        raise ModelError(f"new cells cannot be placed in this map: {msg}")
    kwds = model.manifest.representation.get("metric_kwds") or {}
    why_not = why_not_again(metric, kwds)
    if why_not:
        msg = f"new cells cannot be placed in this map: {why_not}"
        raise ModelError(f"{msg}; make it with a metric given by name, and its arguments as metric_kwds")
    if "metric_kwds_by" in model.manifest.representation:
        again = f"make it again with metric={metric!r}, {shown_kwds(kwds)}"
        msg = f"another tool found the neighbours with arguments of the metric {metric!r}"
        raise ModelError(f"new cells cannot be placed in this map: {msg}, whose meaning there is not known; {again}")
    try:
        request = KnnRequest(
            representation=reference,
            k=k,
            n_obs=len(reference),
            metric=metric,
            metric_kwds=checked_kwds(metric, kwds, reference.shape[1]),
            n_jobs=n_jobs,
        )
        return _exact().build(request).query(rows, k)
    except ValueError as error:  # a metric that is not defined for such rows, too
        raise ModelError(f"new cells cannot be placed in this map: {error}") from error


def _exact() -> Knn:
    entry = get_manager().resolve("knn", KNN)
    assert isinstance(entry.spec, BackendSpec)
    return get_manager().load(entry)(entry.spec.params())


def _at_means(neighbors: Neighbors, model: Model, n_jobs: int) -> Layout:
    from vicinal.kernels.placement import weighted_means

    return _filled(weighted_means, neighbors, model.arrays["layout"], n_jobs)


def _at_medians_and_down(neighbors: Neighbors, model: Model, n_jobs: int) -> Layout:
    from vicinal.kernels.placement import weighted_medians

    placement = model.manifest.placement
    n_steps, curve = _n_steps(placement), _curve({**model.manifest.params, **placement})
    places = _filled(weighted_medians, neighbors, model.arrays["layout"], n_jobs)
    if n_steps and curve is not None:
        _descend(neighbors, model.arrays["layout"], curve, n_steps, places, n_jobs)
    return places


def _n_steps(placement: Mapping[str, Any]) -> int:
    n_steps = placement.get("n_steps")
    if type(n_steps) is not int or not 0 <= n_steps <= MOST_STEPS:
        msg = f"the model states n_steps={n_steps!r} of its placement; expected an integer from 0 to {MOST_STEPS}"
        raise ModelError(msg)
    return n_steps


def _curve(params: Mapping[str, Any]) -> tuple[np.float32, np.float32, np.float32] | None:
    """Return a and b of the objective, and the strength of its repulsion; None for a map that states no curve."""
    names, stated = ("a", "b", "repulsion_strength", "negative_sample_rate"), {**REPULSION, **params}
    if stated.get("a") is None or stated.get("b") is None:
        return None
    for name in names:
        value = stated[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST:
            msg = f"the model states {name}={str(value)[:30]} of its objective; expected a number of at least 0"
            raise ModelError(f"{msg}, at most {LARGEST:g}")
    a, b, strength, rate = (stated[name] for name in names)
    return np.float32(a), np.float32(b), np.float32(strength * rate)


def _filled(kernel: Callable[..., None], neighbors: Neighbors, layout: Layout, n_jobs: int) -> Layout:
    places = np.empty((neighbors.n_obs, layout.shape[1]), dtype=np.float32)
    table = neighbors.indices, neighbors.distances, layout
    over_rows(lambda start, stop: kernel(*table, start, stop, places), neighbors.n_obs, n_jobs)
    return places


def _descend(
    neighbors: Neighbors,
    layout: Layout,
    curve: tuple[np.float32, np.float32, np.float32],
    n_steps: int,
    places: Layout,
    n_jobs: int,
) -> None:
    from vicinal.kernels.placement import descend, draw_others

    others = draw_others(layout, n_steps, N_OTHERS, child_seed(SEED, "placement"))
    table = neighbors.indices, neighbors.distances, layout, others, *curve, np.float32(RATE)
    over_rows(lambda start, stop: descend(*table, start, stop, places), neighbors.n_obs, n_jobs)


RULES: dict[str, Callable[[Neighbors, Model, int], Layout]] = {
    PLACEMENT_RULE: _at_medians_and_down,
    MEAN_RULE: _at_means,
}
"""How rows are placed among their neighbours, by the name in a model. What a name means never changes."""


def _put_own_places(
    places: Layout, rows: NDArray[np.float32], neighbors: Neighbors, arrays: Mapping[str, np.ndarray]
) -> None:
    """Put rows that are reference cells at the mean place of all cells with that row.

    Told by their values: for some metrics a row is not at distance 0 from itself, or so are others too.
    """
    distances = neighbors.distances
    candidates = np.flatnonzero(~(distances[:, 0] > NEAR_ZERO * distances[:, -1]))
    if len(candidates) == 0:
        return
    first: dict[bytes, int] = {}
    groups = np.array([first.setdefault(row, i) for i, row in enumerate(row_bytes(arrays["reference"]))])
    sums = np.zeros(arrays["layout"].shape)
    np.add.at(sums, groups, arrays["layout"])
    means = sums / np.maximum(np.bincount(groups, minlength=len(groups)), 1)[:, None]
    group = np.array([first.get(row, MISSING) for row in row_bytes(rows[candidates])])
    nearest = neighbors.indices[candidates, 0]
    is_same = (group == MISSING) & _are_same(rows[candidates], arrays["reference"][nearest])
    group[is_same] = groups[nearest[is_same]]
    places[candidates[group != MISSING]] = means[group[group != MISSING]]


def same_as_landmarks(model: Model, rows: NDArray[np.float32], n_jobs: int | None = None) -> NDArray[np.intp]:
    """Return which reference cell each row is but for rounding, -1 for none."""
    nearest = nearest_landmarks(model, rows, threads_for(n_jobs)).indices[:, 0].astype(np.intp)
    is_same = (nearest != MISSING) & _are_same(rows, model.arrays["reference"][nearest])
    return np.where(is_same, nearest, MISSING)


def _are_same(rows: NDArray[np.float32], known: NDArray[np.float32]) -> NDArray[np.bool_]:
    off = np.abs(rows - known).max(axis=1)
    return np.asarray(off <= SAME_ROW * np.abs(known).max(axis=1), dtype=bool)


def row_bytes(rows: NDArray[np.float32]) -> Iterator[bytes]:
    """Yield what equal rows have in common."""
    for row in rows + np.float32(0):  # -0.0 and 0.0 become the same bytes
        yield row.tobytes()
