"""A training as the host sees it: epochs, layout, losses, state, model."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vicinal.api import FittedModel, FittedNetwork, InputError, child_seed

from .inference import apply_module, layers_of
from .networks import Table, load_state
from .optimizer_state import check_state_fits, restore_optimizer, stored_optimizer
from .rows import Rows
from .side_by_side import PARTS, threads
from .surroundings import interruptible, isolated
from .task import Task
from .trainer import make_trainer
from .training import Training
from .updates import go_on_from, make_optimizer, state_kept
from .warm_start import Regression

FEWEST_UPDATES, UPDATES, CELLS = 800, 1200, 20_000
FEWEST_UPDATES_AN_EPOCH = 20
REPORTS = 20
WARM_START_STEPS = 300
OVERRIDES = ("learning_rate",)


@dataclass(frozen=True)
class Schedule:
    """How long it is trained.

    Attributes
    ----------
    n_training_epochs
        Passes over the edges.
    loss_report_frequency
        Reports of the loss in each.
    n_updates
        Updates between two reports.
    """

    n_training_epochs: int
    loss_report_frequency: int
    n_updates: int

    @classmethod
    def of(cls, task: Task) -> Schedule:
        """Return what was asked for, or is thought right for a number of cells."""
        params, graph = task.params, task.request.graph
        an_epoch = max(-(-len(graph.indices) // task.batch_size), FEWEST_UPDATES_AN_EPOCH)
        wanted = max(FEWEST_UPDATES, UPDATES * math.sqrt(graph.n_obs / CELLS))
        n_epochs = params.n_training_epochs
        n_epochs = max(1, round(wanted / an_epoch)) if n_epochs is None else int(n_epochs)
        n_reports = params.loss_report_frequency or max(1, round(REPORTS / max(n_epochs, 1)))
        n_updates = -(-an_epoch // n_reports)
        return cls(n_epochs, -(-an_epoch // n_updates), n_updates)

    @property
    def n_epochs(self) -> int:
        """Reports in all: what the host counts."""
        return self.n_training_epochs * self.loss_report_frequency


class TorchOptimization:
    """One training under way.

    Attributes
    ----------
    epoch, n_epochs
        Reports of the loss done, and planned.
    stopped_by
        Name of the Lightning callback that ended it; None where none has.
    device
        Where it runs.
    """

    def __init__(self, task: Task) -> None:
        self._task, self._params = task, task.params
        self.schedule = Schedule.of(task)
        self.epoch, self.n_epochs = 0, self.schedule.n_epochs
        self.stopped_by: str | None = None
        self._pause: Callable[[], bool] = lambda: False
        with self._isolated():
            self._trainer = make_trainer(self._params, task.request.callbacks)
            self.device = self._trainer.strategy.root_device
            one_processor = self.device.type == "cpu" and self._trainer.world_size == 1
            self._n_parts = PARTS if self._params.is_plain and one_processor else 1
            modules = self._first_modules()
            self._optimizer = make_optimizer(self._params, modules, self.device)
            self._training = Training(
                task,
                modules,
                self._optimizer,
                n_updates=self.schedule.n_updates,
                n_epochs=self.n_epochs,
                n_parts=self._n_parts,
                at_end_of_epoch=self._end_epoch,
            )
            self._training.prepare(self.device)
            if self._params.continue_from is not None:
                go_on_from(self._params.continue_from.fitted, self._params, modules, self._optimizer)
            self._last = self._training.losses_now()
        self._moment = self._copied()

    @property
    def layout(self) -> NDArray[np.float32]:
        """The present layout, float32 ``(n_obs, n_components)``."""
        encoder, request = self._networks["encoder"], self._task.request
        if isinstance(encoder, Table):
            return encoder.places.detach().cpu().numpy().copy()
        assert request.representation is not None
        return apply_module(encoder, self._fitted("encoder"), request.representation, request.n_jobs)

    @property
    def batch_size(self) -> int:
        """Edges in a batch."""
        return self._task.batch_size

    def losses(self) -> dict[str, float]:
        """Return the mean losses of the last epoch by name, ``loss`` their sum, and those of validation."""
        return dict(self._last)

    def step(self, n_epochs: int, **overrides: Any) -> None:
        """Go on by some epochs; see `run`."""
        self.run(n_epochs, lambda: False, **overrides)

    def run(self, n_epochs: int, pause: Callable[[], bool], **overrides: Any) -> None:
        """Go on by some epochs, calling ``pause`` after each; where that is true, end.

        Parameters
        ----------
        **overrides
            ``learning_rate``, for these epochs only.

        Raises
        ------
        InputError
            If fewer epochs are left, or an override is unknown.
        """
        self._check_step(n_epochs, overrides)
        self.stopped_by, self._pause = None, pause
        if not self._training.can_train:
            while n_epochs and not self._end_epoch(self._last):
                n_epochs -= 1
        elif n_epochs:
            with self._isolated(), self._overridden(**overrides), self._whole_epochs():
                self._fit(n_epochs)

    def state(self) -> Mapping[str, np.ndarray]:
        """Return weights and the optimiser's state, as they were at the end of the last epoch."""
        return dict(self._moment)

    def restore(self, state: Mapping[str, np.ndarray], epoch: int) -> None:
        """Take up a state that `state` gave at an epoch.

        Raises
        ------
        InputError
            If the state is not one of this training.
        """
        if set(state) != set(self._moment) and epoch and self.epoch:
            raise InputError("state: it is not one of this training")
        self._training.networks.to(self.device)  # where the optimiser's state must be too
        for role, network in self._networks.items():
            names = list(network.state_dict())
            load_state(role, network, {name: _given(state, f"{role}_{i}") for i, name in enumerate(names)})
        prefix = "optimizer_"
        given = {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}
        if given and state is not self._moment:
            check_state_fits(given, state_kept(self._params, self._networks, self.device))
        restore_optimizer(self._optimizer, given)
        self._moment, self.epoch = dict(state), int(epoch)
        self._begin_at(self.epoch)

    def model(self) -> FittedModel | None:
        """Return the networks as they are; None where there are none."""
        if not self._params.parametric:
            return None
        fitted = {role: self._fitted(role) for role in self._networks}
        return FittedModel(**fitted, training=stored_optimizer(self._optimizer))

    @property
    def _networks(self) -> dict[str, nn.Module]:
        return dict(self._training.networks.items())

    def _first_modules(self) -> dict[str, nn.Module]:
        torch.manual_seed(child_seed(self._task.request.seed, "modules"))
        modules = self._task.modules()
        if self._params.parametric and self._params.continue_from is None:
            self._warm_start(modules["encoder"])
        return modules

    def _warm_start(self, network: nn.Module) -> None:
        """Let the network learn the first layout, from cells that are trained on alone."""
        given, request = self._params.warm_start_steps, self._task.request
        n_updates = WARM_START_STEPS if given is None else int(given)
        assert request.representation is not None
        trained = self._task.trained
        cells = np.arange(len(request.layout)) if trained is None else np.flatnonzero(trained)
        rows = Rows(request.representation, self._task.dims, self.device)
        seed = child_seed(request.seed, "warm start")
        if n_updates and any(p.requires_grad for p in network.parameters()):
            with interruptible(), threads(self._n_threads) as pool:
                regression = Regression(
                    network, rows, request.layout, cells, n_updates=n_updates, seed=seed, n_parts=self._n_parts
                )
                regression.pool = pool
                make_trainer(self._params, (), max_epochs=1, logger=False).fit(regression)
        network.cpu()

    def _isolated(self) -> AbstractContextManager[None]:
        """Leave threads to torch only where what it adds up may depend on their number."""
        return isolated(1 if self._params.is_plain else self._task.request.n_jobs)

    @property
    def _n_threads(self) -> int:
        return self._task.request.n_jobs if self._n_parts > 1 else 1

    def _fit(self, n_epochs: int) -> None:
        trainer, last = self._trainer, self.epoch + n_epochs
        trainer.should_stop = False
        trainer.fit_loop.max_epochs = trainer.current_epoch + n_epochs
        was_asked = False

        def pause(asked: Callable[[], bool] = self._pause) -> bool:
            nonlocal was_asked
            was_asked = asked()
            return was_asked

        self._pause = pause
        with interruptible(), threads(self._n_threads) as pool:
            self._training.use(pool)
            try:
                trainer.fit(self._training)
            finally:
                self._training.use(None)
        if self.epoch < last and not was_asked:
            self.stopped_by = _who_stopped(self._task.request.callbacks)

    def _end_epoch(self, losses: dict[str, float]) -> bool:
        self._last, self._moment, self.epoch = losses, self._copied(), self.epoch + 1
        return self._pause()

    @contextmanager
    def _whole_epochs(self) -> Iterator[None]:
        """Where something ends it within an epoch, go back to the end of the one before."""
        try:
            yield
        except BaseException:
            self.restore(self._moment, self.epoch)
            raise

    @contextmanager
    def _overridden(self, learning_rate: float | None = None) -> Iterator[None]:
        groups = self._optimizer.param_groups
        before = [group.get("initial_lr", group["lr"]) for group in groups]
        for group, rate in zip(groups, before, strict=True):
            group["initial_lr"] = rate if learning_rate is None else learning_rate
        try:
            yield
        finally:  # an interrupt may have put other groups in their place
            for group, rate in zip(self._optimizer.param_groups, before, strict=True):
                group["initial_lr"] = rate

    def _begin_at(self, epoch: int) -> None:
        """Let a new trainer count from an epoch on."""
        with self._isolated():
            self._trainer = make_trainer(self._params, self._task.request.callbacks)
        self._training.first_epoch = epoch

    def _copied(self) -> dict[str, np.ndarray]:
        state = {
            f"{role}_{i}": value.detach().cpu().numpy().copy()
            for role, network in self._networks.items()
            for i, value in enumerate(network.state_dict().values())
        }
        return state | {f"optimizer_{name}": array for name, array in stored_optimizer(self._optimizer).items()}

    def _fitted(self, role: str) -> FittedNetwork:
        network, given = self._networks[role], getattr(self._params, role)
        is_named, is_logit = isinstance(given, str), role == "decoder" and self._params.reconstruction_loss == "bce"
        places = (self._task.n_components,)
        dims = (self._task.dims, places) if role == "encoder" else (places, self._task.dims)
        return FittedNetwork(
            builder=given if is_named else None,
            params={},
            input_dims=dims[0],
            output_dims=dims[1],
            layers=layers_of(network, is_logit=is_logit) if is_named else (),
            arrays={name: value.detach().cpu().numpy().copy() for name, value in network.state_dict().items()},
            is_logit=is_logit,
        )

    def _check_step(self, n_epochs: int, overrides: Mapping[str, Any]) -> None:
        if not 0 <= n_epochs <= self.n_epochs - self.epoch:
            left = f"{self.n_epochs - self.epoch} of {self.n_epochs} epochs are left"
            raise InputError(f"n_epochs={n_epochs} is not allowed: {left}")
        for name in overrides:
            if name not in OVERRIDES:
                raise InputError(f"{name} cannot be changed on the way; allowed is {', '.join(OVERRIDES)}")


def _given(state: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in state:
        raise InputError(f"state: {name!r} is missing; it is not one of this training")
    return state[name]


def _who_stopped(callbacks: tuple[Any, ...]) -> str:
    """Return the callback that says it stopped the training, else the only one there is."""
    said = [callback for callback in callbacks if getattr(callback, "stopped_epoch", 0)]
    if said or len(callbacks) == 1:
        return type((said or callbacks)[0]).__name__
    return "lightning"
