"""The trainer that Lightning runs a training with."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Checkpoint, ProgressBar
from lightning.pytorch.loggers import Logger

from vicinal.api import InputError

from .params import TorchParams


def make_trainer(params: TorchParams, callbacks: tuple[Any, ...], **changes: Any) -> pl.Trainer:
    """Return a trainer that does nothing besides training but what was asked for.

    Raises
    ------
    InputError
        If Lightning cannot make one of these arguments.
    """
    _check_logger(params.logger)
    arguments = {
        "accelerator": "gpu" if params.accelerator == "cuda" else params.accelerator,
        "devices": params.devices,
        "precision": params.precision,
        "logger": params.logger,
        "max_epochs": -1,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,
        **params.trainer_params,
        **changes,
    }
    for name, kind in (("enable_checkpointing", Checkpoint), ("enable_progress_bar", ProgressBar)):
        arguments[name] = arguments[name] or any(isinstance(callback, kind) for callback in callbacks)
    try:
        trainer = pl.Trainer(callbacks=list(callbacks), **arguments)
    except (TypeError, ValueError, RuntimeError) as error:  # Lightning's own errors derive from these
        names = "devices, precision, logger, trainer_params and callbacks"
        raise InputError(f"Lightning cannot make a trainer of {names} as given: {error}") from error
    if "MultiProcessing" in type(trainer.strategy.launcher).__name__:
        msg = f"devices={params.devices!r} would be trained on by processes of which this one hears nothing"
        raise InputError(f"{msg}; run it as a script, or give devices=1")
    return trainer


def _check_logger(logger: Any) -> None:
    every = list(logger) if isinstance(logger, Iterable) and not isinstance(logger, str) else [logger]
    if isinstance(logger, bool) or logger is None or (every and all(isinstance(one, Logger) for one in every)):
        return
    msg = f"logger={logger!r} is not allowed; give one of lightning.pytorch.loggers, a list of them, True or False"
    raise InputError(msg)
