"""An update of the default network: torch's own threads against two halves of a batch in one thread each.

python benchmarks/torch_threads.py [n_updates]

Milliseconds of an update, medians of three runs in turn: alone, and while another process keeps one processor busy, as
on a shared machine. A batch is 2,048 rows of 50 columns, half of it for a half.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager

import torch

from vicinal.api import NetworkRequest
from vicinal_torch.networks import Mlp
from vicinal_torch.params import MlpParams
from vicinal_torch.side_by_side import PARTS, set_slopes, threads

ROWS, COLUMNS = 2048, 50
BUSY = "while True: pass"


def network() -> torch.nn.Module:
    return Mlp(MlpParams()).build(NetworkRequest(input_dims=(COLUMNS,), output_dims=(2,)))


def of_torch(n_threads: int, n_updates: int) -> float:
    torch.set_num_threads(n_threads)
    return milliseconds(n_updates, n_parts=1, pool=None)


def side_by_side(n_threads: int, n_updates: int) -> float:
    torch.set_num_threads(1)
    with threads(n_threads) as pool:
        return milliseconds(n_updates, n_parts=PARTS, pool=pool)


def milliseconds(n_updates: int, n_parts: int, pool: object) -> float:
    module = network()
    parameters, rows = list(module.parameters()), torch.randn(ROWS, COLUMNS)

    def losses(part: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": module(part).square().mean()}

    for update in range(n_updates + 5):
        if update == 5:
            start = time.perf_counter()
        set_slopes(losses, rows.chunk(n_parts), parameters, pool)  # type: ignore[arg-type]
    return (time.perf_counter() - start) / n_updates * 1e3


@contextmanager
def another(busy: bool):  # type: ignore[no-untyped-def]
    process = subprocess.Popen([sys.executable, "-c", BUSY]) if busy else None
    try:
        yield
    finally:
        if process is not None:
            process.kill()
            process.wait()


def main(n_updates: int) -> None:
    ways: dict[str, Callable[[int], float]] = {
        "torch, 1 thread": lambda n: of_torch(1, n),
        "torch, 2 threads": lambda n: of_torch(2, n),
        "side by side, 1 thread": lambda n: side_by_side(1, n),
        "side by side, 2 threads": lambda n: side_by_side(2, n),
    }
    for busy in (False, True):
        with another(busy):
            found: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(3):
                for name, way in ways.items():
                    found[name].append(way(n_updates))
        print("beside a busy process" if busy else "alone")
        for name, taken in found.items():
            print(f"  {name:<24} {statistics.median(taken):7.2f} ms")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100)
