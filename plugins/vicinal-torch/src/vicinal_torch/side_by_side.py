"""Takes the slopes of the parts of a batch, each in one thread, so that they do not depend on how many there are.

torch's own threads wait for each other by spinning at every layer: on a machine that has other work too, training
takes many times as long. And what they add up depends on their number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

PARTS = 2
"""Parts of a batch; slopes are added up in their order."""

Part = TypeVar("Part")
Losses = dict[str, Tensor]


@contextmanager
def threads(n_jobs: int) -> Iterator[ThreadPoolExecutor | None]:
    """Keep threads in which torch uses one each; None where one is all there is."""
    if n_jobs < 2:
        yield None
        return
    with ThreadPoolExecutor(min(n_jobs, PARTS), initializer=_begin) as pool:
        yield pool


def _begin() -> None:
    """Set in a thread what belongs to each."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def set_slopes(
    losses_of: Callable[[Part], Losses],
    parts: Sequence[Part],
    parameters: Sequence[nn.Parameter],
    pool: ThreadPoolExecutor | None,
) -> list[Losses]:
    """Give parameters the slope of the mean loss of the parts, and return the losses of each."""

    def slopes(part: Part) -> tuple[Losses, tuple[Tensor | None, ...]]:
        losses = losses_of(part)
        total = sum_of(losses) / len(parts)
        return losses, torch.autograd.grad(total, parameters, allow_unused=True)

    # This thread takes the last part itself, which spares it from being woken.
    elsewhere = [] if pool is None else [pool.submit(slopes, part) for part in parts[:-1]]
    here = [slopes(part) for part in parts[len(elsewhere) :]]
    found = [*(task.result() for task in elsewhere), *here]
    for parameter, *given in zip(parameters, *(gradients for _, gradients in found), strict=True):
        there = [gradient for gradient in given if gradient is not None]
        parameter.grad = sum(there[1:], there[0]) if there else None
    return [losses for losses, _ in found]


def sum_of(losses: Losses) -> Tensor:
    """Return the sum of losses."""
    return torch.stack(list(losses.values())).sum()
