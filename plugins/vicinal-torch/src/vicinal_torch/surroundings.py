"""What a training must leave as it was: threads, random states, signals, loggers."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any

import torch

SUBNORMAL = 1e-40
UNFITTING = (
    ".*does not have many workers.*",
    ".*IterableDataset.*__len__.*",
    ".*treespec.*",
    ".*Total length of.*zero.*",
    ".*log_every_n_steps.*",
    ".*lr_scheduler.step.*",
)
"""Beginnings of advice that does not fit how batches are made here."""
TALKATIVE = ("lightning.pytorch", "lightning.fabric", "pytorch_lightning")


@contextmanager
def isolated(n_jobs: int) -> Iterator[None]:
    """Use a number of threads, and leave the global state of torch and of Lightning's loggers as it is.

    Slopes are taken, and numbers are float32, whatever the caller has chosen.
    """
    with ExitStack() as stack:
        stack.enter_context(_threads(n_jobs))
        stack.enter_context(_single_precision())
        stack.enter_context(_without_denormals())
        for context in _plain_contexts():
            stack.enter_context(context)
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.random.fork_rng(list(range(torch.cuda.device_count()))))
        stack.enter_context(_quiet())
        yield


def _plain_contexts() -> list[AbstractContextManager[Any]]:
    """Return what undoes the caller's choice of a device, and of a lower precision; each costs time, if it is on."""
    contexts: list[AbstractContextManager[Any]] = []
    if torch.get_default_device().type != "cpu":
        contexts.append(torch.device("cpu"))
    return contexts + [
        torch.autocast(kind, enabled=False) for kind in ("cpu", "cuda") if torch.is_autocast_enabled(kind)
    ]


@contextmanager
def _threads(n_jobs: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(n_jobs)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _single_precision() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _without_denormals() -> Iterator[None]:
    """Take for 0 what is nearly: momentum of units that are never on decays to numbers that are many times slower."""
    was_on = bool(torch.tensor([SUBNORMAL]).mul(1) == 0)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(was_on)


@contextmanager
def _quiet() -> Iterator[None]:
    """Let only warnings through, and of those not the advice that does not fit how batches are made here."""
    loggers = [logging.getLogger(name) for name in TALKATIVE]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        for text in UNFITTING:
            warnings.filterwarnings("ignore", message=text)
        try:
            for logger in loggers:
                logger.setLevel(max(logger.level, logging.WARNING))
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


@contextmanager
def interruptible() -> Iterator[None]:
    """Give back a `KeyboardInterrupt`, and what handles its signal: Lightning ends the process instead."""
    in_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if in_main else None
    try:
        yield
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from stop
        raise
    finally:
        if in_main and handler is not None:
            signal.signal(signal.SIGINT, handler)
