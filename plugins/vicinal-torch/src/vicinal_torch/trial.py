"""Tries out on two rows of zeros what a user gave, so that what cannot work is said before any work."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch

from vicinal.api import Graph, NetworkBuilder, Objective, OptimizeRequest

from .params import TorchParams
from .rows import statistics
from .surroundings import isolated
from .task import Task
from .trainer import make_trainer
from .updates import go_on_from, make_optimizer, state_kept


def try_out(
    params: TorchParams,
    *,
    n_features: int,
    n_components: int,
    networks: Mapping[str, NetworkBuilder],
    callbacks: tuple[Any, ...],
) -> None:
    """Make the trainer, the networks and their optimiser, and take a step.

    Raises
    ------
    InputError
        If that is not possible.
    """
    rows, layout = (np.zeros((2, n), dtype=np.float32) for n in (n_features, n_components))
    empty = np.zeros(0, dtype=np.int32)
    graph = Graph(indptr=np.zeros(3, dtype=np.int64), indices=empty, weights=empty.astype(np.float32))
    request = OptimizeRequest(
        graph=graph, layout=layout, objective=cast(Objective, None), representation=rows, networks=networks
    )
    task = Task(
        request=request,
        params=params,
        dims=params.dims or (n_features,),
        held_out=None,
        statistics=statistics(rows) if params.parametric else None,
    )
    with isolated(1):
        make_trainer(params, callbacks)
        torch.manual_seed(0)
        modules, device = task.modules(), torch.device("cpu")
        state_kept(params, modules, device)
        if params.continue_from is not None:
            go_on_from(params.continue_from.fitted, params, modules, make_optimizer(params, modules, device))
