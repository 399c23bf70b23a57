"""How well a map keeps what it was made from."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

from anndata import AnnData

from vicinal.adata.keys import doubt_of, keys_of_basis
from vicinal.adata.read import check_adata, check_writable, read_labels, read_layout, read_representation
from vicinal.adata.record import require_own_entry
from vicinal.adata.write import put_score
from vicinal.contract.arguments import checks_arguments
from vicinal.contract.errors import InputError
from vicinal.contract.metrics import checked_kwds
from vicinal.contract.options import EUCLIDEAN, EmbedOptions
from vicinal.contract.requests import ScoreRequest
from vicinal.contract.seeds import child_seed
from vicinal.kernels.processors import threads_for
from vicinal.pipeline.metric import stored_metric, why_not_measured
from vicinal.pipeline.neighborhoods import Metric, comparable
from vicinal.pipeline.plan import check_options, plan_scores
from vicinal.pipeline.rows import RowOrder
from vicinal.pipeline.run import N_SCORED_CELLS, measure, score_request


@checks_arguments
def score(
    adata: AnnData,
    basis: str = "X_umap",
    *,
    labels: str | None = None,
    use_rep: str | None = None,
    n_pcs: int | None = None,
    n_sample: int = N_SCORED_CELLS,
    random_state: int = 0,
    n_jobs: int | None = None,
) -> dict[str, float]:
    """Score a map against the representation it was made from; any map in ``obsm``, also another tool's.

    Neighbours are exact, of a seeded sample of cells among all cells.

    Parameters
    ----------
    adata
        Annotated data with a map.
    basis
        Key of the map in ``obsm``, with or without ``X_``.
    labels
        Column of ``obs`` for ``label_accuracy``; None to leave it out.
    use_rep, n_pcs
        The representation; None for the one recorded with the map, else as `vicinal.tl.embed` chooses.
    n_sample
        Cells in the sample; all cells where there are fewer.
    random_state
        Seed of the sample, as for `vicinal.tl.embed`.
    n_jobs
        Threads; None and -1 for all processors that the container, the job and ``OMP_NUM_THREADS`` allow.

    Returns
    -------
    The scores, also written to ``uns[...]["score"]``: ``knn_recall_15`` and ``knn_recall_50`` (shared neighbours, 0 to
    1), ``trustworthiness`` (Venna and Kaski 2001, 15 neighbours), ``global_correlation`` (Spearman, of distances) and
    ``label_accuracy`` (a vote of the 15 nearest in the map). Those undefined for few cells are left out.

    Raises
    ------
    InputError
        If the map, the representation or the labels are missing or cannot be used.
    """
    check_adata(adata)
    check_writable(adata)
    if not isinstance(n_sample, numbers.Integral) or isinstance(n_sample, bool) or n_sample < 1:
        raise InputError(f"n_sample={n_sample!r} is not allowed; give how many cells to score, at least 1")
    keys = keys_of_basis(adata, basis)
    require_own_entry(adata, keys)
    layout = read_layout(adata, keys.obsm)
    made_with = _recorded(adata.uns.get(keys.uns))
    if use_rep is None and (doubt := doubt_of(adata.uns.get(keys.uns))):
        raise InputError(f"basis={basis!r} has nothing to be scored against: {doubt}. Give use_rep=")
    if n_pcs is None and use_rep in (None, made_with.get("use_rep")):
        n_pcs = made_with.get("n_pcs")
    given_rep, use_rep = use_rep is not None, made_with.get("use_rep") if use_rep is None else use_rep
    # A center is taken off only where the metric allows it.
    name = str(made_with.get("metric", EUCLIDEAN))
    options = EmbedOptions(use_rep=use_rep, n_pcs=n_pcs, metric=name, random_state=random_state, n_jobs=n_jobs)
    check_options(options)
    representation, _ = read_representation(adata, options, None)
    assert representation is not None
    codes = read_labels(adata, labels)
    rows = RowOrder(adata.obs_names.to_numpy())  # as embed does, so that the same cells are in the sample
    request = _request(
        rows.sort_representation(representation).values,
        comparable(rows.sort_rows(layout), made_with.get("output_metric")),
        metric=_metric(made_with, given_rep=given_rep),
        labels=None if codes is None else rows.sort_rows(codes),
        seed=child_seed(random_state, "score"),
        n_jobs=threads_for(n_jobs),
        n_sample=n_sample,
    )
    scores: dict[str, float] = {}
    for choice in plan_scores(labels=codes is not None):
        scores |= measure(choice, request)
    put_score(adata, scores, keys)
    return scores


def _request(*args: Any, **options: Any) -> ScoreRequest:
    try:
        return score_request(*args, **options)
    except ValueError as error:  # rows that the metric cannot compare
        raise InputError(f"no scores: {error}") from error


def _metric(made_with: Mapping, *, given_rep: bool) -> Metric:
    """Return the metric that a map was made by; the Euclidean one where that cannot be and ``use_rep`` was given."""
    name, kwds = stored_metric(made_with)
    why_not = "" if name is None else why_not_measured(name, kwds)
    if why_not and not given_rep:
        raise InputError(f"no scores: {why_not}. Give use_rep= to score by Euclidean distances in that representation")
    return Metric() if name is None or why_not else Metric(name, checked_kwds(name, kwds))


def _recorded(entry: object) -> Mapping:
    params = entry.get("params", {}) if isinstance(entry, Mapping) else {}
    return params if isinstance(params, Mapping) and "use_rep" in params else {}
