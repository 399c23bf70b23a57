from __future__ import annotations

import subprocess
import sys

HEAVY = ("numba", "torch", "sklearn", "scanpy", "matplotlib", "umap", "pynndescent")


def loaded_after(code: str) -> set[str]:
    script = f"{code}\nimport sys\nprint(' '.join(m for m in {HEAVY!r} if m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_import_loads_nothing_heavy() -> None:
    assert loaded_after("import vicinal") == set()


def test_public_modules_are_there_without_loading_anything_heavy() -> None:
    names = "vc.tl.embed, vc.tl.plan, vc.pp.neighbors, vc.pl.embedding, vc.models.load, vc.plugins.list, vc.datasets"
    code = f"import vicinal as vc\n{names}"
    assert loaded_after(code) == set()


def test_listing_backends_imports_no_backend() -> None:
    assert "numba" not in loaded_after("import vicinal as vc\nvc.plugins.list()")


def test_importing_vicinal_writes_nothing() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", "import vicinal"], capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
