"""Seconds that `import vicinal` takes beyond `import anndata`, medians over alternating fresh processes."""

from __future__ import annotations

import statistics
import subprocess
import sys

TIMED = "import time; start = time.perf_counter(); import {0}; print(time.perf_counter() - start)"


def seconds(module: str) -> float:
    done = subprocess.run([sys.executable, "-c", TIMED.format(module)], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main(repeats: int = 11) -> None:
    seconds("vicinal")  # the first import writes byte code
    pairs = [(seconds("anndata"), seconds("vicinal")) for _ in range(repeats)]
    anndata, vicinal = (statistics.median(column) for column in zip(*pairs, strict=True))
    over = statistics.median(ours - theirs for theirs, ours in pairs)
    print(f"anndata {anndata:.3f} s, vicinal {vicinal:.3f} s, beyond anndata {over:.3f} s (medians of {repeats})")


if __name__ == "__main__":
    main()
