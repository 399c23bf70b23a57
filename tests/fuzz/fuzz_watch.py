"""A worker process and who watches it: a case that kills it, hangs or takes memory is a failure like any other."""

from __future__ import annotations

import dataclasses
import json
import os
import selectors
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
MOST_SECONDS, MOST_MIB = 20.0, 500
SECONDS_TO_START = 540.0
"""Kernels may have to be compiled."""


class Watch:
    """A worker that is started when it is needed, and anew after it died, hung or took memory.

    Parameters
    ----------
    cases
        ``altered``, or ``controls``, of which it is known how they end.
    """

    def __init__(self, cases: str = "altered") -> None:
        self._cases = cases
        self._process: subprocess.Popen[str] | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="fuzz-")
        self._errors = open(Path(self._folder.name) / "stderr", "w+")

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()
        self._errors.close()
        self._folder.cleanup()

    def tried(self, kind: str, seed: int) -> dict[str, Any]:
        """Return how a case ended, with ``wrong`` None where it ended well."""
        if self._process is None:
            self._start()
        assert self._process is not None and self._process.stdin is not None
        self._process.stdin.write(f"{kind} {seed}\n")
        self._process.stdin.flush()
        answer = self._line(MOST_SECONDS)
        if answer.startswith("{"):
            ended = json.loads(answer)
            if ended["grown"] > MOST_MIB:
                ended["wrong"] = f"took {ended['grown']} MiB"
                self._stop()
            return ended
        self._stop()
        return {"ended": "died", "wrong": answer, "done": []}

    def _start(self) -> None:
        folder = tempfile.mkdtemp(dir=self._folder.name)
        paths = [str(HERE), str(HERE.parent / "helpers")]
        self._errors.seek(0)
        self._errors.truncate()
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "fuzz_worker.py"), folder, self._cases],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONFAULTHANDLER": "1"},
        )
        said = self._line(SECONDS_TO_START)
        if said.strip() != "ready":
            raise RuntimeError(f"the worker does not start: {said}\n{self._said()}")

    def _line(self, seconds: float) -> str:
        """Return the next line of the worker, or how it ended instead."""
        assert self._process is not None and self._process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(self._process.stdout, selectors.EVENT_READ)
            if not selector.select(seconds):
                return f"no answer in {seconds:g} seconds"
        line = self._process.stdout.readline()
        if line:
            return line
        code = self._process.wait()
        return f"died by {signal.Signals(-code).name if code < 0 else code}: {self._said()[-1500:]}"

    def _said(self) -> str:
        self._errors.flush()
        return Path(self._errors.name).read_text(errors="replace")

    def _stop(self) -> None:
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except BrokenPipeError:
                pass
        self._process = None


@dataclasses.dataclass
class Outcome:
    """How the cases of a kind ended."""

    counts: Counter[str]
    failures: list[str]


def run(kind: str, seeds: Iterable[int], watch: Watch) -> Outcome:
    """Try the cases of a kind, one after the other."""
    counts: Counter[str] = Counter()
    failures = []
    for seed in seeds:
        ended = watch.tried(kind, seed)
        counts[ended["ended"]] += 1
        if ended["wrong"]:
            failures.append(f"{kind} {seed} ({'; '.join(ended['done'])}): {ended['wrong']}")
    return Outcome(counts, failures)


def main() -> Iterator[str]:
    """Try ``KIND FIRST COUNT`` of the command line."""
    kind, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    with Watch() as watch:
        for seed in range(first, first + count):
            ended = watch.tried(kind, seed)
            yield f"{seed} {ended['ended']} {'; '.join(ended['done'])}" + (
                f" WRONG {ended['wrong']}" if ended["wrong"] else ""
            )


if __name__ == "__main__":
    for line in main():
        print(line, flush=True)
