"""A map made by hand, some epochs at a time."""

from __future__ import annotations

import os
from typing import Any

from anndata import AnnData

from vicinal.adata.keys import MapKeys, map_keys
from vicinal.adata.precomputed import with_precomputed
from vicinal.adata.read import read
from vicinal.adata.write import write
from vicinal.contract.arguments import checks_arguments
from vicinal.contract.data import Layout
from vicinal.contract.errors import InputError
from vicinal.contract.options import EmbedOptions
from vicinal.contract.source import LossHistory
from vicinal.models.checkpoint import load_checkpoint, save_checkpoint
from vicinal.pipeline.memory import require_memory
from vicinal.pipeline.plan import Plan, make_plan
from vicinal.pipeline.repeat import arguments_of
from vicinal.pipeline.run import Run, check_step

from ._continue import with_loaded_model
from ._keeper import Keeper
from ._options import with_embed_arguments

CAN_GO_ON = "the run can go on from there"


class EmbedRun:
    """A map under way, as `vicinal.tl.start` returns it.

    Attributes
    ----------
    plan
        What runs, and why.
    """

    def __init__(self, adata: AnnData, run: Run, keys: MapKeys, keeper: Keeper, arguments: str) -> None:
        self._adata, self._run, self._keys, self._keeper, self._arguments = adata, run, keys, keeper, arguments
        self.plan: Plan = run.plan

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self._run.epoch

    @property
    def n_epochs(self) -> int:
        """Epochs planned."""
        return self._run.n_epochs

    @property
    def layout(self) -> Layout:
        """The present layout, a copy, float32 ``(n_obs, n_components)``."""
        return self._run.layout.copy()

    @property
    def loss(self) -> LossHistory:
        """The objective's value so far, by epoch and part."""
        return self._run.loss

    @checks_arguments
    def step(self, n_epochs: int, **overrides: Any) -> EmbedRun:
        """Take some epochs; ``overrides`` replace parameters of the optimizer, and of its phases, for these alone.

        A callback may end it sooner. After an interrupt the run stands at the end of an epoch and can go on.

        Parameters
        ----------
        n_epochs
            How many, at most those that are left.
        **overrides
            Such as ``learning_rate``; which ones, the optimizer says when given another.
        """
        check_step(n_epochs)
        with self._keeper.watching(otherwise=CAN_GO_ON):
            self._run.step(int(n_epochs), **overrides)
        return self

    @checks_arguments
    def save(self, path: str | os.PathLike) -> None:
        """Write a checkpoint that `resume` takes up; the file appears whole or not at all."""
        save_checkpoint(path, self._run)

    @checks_arguments
    def resume(self, path: str | os.PathLike) -> EmbedRun:
        """Take up a checkpoint of the same data and arguments.

        Raises
        ------
        ModelError
            If the file is damaged, or belongs to other data or other arguments.
        """
        load_checkpoint(path, self._run)
        return self

    @checks_arguments
    def finish(self, *, remaining: bool = True) -> None:
        """Take the epochs that are left, score the map and write it into the AnnData; remove the checkpoint.

        Parameters
        ----------
        remaining
            False to write the map as it is now, as it is after a callback has ended the run.
        """
        if self._adata.n_obs != self.plan.n_obs:
            msg = f"adata has {self._adata.n_obs} cells now, {self.plan.n_obs} when the run was started; start it again"
            raise InputError(msg)
        with self._keeper.watching(otherwise=CAN_GO_ON):
            if remaining:
                self._run.complete()
            write(self._adata, self._run.finish(), self._keys, arguments=self._arguments, copy=False)
        self._keeper.remove()

    def __repr__(self) -> str:
        return f"EmbedRun({self.plan.method}, epoch {self.epoch} of {self.n_epochs}, {self.plan.n_obs:,} cells)"


@checks_arguments
@with_embed_arguments
def start(adata: AnnData, method: str = "umap", **options: Any) -> EmbedRun:
    """Do everything before the optimisation, and return a run to be stepped by hand.

    Parameters
    ----------
    adata
        Annotated data, cells in rows; written to only by `EmbedRun.finish`.
    method
        Name of a preset.
    **options
        As for `vicinal.tl.embed`; a run of which there is a ``checkpoint`` is returned where that left it.

    Returns
    -------
    The run: ``run.step(50)``, ``run.layout``, ``run.loss``, ``run.save(path)``, ``run.finish()``.

    Raises
    ------
    InputError
        If an argument or a value in ``adata`` cannot be used, or the map needs more memory than there is.
    StageError
        If a backend fails.
    ModelError
        If ``checkpoint`` is damaged, or belongs to other data or arguments.
    """
    asked = EmbedOptions.collect(method, options)
    collected = with_loaded_model(with_precomputed(adata, asked))
    source = read(adata, collected)
    plan = make_plan(source, collected)
    require_memory(plan, collected, lambda other: make_plan(read(adata, other, source.representation), other))
    keeper = Keeper(plan)
    with keeper.watching(otherwise="nothing was kept"):
        run = keeper.start(source)
    return EmbedRun(adata, run, map_keys(method, collected.key_added), keeper, arguments_of(asked, plan))
