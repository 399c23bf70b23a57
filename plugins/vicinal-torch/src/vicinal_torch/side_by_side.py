"""Works in two threads, each of which torch uses alone, so that results do not depend on how many there are.

torch's own threads wait for each other by spinning at every layer: on a machine that has other work too, training
takes longer with two than with one. And what they add up depends on their number.
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
Item = TypeVar("Item")
Found = TypeVar("Found")
Losses = dict[str, Tensor]


@contextmanager
def threads(n_jobs: int) -> Iterator[ThreadPoolExecutor | None]:
    """Keep a thread beside this one, in which torch uses one as well; None where one is all there is."""
    if n_jobs < 2:
        yield None
        return
    with ThreadPoolExecutor(1, initializer=_begin) as pool:
        yield pool


def _begin() -> None:
    """Set in a thread what belongs to each."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)


def side_by_side(
    function: Callable[[Item], Found], items: Sequence[Item], pool: ThreadPoolExecutor | None
) -> list[Found]:
    """Return what a function gives for each item; every other one is found by this thread."""
    if pool is None or len(items) < 2:
        return [function(item) for item in items]
    elsewhere = pool.submit(lambda: [function(item) for item in items[::2]])
    here = [function(item) for item in items[1::2]]
    there = elsewhere.result()
    return [(here if i % 2 else there)[i // 2] for i in range(len(items))]


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

    found = side_by_side(slopes, parts, pool)
    for parameter, *given in zip(parameters, *(gradients for _, gradients in found), strict=True):
        there = [gradient for gradient in given if gradient is not None]
        parameter.grad = sum(there[1:], there[0]) if there else None
    return [losses for losses, _ in found]


def sum_of(losses: Losses) -> Tensor:
    """Return the sum of losses."""
    return torch.stack(list(losses.values())).sum()
