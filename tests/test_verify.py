from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from vicinal import _verify
from vicinal._verify import DIGESTS, Check, make_cells
from vicinal.cli import main


def few_checks() -> Iterator[Check]:
    yield Check("umap", "a", "a")
    yield Check("tsne", "b", "c")


def test_cells_are_in_groups_and_need_no_rounding():
    values = make_cells(500).obsm["X_pca"].astype(np.float64)
    assert values.shape == (500, 30) and (values * 2**16 == np.round(values * 2**16)).all()
    grouped = values[:492].reshape(41, 12, 30)
    assert grouped.mean(axis=0).std(axis=0).mean() > 2 * grouped.std(axis=0).mean()


def test_new_cells_go_on_where_the_others_end():
    np.testing.assert_array_equal(make_cells(36).obsm["X_pca"][24:], make_cells(12, skipped=24).obsm["X_pca"])


def test_the_command_says_which_map_differs(monkeypatch, capsys):
    monkeypatch.setattr(_verify, "verify", few_checks)
    assert main(["verify"]) == 1
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert lines[0].split() == ["umap", "a", "same"] and lines[1].split() == ["tsne", "b", "differs", "from", "c"]
    assert "1 of 2 maps" in told.err


@pytest.mark.slow
@pytest.mark.parametrize("cpu", ["", "generic"])
def test_every_map_has_the_bits_of_the_table(cpu, tmp_path):
    """On this processor, and with the oldest instructions only: no vectors wider than four, nothing fused."""
    environment = {**os.environ, **({"NUMBA_CPU_NAME": cpu, "NUMBA_CACHE_DIR": str(tmp_path)} if cpu else {})}
    done = subprocess.run(
        [sys.executable, "-m", "vicinal", "verify"], capture_output=True, text=True, env=environment, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count(" same") == len(DIGESTS)
