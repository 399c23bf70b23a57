"""The training as Lightning runs it: several updates in a step, so that what Lightning adds to each is little."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, IterableDataset

from vicinal.api import child_seed

from .muon import Muon
from .networks import evaluated
from .sampling import Draw, EdgeSampler
from .side_by_side import set_slopes, sum_of
from .task import Losses, Task
from .validation import Validation

UPDATES_A_STEP = 8
BEFORE = 12_288
"""Edges on which losses are taken before the first epoch."""
CLIP = 4.0
"""Largest slope a weight is moved by, as in umap-learn."""


class Counter(IterableDataset):
    """Counts the steps of an epoch; batches are drawn where they are used."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __iter__(self) -> Iterator[int]:
        """Count."""
        return iter(range(self.n))

    def __len__(self) -> int:
        """Return how many."""
        return self.n


def counting(n: int) -> DataLoader:
    """Return a loader that counts; its generator is its own, or it would draw from the global one."""
    return DataLoader(Counter(n), batch_size=None, generator=torch.Generator())


class Training(pl.LightningModule):
    """One training, whose batches depend on the seed and the epoch alone.

    Parameters
    ----------
    n_updates
        Updates in an epoch.
    n_epochs
        Epochs in all, for the schedule of the learning rate.
    n_parts
        Parts of a batch whose slopes are taken each in one thread, see `use`; 1 leaves threads to torch.
    at_end_of_epoch
        Called with the mean losses of the epoch, those of validation among them; true ends the training.
    """

    def __init__(
        self,
        task: Task,
        modules: Mapping[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        *,
        n_updates: int,
        n_epochs: int,
        n_parts: int,
        at_end_of_epoch: Callable[[dict[str, float]], bool],
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.networks = nn.ModuleDict(modules)
        self._task, self._optimizer = task, optimizer
        self.n_updates, self.n_epochs, self._at_end = n_updates, n_epochs, at_end_of_epoch
        self._n_parts = n_parts
        self._pool: ThreadPoolExecutor | None = None
        self.first_epoch, self._within = 0, 0
        self._sampler: EdgeSampler | None = None
        self._losses: Losses | None = None
        self._validation: Validation | None = None
        self._fixed: tuple[Tensor, Tensor] | None = None
        self._sums: dict[str, Tensor] = {}
        self._found: dict[str, float] = {}

    @property
    def epoch(self) -> int:
        """Epochs done before the present one."""
        return self.first_epoch + self.current_epoch

    def prepare(self, device: torch.device) -> None:
        """Bring to a device the networks, and what batches are made from."""
        self.networks.to(device)
        from .rows import Rows

        task, values = self._task, self._task.request.representation
        rows = Rows(values, task.dims, device) if task.needs_rows and values is not None else None
        if task.request.fixed is not None:
            fixed = np.flatnonzero(task.request.fixed)
            self._fixed = torch.from_numpy(fixed).to(device), torch.tensor(task.request.layout[fixed]).to(device)
        self._sampler = task.sampler(device, self._n_parts)
        self._losses = Losses(task, self.networks, rows, device)
        self._validation = Validation.of(task, self._losses, self.networks, device)

    def use(self, pool: ThreadPoolExecutor | None) -> None:
        """Share the work with another thread, or no longer."""
        self._pool = pool
        if isinstance(self._optimizer, Muon):
            self._optimizer.pool = pool

    def configure_optimizers(self) -> Any:
        """Return the optimiser, which outlives one call of fit, and its schedule."""
        schedule = LambdaLR(self._optimizer, lambda _: self._share())
        return [self._optimizer], [schedule]

    def _share(self) -> float:
        """Return the share of the learning rate at the present update."""
        if self._task.params.learning_rate_schedule == "constant":
            return 1.0
        done = self.epoch * self.n_updates + self._within
        return one_cycle(done / max(self.n_epochs * self.n_updates, 1))

    def train_dataloader(self) -> DataLoader:
        """Return a count of the steps."""
        return counting(-(-self.n_updates // UPDATES_A_STEP))

    def val_dataloader(self) -> DataLoader | list[Any]:
        """Return one step where there is something to validate on."""
        return counting(1) if self._validation is not None else []

    def on_train_epoch_start(self) -> None:
        """Begin to sum losses; seed what layers of the user's, such as dropout, draw from."""
        self._sums, self._found = {}, {}
        torch.manual_seed(child_seed(self._task.request.seed, "layers", str(self.epoch)))

    def training_step(self, batch: int, batch_idx: int) -> None:
        """Take several updates."""
        assert self._sampler is not None
        first = int(batch) * UPDATES_A_STEP
        n_updates = min(UPDATES_A_STEP, self.n_updates - first)
        seed = child_seed(self._task.request.seed, "batches", str(self.epoch), str(first), str(self.global_rank))
        schedule = cast(LambdaLR, self.lr_schedulers())
        draws = self._sampler.draw(n_updates * self._n_parts, seed)
        for update in range(n_updates):
            self._within = first + update
            schedule.step()
            # Lightning counts the steps that are taken through it, by which its callbacks know that there was one.
            optimizer = self.optimizers() if update == n_updates - 1 else self._optimizer
            self._update(draws[update * self._n_parts : (update + 1) * self._n_parts], optimizer)

    def _update(self, draws: list[Draw], optimizer: Any) -> None:
        self._optimizer.zero_grad(set_to_none=True)
        found = self._slopes(draws)
        if not self._task.params.is_plain:  # the others' slopes are bounded
            nn.utils.clip_grad_value_(self.parameters(), CLIP)
        optimizer.step()
        self._put_back_fixed()
        for losses in found:
            for name, value in losses.items():
                self._sums[name] = self._sums.get(name, 0) + value.detach() / len(found)

    def _slopes(self, draws: list[Draw]) -> list[dict[str, Tensor]]:
        assert self._losses is not None
        if self._n_parts > 1:
            parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
            return set_slopes(self._losses.of, draws, parameters, self._pool)
        losses = self._losses.of(draws[0])
        self.manual_backward(sum_of(losses))
        return [losses]

    def _put_back_fixed(self) -> None:
        """Put cells that are fixed where they were: optimisers may move what has no slope, as by weight decay."""
        if self._fixed is not None:
            places = self.networks["encoder"].places
            assert isinstance(places, nn.Parameter)
            places.data[self._fixed[0]] = self._fixed[1]

    def validation_step(self, batch: int, batch_idx: int) -> None:
        """Take the losses of cells that are never trained on; callbacks know their sum as ``val_loss``."""
        assert self._validation is not None
        self._found = self._validation.losses()
        names = {name: name.replace("validation", "val") for name in self._found} | {"validation": "val_loss"}
        self.log_dict({names[name]: value for name, value in self._found.items()}, batch_size=1)

    def on_train_epoch_end(self) -> None:
        """Report the means of the epoch, and pause."""
        # A trainer may have been told to take fewer.
        parts = {name: float(value) / (self._within + 1) for name, value in self._sums.items()}
        losses = {"loss": sum(parts.values()), **parts}
        self.log_dict(losses)
        if self._at_end(losses | self._found):
            self.trainer.should_stop = True

    @property
    def can_train(self) -> bool:
        """Whether there is an edge to draw."""
        return self._sampler is not None and self._sampler.total > 0

    def losses_now(self) -> dict[str, float]:
        """Return the losses of some batches, without training."""
        if not self.can_train:
            return {"loss": 0.0, "attraction": 0.0, "repulsion": 0.0}
        assert self._sampler is not None
        assert self._losses is not None
        n_updates = -(-BEFORE // self._sampler.n_edges)
        seed, sums = child_seed(self._task.request.seed, "batches", "before"), dict[str, float]()
        with torch.no_grad(), evaluated(self.networks):
            for draw in self._sampler.draw(n_updates, seed):
                for name, value in self._losses.of(draw).items():
                    sums[name] = sums.get(name, 0.0) + float(value) / n_updates
            found = {} if self._validation is None else self._validation.losses()
        return {"loss": sum(sums.values()), **sums, **found}


def one_cycle(share: float) -> float:
    """Return the share of the learning rate after a share of the updates: up along a cosine, and down to nothing.

    Smith and Topin 2018 (arXiv:1708.07120), with the ends of `torch.optim.lr_scheduler.OneCycleLR`, but a shorter
    rise: networks begin at a layout they have learnt.
    """
    rise, first, last = 0.1, 1 / 25, 1 / 25e4
    low, at = (first, share / rise) if share < rise else (last, (1 - share) / (1 - rise))
    return low + (1 - low) * (1 - math.cos(math.pi * min(max(at, 0.0), 1.0))) / 2
