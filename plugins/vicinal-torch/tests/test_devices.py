import hashlib
import subprocess
import sys

import pytest

pytest.importorskip("torch")
pytest.importorskip("lightning")

SCRIPT = """
import hashlib
import vicinal as vc

adata = vc.datasets.pbmc68k_reduced()
vc.tl.embed(
    adata, method="parametric_umap", devices=2, accelerator="cpu", n_jobs=1, n_training_epochs=2, warm_start_steps=8
)
digest = hashlib.sha256(adata.obsm["X_parametric_umap"].tobytes()).hexdigest()
print("MAP", digest, adata.uns["parametric_umap"]["params"]["n_epochs"], flush=True)
"""


@pytest.mark.slow
def test_two_processes_make_the_same_map(tmp_path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-W", "ignore", str(tmp_path / "script.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, cwd=tmp_path)
    said = [line.split() for line in done.stdout.splitlines() if line.startswith("MAP")]
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(said) == 2 and said[0] == said[1]
    assert len(said[0][1]) == len(hashlib.sha256().hexdigest()) and int(said[0][2]) > 1
