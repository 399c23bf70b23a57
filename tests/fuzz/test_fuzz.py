"""Nothing that is read ends the process: what is altered at random is refused clearly, or makes a finite map.

``VICINAL_FUZZ_CASES`` is how many cases are tried, 300 by default. A failure names its kind and seed; to repeat it run
``python tests/fuzz/fuzz_watch.py KIND SEED 1``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from fuzz_cases import KINDS
from fuzz_watch import Watch, run

N_CASES = int(os.environ.get("VICINAL_FUZZ_CASES", "300"))


@pytest.fixture(scope="module")
def watch() -> Iterator[Watch]:
    with Watch() as watch:
        yield watch


@pytest.mark.parametrize("kind", KINDS)
def test_only_clear_errors(watch, kind):
    n = -(-N_CASES // len(KINDS))
    outcome = run(kind, range(n), watch)
    print(f"{kind}: {dict(outcome.counts)}")
    assert not outcome.failures, "\n".join(outcome.failures)
    assert outcome.counts["made"] + outcome.counts["refused"] > n // 2
    assert outcome.counts["refused"] > 0


def test_what_counts_as_a_failure(monkeypatch):
    monkeypatch.setattr("fuzz_watch.MOST_SECONDS", 5.0)
    says = {"crash": "SIGSEGV", "fine": None, "hang": "no answer", "memory": " MiB", "error": "KeyError"}
    with Watch("controls") as watch:
        for kind, expected in {**says, "file": "wrote ['taken']"}.items():
            wrong = watch.tried(kind, 0)["wrong"]
            assert (wrong is None) if expected is None else (expected in wrong), kind
