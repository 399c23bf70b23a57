"""What would run, and why."""

from __future__ import annotations

from typing import Any

from anndata import AnnData

from vicinal.adata.precomputed import with_precomputed
from vicinal.adata.read import read
from vicinal.contract.arguments import checks_arguments
from vicinal.contract.options import EmbedOptions
from vicinal.pipeline.plan import Plan, make_plan

from ._continue import with_loaded_model
from ._options import with_embed_arguments


@checks_arguments
@with_embed_arguments
def plan(adata: AnnData, method: str = "umap", **options: Any) -> Plan:
    """Return what `embed` would do with the same arguments; run nothing and write nothing.

    Parameters
    ----------
    adata
        Annotated data, cells in rows.
    method
        Name of a preset.
    **options
        As for `vicinal.tl.embed`.

    Returns
    -------
    The plan; printed, it names for each stage the backend, its parameters and the reason. ``plan.forecast`` says how
    much memory it will take, about to a quarter, and, where ``vicinal warmup`` has measured this machine, how many
    seconds; what does not fit into memory is shown all the same, where `embed` raises.

    Raises
    ------
    InputError
        If an argument or a value in ``adata`` cannot be used.
    """
    collected = with_loaded_model(with_precomputed(adata, EmbedOptions.collect(method, options)))
    return make_plan(read(adata, collected), collected)
