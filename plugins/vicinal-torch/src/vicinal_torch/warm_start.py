"""Learns a layout by regression, for a network to start from."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader

from .rows import Rows
from .side_by_side import set_slopes, sum_of
from .training import UPDATES_A_STEP, counting, one_cycle

BATCH_SIZE = 1024
LEARNING_RATE = 0.01


class Regression(pl.LightningModule):
    """Teaches a network to give cells the places they have."""

    def __init__(
        self,
        network: nn.Module,
        rows: Rows,
        layout: NDArray[np.float32],
        cells: NDArray[np.intp],
        *,
        n_updates: int,
        seed: int,
        n_parts: int,
    ) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.network = network
        self._rows, self._layout, self._cells = rows, torch.tensor(layout), torch.from_numpy(cells)
        self._n_updates, self._n_parts = n_updates, n_parts
        self.pool: ThreadPoolExecutor | None = None
        self._generator = torch.Generator().manual_seed(seed)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Return Adam."""
        return torch.optim.Adam(self.parameters(), LEARNING_RATE)

    def train_dataloader(self) -> DataLoader:
        """Return a count of the steps."""
        return counting(-(-self._n_updates // UPDATES_A_STEP))

    def training_step(self, batch: int, batch_idx: int) -> None:
        """Take several updates."""
        optimizer = self.optimizers(use_pl_optimizer=False)
        first = int(batch) * UPDATES_A_STEP
        for update in range(first, min(first + UPDATES_A_STEP, self._n_updates)):
            drawn = torch.randint(len(self._cells), (BATCH_SIZE,), generator=self._generator)
            cells = self._cells[drawn]
            self._update(optimizer, cells, one_cycle(update / self._n_updates))

    def _update(self, optimizer: Any, cells: Tensor, share: float) -> None:
        for group in optimizer.param_groups:
            group["lr"] = share * LEARNING_RATE
        optimizer.zero_grad(set_to_none=True)
        if self._n_parts > 1:
            parameters = [parameter for parameter in self.parameters() if parameter.requires_grad]
            set_slopes(self._losses, cells.chunk(self._n_parts), parameters, self.pool)
        else:
            self.manual_backward(sum_of(self._losses(cells)))
        optimizer.step()

    def _losses(self, cells: Tensor) -> dict[str, Tensor]:
        wanted = self._layout[cells].to(self.device)
        return {"regression": nn.functional.mse_loss(self.network(self._rows.take(cells)), wanted)}
