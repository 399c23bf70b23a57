"""The main path: read, plan, run, write."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from anndata import AnnData

from vicinal.adata.keys import map_keys
from vicinal.adata.precomputed import with_precomputed
from vicinal.adata.read import read
from vicinal.adata.write import write
from vicinal.contract.arguments import checks_arguments
from vicinal.contract.options import EUCLIDEAN, EmbedOptions
from vicinal.contract.source import EmbedResult
from vicinal.pipeline.memory import require_memory
from vicinal.pipeline.plan import make_plan
from vicinal.pipeline.repeat import arguments_of

from ._continue import with_loaded_model
from ._keeper import Keeper
from ._parameters import with_parameters

NOTHING_KEPT = "nothing was kept; checkpoint=PATH keeps what is done"


@with_parameters
@checks_arguments
def embed(
    adata: AnnData,
    method: str = "umap",
    *,
    n_components: int = 2,
    n_neighbors: int | None = None,
    neighbors_key: str | None = None,
    use_rep: str | None = None,
    n_pcs: int | None = None,
    metric: str | Callable[..., float] = EUCLIDEAN,
    metric_kwds: Mapping[str, Any] | None = None,
    knn: Any = "auto",
    graph: Any = "auto",
    init: Any = "auto",
    objective: Any = "auto",
    optimizer: Any = "auto",
    min_dist: float | None = None,
    spread: float | None = None,
    n_epochs: int | Sequence[int] | None = None,
    phases: Sequence[Mapping[str, Any]] | None = None,
    random_state: int = 0,
    n_jobs: int | None = None,
    key_added: str | None = None,
    fixed: str | Sequence[bool] | np.ndarray | None = None,
    labels: str | None = None,
    callbacks: Callable[..., Any] | Sequence[Callable[..., Any]] | None = (),
    checkpoint: str | os.PathLike[str] | None = None,
    checkpoint_every: int | None = None,
    copy: bool = False,
    **params: Any,
) -> AnnData | None:
    """Make a map of the cells.

    Stored neighbours are used when none of ``n_neighbors``, ``use_rep``, ``n_pcs``, ``metric``, ``knn`` and ``graph``
    is given; else neighbours are computed afresh. A smaller ``n_neighbors`` alone takes the nearest of those stored.
    Of a method whose graph is made from neighbours, as t-SNE's is, they are used if they hold as many as that wants.

    Parameters
    ----------
    adata
        Annotated data, cells in rows. Only the map's own slots are written, and only after every stage went well.
    method
        Name of a preset: which stages, with which defaults. ``"umap"`` (McInnes, Healy, Melville 2018) and ``"tsne"``
        (van der Maaten, Hinton 2008) are built in; ``"parametric_umap"``, a network that maps new cells too (Sainburg,
        McInnes, Gentner 2021), comes with the plugin ``vicinal-torch``.
    n_components
        Dimensions of the map, 1 to 10; of t-SNE 1 to 3.
    n_neighbors
        Neighbours of each cell, the cell itself counted; less than the number of cells. None for what the graph wants:
        three times the ``perplexity`` where it has one, else 15 (31 for ``"fixed_sigma"``).
    neighbors_key
        Key in ``uns`` of the stored neighbours; None for ``"neighbors"``.
    use_rep
        Key in ``obsm``, ``"X"``, or a layer: where neighbours are found. None for the one the stored neighbours were
        made from, else ``X_pca``, else ``.X`` with at most 50 columns.
    n_pcs
        Columns of the representation to use, from the front.
    metric
        Metric of the representation: a name that scikit-learn or pynndescent knows, or a function ``(x, y) ->
        distance`` decorated with `numba.njit`. A map made with a function cannot be projected into.
        With ``"precomputed"``, ``use_rep`` names a matrix of distances between all cells, dense or sparse, in ``obsp``,
        ``obsm``, ``layers`` or ``"X"``; no new cells can be placed.
    metric_kwds
        The metric's arguments: ``p`` and ``w`` of ``"minkowski"``, ``V`` of ``"seuclidean"``, ``VI`` or ``V`` of
        ``"mahalanobis"``, as scipy takes them.
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
        Passes over the graph; None for 500 up to 10,000 cells, else 200, of t-SNE 475. A list such as ``[0, 50,
        200]``, increasing, keeps the map at each of these epochs; the last is the number of passes. A network has
        ``n_training_epochs``.
    phases
        Parts of the optimisation with parameters of their own: a list such as ``[{"n": 100, "repulsion_strength":
        2.0}, {"n": 100}]``, ``n`` the number of epochs, the rest what replaces parameters of the optimizer for these.
        They say how many epochs there are; ``n_epochs`` may list those to keep the map at. None for the optimizer's
        own, which `vicinal.tl.plan` shows.
    random_state
        The seed everything random here is derived from: an integer, or what else `numpy.random.default_rng` takes, of
        which the seed recorded is made; a generator gives its next integer. None means 0.
    n_jobs
        Threads; None and -1 for all processors that the container, the job and ``OMP_NUM_THREADS`` allow. Where
        every chosen backend is deterministic, the map does not depend on it.
    key_added
        Key for both ``obsm`` and ``uns``; None for ``X_{method}`` and ``{method}``.
    fixed
        Cells that stay where the first layout has them: a column of ``obs``, or a mask ``(n_obs,)``, boolean. They
        pull and push the others all the same. With ``init`` an ``obsm`` key or positions they stay just there;
        another ``init`` places and scales them first.
    labels
        Column of ``obs`` that the map is to follow, such as cell types: edges between cells of different labels are
        weakened, as umap-learn does for categorical targets, by ``target_weight`` (0 to 1, 0.5 by default). Cells
        without a value have an unknown label. The graph must be one that can use labels: ``"fuzzy"`` or
        ``"precomputed"``. With ``init="sample_place"`` the sample is mapped without them.
    callbacks
        A function, or several, of ``(epoch, layout, loss)``, called where the loss is recorded, about 20 times, the
        first before any move. ``layout`` is a copy, ``(n_obs, n_components)``, rows as in ``adata``. One that returns
        True ends the optimisation, and the map is scored and written as it is then; an exception leaves ``adata``
        unchanged. For a network also Lightning's own callbacks, such as ``EarlyStopping``.
    checkpoint
        File in which the run is kept while it lasts. If it is there at the start, of the same data and arguments
        (``n_jobs`` may differ), the run goes on from it, and the map has the same bits as without interruption. It
        is removed when the map has been written into ``adata``. What a callback remembers is not in it.
    checkpoint_every
        Epochs between two checkpoints; None for a tenth of all.
    copy
        Leave ``adata`` alone and return a copy with the map.
    **params
        Parameters of the chosen backends, such as ``negative_sample_rate``: those of the built-in ones are below,
        `vicinal.tl.plan` lists those of the backends that a call would take, plugins' too.
        ``stage__name`` where two backends share a name.

    Returns
    -------
    None, or the copy. The map is in ``obsm["X_{method}"]``, float32 ``(n_obs, n_components)``; ``uns["{method}"]``
    holds ``params``, ``arguments`` and ``inputs`` (by which `vicinal.tl.rerun` repeats it), ``loss``, ``loss_epoch``,
    ``loss_parts``, ``backends``, ``reasons``, ``versions``, ``timings`` (seconds), ``score`` and ``model``; where
    ``n_epochs`` is a list also ``snapshots``, float32 ``(m, n_obs, n_components)``, and ``snapshot_epochs``; with
    ``init="sample_place"`` also ``init``: ``sample``, which cells were drawn, boolean ``(n_obs,)``, and
    ``placement``, where all were put, like the map. With phases, ``params`` holds ``phases``, JSON of ``[start, stop,
    overrides]`` of the epochs that were taken with some. Where a callback ended it, ``params`` holds ``stopped_by`` and
    ``n_epochs_planned``. With ``labels``, ``score`` holds ``label_accuracy``.

    Raises
    ------
    InputError
        Before any work, if an argument or a value in ``adata`` cannot be used, or if the forecast of memory
        (`vicinal.tl.plan` shows it) is beyond what is available by more than a quarter; it says what would fit.
    ModelError
        Before the optimisation, if ``checkpoint`` is damaged, or belongs to other data or arguments; it is left as it
        is.
    StageError
        If a backend fails or returns what its stage does not allow; ``adata`` is then unchanged.
    KeyboardInterrupt
        With a message that says at which epoch it stopped; ``adata`` is unchanged, and ``checkpoint``, if given, is
        written.

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
        metric_kwds=metric_kwds,
        knn=knn,
        graph=graph,
        init=init,
        objective=objective,
        optimizer=optimizer,
        min_dist=min_dist,
        spread=spread,
        n_epochs=n_epochs,
        phases=phases,
        random_state=random_state,
        n_jobs=n_jobs,
        key_added=key_added,
        fixed=fixed,
        labels=labels,
        callbacks=callbacks,
        checkpoint=checkpoint,
        checkpoint_every=checkpoint_every,
        params=params,
    )
    made, keeper = make_map(adata, options, copy=copy)
    keeper.remove()
    return made


def make_map(
    adata: AnnData,
    options: EmbedOptions,
    *,
    copy: bool = False,
    name: str | None = None,
    epoch: int | None = None,
    beside: Callable[[EmbedResult], Mapping[str, Any]] = lambda result: {},
) -> tuple[AnnData | None, Keeper]:
    """Make a map as `embed` does; its checkpoint, if any, is left to the caller to remove.

    Parameters
    ----------
    name
        What to call it in place of its method.
    epoch
        That of the snapshot that is the map, if the run gets there; None for the last layout.
    beside
        Makes further entries of ``uns`` of the result.
    """
    asked, options = options, with_loaded_model(with_precomputed(adata, options))
    source = read(adata, options)
    plan = make_plan(source, options)
    require_memory(plan, options, lambda other: make_plan(read(adata, other, source.representation), other))
    keeper = Keeper(plan)
    with keeper.watching(otherwise=NOTHING_KEPT):
        run = keeper.start(source)
        run.complete()
        result = run.finish(epoch if epoch in run.snapshots else None)
        keys, arguments = map_keys(name or options.method, options.key_added), arguments_of(asked, plan)
        made = write(adata, result, keys, arguments=arguments, beside=beside(result), copy=copy)
    return made, keeper
