"""Our neighbours and graph in scanpy's slots."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from anndata import AnnData

from vicinal.adata.keys import DEFAULT_NEIGHBORS, check_free_for_neighbors
from vicinal.adata.precomputed import with_precomputed
from vicinal.adata.read import check_adata, check_writable, read_representation
from vicinal.adata.write import duplicate, put_neighbors
from vicinal.contract.arguments import checks_arguments
from vicinal.contract.log import added
from vicinal.contract.options import EmbedOptions
from vicinal.contract.source import Source
from vicinal.pipeline.metric import metric_reasons
from vicinal.pipeline.plan import plan_neighbors
from vicinal.pipeline.rows import RowOrder
from vicinal.pipeline.run import effective, find_neighbors, make_graph, timed


@checks_arguments
def neighbors(
    adata: AnnData,
    *,
    n_neighbors: int | None = None,
    use_rep: str | None = None,
    n_pcs: int | None = None,
    metric: str | Callable[..., float] = "euclidean",
    metric_kwds: Mapping[str, Any] | None = None,
    knn: Any = "auto",
    graph: Any = "auto",
    random_state: int = 0,
    n_jobs: int | None = None,
    key_added: str | None = None,
    copy: bool = False,
    **params: Any,
) -> AnnData | None:
    """Find neighbours and weigh them, and store both where scanpy does.

    Parameters
    ----------
    adata
        Annotated data, cells in rows.
    n_neighbors
        Neighbours of each cell, the cell itself counted; less than the number of cells. None for 15, or what ``graph``
        wants: for ``"perplexity"`` three times the perplexity; all cells where there are fewer.
    use_rep, n_pcs, metric, metric_kwds, knn, graph, random_state, n_jobs, **params
        As for `vicinal.tl.embed`.
    key_added
        Key in ``uns``, and prefix in ``obsp``; None for ``"neighbors"``, ``"distances"`` and ``"connectivities"``.
    copy
        Leave ``adata`` alone and return a copy.

    Returns
    -------
    None, or the copy. ``obsp["distances"]`` has ``n_neighbors - 1`` entries a row, ``obsp["connectivities"]`` the
    weights (float32), ``uns["neighbors"]`` the parameters; leiden, paga, dpt and umap of scanpy use them as their own.

    Raises
    ------
    InputError
        Before any work, if an argument or a value in ``adata`` cannot be used.
    StageError
        If a backend fails; ``adata`` is then unchanged.
    """
    check_adata(adata)
    check_writable(adata)
    check_free_for_neighbors(adata, key_added)
    options = EmbedOptions(
        n_neighbors=n_neighbors,
        use_rep=use_rep,
        n_pcs=n_pcs,
        metric=metric,
        metric_kwds=metric_kwds,
        knn=knn,
        graph=graph,
        random_state=random_state,
        n_jobs=n_jobs,
        params=params,
    )
    options = with_precomputed(adata, options)
    representation, note = read_representation(adata, options, None)
    source = Source(n_obs=adata.n_obs, representation=representation, notes=(note,) if note else ())
    plan = plan_neighbors(source, options)
    knn_stage, graph_stage = plan.stages["knn"], plan.stages["graph"]
    timings: dict[str, float] = {}
    timer = functools.partial(timed, timings=timings)
    # An object of the user's may know the cells in the order they are stored in.
    by_name = not any(choice.is_object for choice in plan.stages.values())
    rows = RowOrder(adata.obs_names.to_numpy() if by_name else None)
    source, stored = rows.sort(source), rows.back()
    found = find_neighbors(knn_stage, plan, source, timer)
    if "given_neighbors" in knn_stage.capabilities.inputs:
        found = rows.sort_neighbors(found)
    weighed = make_graph(graph_stage, plan, source, found, timer)
    target = duplicate(adata) if copy else adata
    put_neighbors(
        target,
        key_added=None if key_added == DEFAULT_NEIGHBORS else key_added,
        params={
            "n_neighbors": plan.n_neighbors,
            "method": "umap" if graph_stage.name == "fuzzy" else graph_stage.name,
            "metric": plan.metric,
            "random_state": plan.random_state,
            "use_rep": plan.representation,
            "n_pcs": plan.n_pcs,
            "knn": knn_stage.full_name,
            "graph": graph_stage.full_name,
            **{f"{name}_note": note for name, note in metric_reasons(plan.metric, source).items()},
            **effective(graph_stage),
        },
        metric_kwds=plan.metric_kwds,
        distances=stored.sort_neighbors(found).to_csr(),
        connectivities=stored.sort_graph(weighed).to_scipy(),
    )
    slots = "obsp['distances'], obsp['connectivities']" if key_added is None else f"neighbors as {key_added!r}"
    added(slots, adata.n_obs, sum(timings.values()))
    return target if copy else None
