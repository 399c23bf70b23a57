"""The rows a network reads, taken from memory or from a file some at a time, and their mean and deviation."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

CHUNK = 1 << 22
"""Numbers that are looked at a time."""
SHARE_OF_DEVICE = 0.3
"""Share of a device's free memory that rows may take to be kept there."""


class Rows:
    """Rows by index, as tensors on a device.

    Parameters
    ----------
    values
        float32 ``(n, n_features)``, in memory or mapped from a file.
    dims
        Shape of one row.
    """

    def __init__(self, values: NDArray[np.float32], dims: tuple[int, ...], device: torch.device) -> None:
        self.values, self.dims, self._device = values, dims, device
        self._kept = torch.from_numpy(np.array(values)).to(device) if _fits(values, device) else None

    def take(self, indices: Tensor) -> Tensor:
        """Return rows, ``(m, *dims)``."""
        if self._kept is not None:
            taken = self._kept[indices]
        else:
            taken = torch.from_numpy(self.values.take(indices.cpu().numpy(), axis=0)).to(self._device)
        return taken.view(-1, *self.dims)


def _fits(values: NDArray[np.float32], device: torch.device) -> bool:
    """Tell whether rows are worth keeping on a device of its own memory."""
    return device.type == "cuda" and values.nbytes < SHARE_OF_DEVICE * torch.cuda.mem_get_info(device)[0]


@dataclass(frozen=True)
class Statistics:
    """Mean and deviation of rows.

    Attributes
    ----------
    center
        Mean of each feature, float32 ``(n_features,)``.
    scale
        What to divide each feature by.
    deviation
        Root of the mean variance of the features.
    """

    center: NDArray[np.float32]
    scale: NDArray[np.float32]
    deviation: float


def statistics(values: NDArray[np.float32], chosen: NDArray[np.bool_] | None = None) -> Statistics:
    """Return the statistics of rows, of those chosen alone.

    Each feature is to be divided by the root of its own deviation times that of all: features of little variance, such
    as late principal components, then count for more than they did and less than the others, which lets networks
    see neighbours sooner. Constant features are divided by the deviation of all.
    """
    count, sums = 0, np.zeros(values.shape[1])
    for part in _parts(values, chosen):
        count, sums = count + len(part), sums + part.sum(axis=0, dtype=np.float64)
    center = sums / max(count, 1)
    squares = sum(np.square(part - center).sum(axis=0) for part in _parts(values, chosen))
    each = np.sqrt(squares / max(count, 1))
    deviation = float(np.sqrt(np.mean(each**2))) or 1.0
    scale = np.sqrt(np.where(each > 1e-7 * deviation, each, deviation) * deviation)
    scale *= np.sqrt(np.mean(np.square(each / scale))) or 1.0
    return Statistics(center.astype(np.float32), scale.astype(np.float32), deviation)


def _parts(values: NDArray[np.float32], chosen: NDArray[np.bool_] | None) -> Iterator[NDArray[np.float32]]:
    step = max(1, CHUNK // max(values.shape[1], 1))
    for start in range(0, len(values), step):
        part = values[start : start + step]
        yield part if chosen is None else part[chosen[start : start + step]]
