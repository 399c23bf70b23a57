"""The main path: read, plan, run, write."""

from __future__ import annotations

from typing import Any

from anndata import AnnData

from vicinal.adata.keys import map_keys
from vicinal.adata.read import read
from vicinal.adata.write import write
from vicinal.contract.options import EUCLIDEAN, EmbedOptions
from vicinal.pipeline.plan import make_plan
from vicinal.pipeline.run import run


def embed(
    adata: AnnData,
    method: str = "umap",
    *,
    n_components: int = 2,
    n_neighbors: int | None = None,
    neighbors_key: str | None = None,
    use_rep: str | None = None,
    n_pcs: int | None = None,
    metric: str = EUCLIDEAN,
    knn: Any = "auto",
    graph: Any = "auto",
    init: Any = "auto",
    objective: Any = "auto",
    optimizer: Any = "auto",
    min_dist: float | None = None,
    spread: float | None = None,
    n_epochs: int | None = None,
    random_state: int = 0,
    n_jobs: int | None = None,
    key_added: str | None = None,
    copy: bool = False,
    **params: Any,
) -> AnnData | None:
    """Make a map of the cells.

    Stored neighbours are used when none of ``n_neighbors``, ``use_rep``, ``n_pcs``, ``metric``, ``knn`` and ``graph``
    is given; else neighbours are computed afresh. A smaller ``n_neighbors`` alone takes the nearest of those stored.

    Parameters
    ----------
    adata
        Annotated data, cells in rows. Only the map's own slots are written, and only after every stage went well.
    method
        Name of a preset: which stages, with which defaults. ``"umap"`` is built in (McInnes, Healy, Melville 2018).
    n_components
        Dimensions of the map, 1 to 10.
    n_neighbors
        Neighbours of each cell, the cell itself counted; less than the number of cells.
    neighbors_key
        Key in ``uns`` of the stored neighbours; None for ``"neighbors"``.
    use_rep
        Key in ``obsm``, ``"X"``, or a layer: where neighbours are found. None for the one the stored neighbours were
        made from, else ``X_pca``, else ``.X`` with at most 50 columns.
    n_pcs
        Columns of the representation to use, from the front.
    metric
        Metric of the representation.
    knn
        Name of a backend, an object with ``build``, a scikit-learn ``KNeighborsTransformer``, or
        ``(indices, distances)``, both ``(n_obs, k)``, with -1, the unsigned maximum or ``inf`` for missing neighbours.
    graph
        Name of a backend, an object with ``build``, or a sparse ``(n_obs, n_obs)`` matrix of weights.
    init
        Name of a backend, a key of ``obsm``, positions ``(n_obs, n_components)``, or an object with ``place``.
    objective, optimizer
        Name of a backend, or an object of the stage.
    min_dist
        Distance in the map at which cells count as touching; scanpy's default of 0.5 for UMAP.
    spread
        Scale of the map that ``min_dist`` is relative to.
    n_epochs
        Passes over the graph; None for 500 up to 10,000 cells, else 200.
    random_state
        The seed everything random here is derived from.
    n_jobs
        Threads; None for all processors. Where every chosen backend is deterministic, the map does not depend on it.
    key_added
        Key for both ``obsm`` and ``uns``; None for ``X_{method}`` and ``{method}``.
    copy
        Leave ``adata`` alone and return a copy with the map.
    **params
        Parameters of the chosen backends, such as ``negative_sample_rate``; `vicinal.tl.plan` lists them.
        ``stage__name`` where two backends share a name.

    Returns
    -------
    None, or the copy. The map is in ``obsm["X_{method}"]``, float32 ``(n_obs, n_components)``; ``uns["{method}"]``
    holds ``params``, ``loss``, ``loss_epoch``, ``loss_parts``, ``backends``, ``versions``, ``timings`` (seconds),
    ``score`` and ``model``.

    Raises
    ------
    InputError
        Before any work, if an argument or a value in ``adata`` cannot be used.
    StageError
        If a backend fails or returns what its stage does not allow; ``adata`` is then unchanged.

    Examples
    --------
    >>> import vicinal as vc
    >>> adata = vc.datasets.pbmc68k_reduced()
    >>> vc.tl.embed(adata)
    >>> adata.obsm["X_umap"].shape
    (700, 2)
    """
    options = EmbedOptions(
        method=method,
        n_components=n_components,
        n_neighbors=n_neighbors,
        neighbors_key=neighbors_key,
        use_rep=use_rep,
        n_pcs=n_pcs,
        metric=metric,
        knn=knn,
        graph=graph,
        init=init,
        objective=objective,
        optimizer=optimizer,
        min_dist=min_dist,
        spread=spread,
        n_epochs=n_epochs,
        random_state=random_state,
        n_jobs=n_jobs,
        key_added=key_added,
        params=params,
    )
    source = read(adata, options)
    plan = make_plan(source, options)
    result = run(plan, source)
    return write(adata, result, map_keys(method, key_added), copy=copy)
