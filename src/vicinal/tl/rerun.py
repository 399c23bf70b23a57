"""A stored map made again from what is recorded of it."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
from anndata import AnnData

from vicinal.adata.keys import map_keys
from vicinal.adata.precomputed import with_precomputed
from vicinal.adata.read import check_adata, check_writable, read
from vicinal.adata.record import read_record, stored_places
from vicinal.adata.write import write
from vicinal.contract.arguments import checks_arguments
from vicinal.contract.data import Layout
from vicinal.pipeline.memory import require_memory
from vicinal.pipeline.plan import Plan, make_plan
from vicinal.pipeline.repeat import MapRecord, arguments_of, changed_versions, follow, options_again, plan_again

from ._continue import with_loaded_model
from ._keeper import Keeper
from .spectrum import exaggerations_of

logger = logging.getLogger("vicinal")


@checks_arguments
def rerun(
    adata: AnnData,
    key: str | None = None,
    *,
    key_added: str | None = None,
    n_jobs: int | None = None,
    copy: bool = False,
    **again: Any,
) -> AnnData | None:
    """Make a stored map again, from what ``uns`` records of it, and say whether it is the same.

    The stages, their parameters, the seed and what was read are those of the map, also where a default or the choice
    of ``auto`` would be another one now. Where every backend is deterministic and the versions are the same, so is
    the map, to the bit, on any number of threads and in any order of the rows.

    Parameters
    ----------
    adata
        The AnnData with the map and with what it was made from.
    key
        Key in ``uns`` of the map; None for the only one.
    key_added
        Key for both ``obsm`` and ``uns``; None for ``"{key}_rerun"``, so that the stored map stays.
    n_jobs
        Threads; None and -1 for all processors that the container, the job and ``OMP_NUM_THREADS`` allow.
    copy
        Leave ``adata`` alone and return a copy with the map.
    **again
        The arguments that `vicinal.tl.embed` was given and that cannot be stored: functions, objects, arrays. Where
        one is missing, the error names it.

    Returns
    -------
    None, or the copy. Written is what `vicinal.tl.embed` writes, and in ``uns[key_added]["rerun_of"]`` the ``key``,
    whether the map is ``equal`` to the bit, and the ``largest_difference`` of a coordinate; the latter two only where
    the stored map is still in ``obsm``. The log says the same, and warns of versions that differ.

    Raises
    ------
    InputError
        Before any work, if the map cannot be repeated: it was not made by `vicinal.tl.embed`, what it was made from
        has changed, or something must be given again; ``adata`` is then unchanged.
    PluginError
        If a backend is no longer there.
    StageError
        If a backend fails.

    Examples
    --------
    >>> import vicinal as vc
    >>> adata = vc.datasets.pbmc68k_reduced()
    >>> vc.tl.embed(adata)
    >>> vc.tl.rerun(adata, "umap")
    >>> bool(adata.uns["umap_rerun"]["rerun_of"]["equal"])
    True
    """
    check_adata(adata)
    check_writable(adata)
    record = read_record(adata, key)
    key_added = f"{record.key}_rerun" if key_added is None else key_added
    asked = options_again(record, again, n_obs=adata.n_obs, key_added=key_added, n_jobs=n_jobs)
    options = with_loaded_model(with_precomputed(adata, asked))
    source = read(adata, options)
    plan = plan_again(source, options, record)
    require_memory(plan, options, lambda other: make_plan(read(adata, other, source.representation), other))
    changed = changed_versions(record, plan)
    if changed:
        logger.warning("Versions are not those that %r was made with: %s", record.key, "; ".join(changed))
    keeper = Keeper(plan)
    with keeper.watching(otherwise="nothing was kept"):
        run = keeper.start(source)
        follow(run, record)
        result = run.finish(record.layout_epoch)
        found = _compared(result.layout, stored_places(adata, record.key), record, plan)
        keys, arguments = map_keys(options.method, key_added), arguments_of(asked, plan)
        beside = {"rerun_of": found, **(exaggerations_of(result) if record.is_spectrum else {})}
        return write(adata, result, keys, arguments=arguments, beside=beside, copy=copy)


def _compared(layout: Layout, stored: Layout | None, record: MapRecord, plan: Plan) -> dict[str, Any]:
    """Return, and log, whether a map is the one that is stored."""
    if stored is None or stored.shape != layout.shape:
        logger.warning("%r made again; the map that is stored is no longer in obsm to compare it with", record.key)
        return {"key": record.key}
    equal, difference = bool(np.array_equal(layout, stored)), float(np.abs(layout - stored).max())
    if equal:
        logger.info("%r made again: the same to the bit", record.key)
    else:
        others = sorted(c.full_name for c in plan.stages.values() if not c.capabilities.deterministic)
        why = f"; {', '.join(others)} is not deterministic" if others else ""
        logger.warning("%r made again differs by up to %.3g in a coordinate%s", record.key, difference, why)
    return {"key": record.key, "equal": equal, "largest_difference": difference}
