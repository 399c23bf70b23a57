import hashlib
import subprocess
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning")

SCRIPT = """
import hashlib
import os
from pathlib import Path

import vicinal as vc

adata = vc.datasets.pbmc68k_reduced()
vc.tl.embed(
    adata, method="parametric_umap", devices=2, accelerator="cpu", n_jobs=1, n_training_epochs=2, warm_start_steps=8
)
digest = hashlib.sha256(adata.obsm["X_parametric_umap"].tobytes()).hexdigest()
n_epochs = adata.uns["parametric_umap"]["params"]["n_epochs"]
Path(f"{os.getpid()}.txt").write_text(f"{digest} {n_epochs}")  # their lines of one output may run into each other
"""


@pytest.mark.slow
def test_two_processes_make_the_same_map(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-W", "ignore", str(tmp_path / "script.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    said = [file.read_text().split() for file in tmp_path.glob("*.txt")]
    assert len(said) == 2 and said[0] == said[1]
    assert len(said[0][0]) == len(hashlib.sha256().hexdigest()) and int(said[0][1]) > 1
