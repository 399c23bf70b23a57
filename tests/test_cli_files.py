"""One path for one thing; and what fails beside a map costs only itself."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import vicinal as vc
from vicinal.cli import files, main
from vicinal.contract.errors import InputError, ModelError


def cells(n_obs: int = 60) -> ad.AnnData:
    rng = np.random.default_rng(0)
    made = ad.AnnData(
        np.zeros((n_obs, 2), dtype=np.float32), obs=pd.DataFrame(index=[f"cell{i}" for i in range(n_obs)])
    )
    made.obsm["X_pca"] = rng.normal(size=(n_obs, 6)).astype(np.float32)
    return made


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with cells, a map, a model and a stranger's table."""
    folder = tmp_path_factory.mktemp("made")
    adata = cells()
    adata.write_h5ad(folder / "in.h5ad")
    adata.write_zarr(folder / "in.zarr")
    vc.tl.embed(adata, n_epochs=2)
    adata.write_h5ad(folder / "map.h5ad")
    vc.models.save(adata, folder / "model.zip")
    (folder / "table.csv").write_text("cell,type\n")
    return folder


@pytest.fixture
def folder(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    os.symlink("in.h5ad", "link.h5ad")
    os.link("in.h5ad", "hard.h5ad")
    os.symlink("table.csv", "table.h5ad")
    return tmp_path


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(
    "command",
    [
        "embed in.h5ad out.h5ad --checkpoint out.h5ad",
        "embed in.h5ad out.h5ad --param checkpoint=out.h5ad",
        "embed in.h5ad out.h5ad --checkpoint ./out.h5ad",
        "embed in.h5ad out.h5ad --checkpoint OUT.h5ad",
        "embed in.h5ad out.h5ad --checkpoint in.h5ad",
        "embed in.h5ad out.h5ad --checkpoint table.csv",
        "embed in.h5ad out.h5ad --model m.zip --checkpoint m.zip",
        "embed in.h5ad out.h5ad --model M.zip --checkpoint m.ZIP",
        "embed in.h5ad out.h5ad --model out.h5ad",
        "embed in.h5ad out.h5ad --model in.h5ad",
        "embed in.h5ad in.h5ad --model in.h5ad",
        "embed in.h5ad out.h5ad --model link.h5ad",
        "embed in.h5ad out.h5ad --model hard.h5ad",
        "embed in.h5ad out.h5ad --model table.csv",
        "embed in.h5ad out.h5ad --model map.h5ad",
        "embed in.h5ad out.h5ad --model in.zarr",
        "embed in.h5ad out.h5ad --model in.zarr/m.zip",
        "embed in.zarr in.zarr/out.h5ad",
        "embed in.h5ad out.h5ad --plot p.png --checkpoint p.png",
        "embed in.h5ad table.h5ad",
        "embed in.h5ad link.h5ad --model in.h5ad",
        "embed in.h5ad out.h5ad --model /dev/null",
        "spectrum in.h5ad out.h5ad --plot p.png --checkpoint p.png",
        "project in.h5ad map.h5ad map.h5ad --key-added z",
        "project in.h5ad model.zip model.zip",
        "update in.h5ad map.h5ad map.h5ad",
    ],
)
def test_a_path_for_two_things_is_refused_before_any_work(
    folder: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = content(folder)
    assert main(command.split()) == 2
    said = capsys.readouterr()
    assert said.err.startswith("vicinal: error: ") and said.err.count("\n") == 1 and not said.out
    assert content(folder) == before


def test_what_is_of_the_same_kind_is_replaced(folder: Path) -> None:
    for _ in range(2):
        command = "embed in.h5ad map.h5ad --n-epochs 1 --model model.zip --plot map.png --checkpoint run.ckpt"
        assert main(command.split()) == 0
    assert main("embed link.h5ad link.h5ad --n-epochs 1".split()) == 0
    assert "X_umap" in ad.read_h5ad("in.h5ad").obsm and Path("link.h5ad").is_symlink()
    assert not Path("run.ckpt").exists()


@pytest.mark.parametrize("name", ["in.h5ad", "table.csv", "link.h5ad", "table.h5ad"])
def test_a_model_or_a_run_is_not_saved_over_something_else(folder: Path, name: str) -> None:
    before, adata = content(folder), ad.read_h5ad("map.h5ad")
    with pytest.raises(ModelError, match="not overwritten"):
        vc.models.save(adata, name)
    run = vc.tl.start(adata, n_epochs=2)
    with pytest.raises(ModelError, match="not overwritten"):
        run.save(name)
    with pytest.raises(ModelError):
        vc.tl.embed(adata, n_epochs=2, checkpoint=name)
    assert content(folder) == before


def test_a_model_and_a_run_do_not_replace_each_other(folder: Path) -> None:
    adata = ad.read_h5ad("map.h5ad")
    run = vc.tl.start(adata, n_epochs=2)
    with pytest.raises(ModelError, match="is a model"):
        run.save("model.zip")
    run.save("run.ckpt")
    with pytest.raises(ModelError, match="is the checkpoint"):
        vc.models.save(adata, "run.ckpt")
    Path("damaged").write_bytes(Path("model.zip").read_bytes()[:-500])
    Path("empty").touch()
    for name in ("damaged", "empty"):
        vc.models.save(adata, name)
        assert vc.models.load(name).n_landmarks == 60


def test_a_finished_run_removes_its_checkpoint_alone(folder: Path) -> None:
    adata = ad.read_h5ad("map.h5ad")
    run = vc.tl.start(adata, n_epochs=2, checkpoint="run.ckpt", checkpoint_every=5)
    vc.models.save(adata, "run.ckpt")
    run.finish()
    assert vc.models.load("run.ckpt").n_landmarks == 60


def fail(*_: object, **__: object) -> None:
    raise InputError("no ink")


@pytest.mark.parametrize("what", ["plot", "model"])
def test_an_extra_that_fails_costs_only_itself(
    folder: Path, what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(*{"plot": (vc.pl, "embedding"), "model": (vc.models, "save")}[what], fail)
    command = "embed in.h5ad out.h5ad --n-epochs 1 --model m.zip --plot p.png --checkpoint run.ckpt"
    assert main(command.split()) == 3
    said = capsys.readouterr()
    assert said.err.count("\n") == 1 and f"--{what}" in said.err and "no ink" in said.err
    assert "X_umap" in ad.read_h5ad("out.h5ad").obsm and not Path("run.ckpt").exists()
    assert Path("m.zip").exists() == (what == "plot") and Path("p.png").exists() == (what == "model")
    assert not [name for name in os.listdir() if name.startswith(".vicinal")]
    assert not [line for line in said.out.splitlines() if line.startswith(what)]


def test_a_plot_of_a_spectrum_that_fails_costs_only_itself(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vc.pl, "spectrum", fail)
    assert main("spectrum in.h5ad out.h5ad --n-epochs 1 --exaggerations 2 1 --plot p.png".split()) == 3
    assert "X_spectrum" in ad.read_h5ad("out.h5ad").obsm and not Path("p.png").exists()


def test_a_map_of_a_graph_alone_is_kept_where_no_model_can_be_made(folder: Path) -> None:
    adata = cells()
    vc.pp.neighbors(adata)
    graph = ad.AnnData(obs=adata.obs, obsp=dict(adata.obsp), uns={"neighbors": adata.uns["neighbors"]})
    graph.write_h5ad("graph.h5ad")
    assert main("embed graph.h5ad out.h5ad --n-epochs 1 --model m.zip".split()) == 3
    assert "X_umap" in ad.read_h5ad("out.h5ad").obsm and not Path("m.zip").exists()


def test_nullable_strings_are_written_as_they_were_read(folder: Path) -> None:
    adata = cells()
    with ad.settings.override(allow_write_nullable_strings=True):
        adata.obs["note"] = pd.array(["a", None] * 30, dtype="string")
        adata.obs.index = adata.obs.index.astype("string")
        adata.write_h5ad("in.h5ad")
    assert main("embed in.h5ad in.h5ad --n-epochs 1".split()) == 0
    out = ad.read_h5ad("in.h5ad")
    assert list(out.obs_names) == [f"cell{i}" for i in range(60)] and out.obs["note"].isna().sum() == 30


@pytest.mark.parametrize("output", ["out.h5ad", "in.h5ad"])
def test_what_cannot_be_written_is_left_out_but_never_of_the_input(
    folder: Path, output: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def odd(path: str) -> ad.AnnData:
        adata = ad.read_h5ad(path)
        adata.uns["odd"], adata.obs["odd"] = object(), [{1: 2}] * 60
        return adata

    before = (folder / "in.h5ad").read_bytes()
    monkeypatch.setattr(vc.cli.embed, "read", odd)
    assert main(["embed", "in.h5ad", output, "--n-epochs", "1"]) == 3
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "obs['odd'], uns['odd']" in said
    kept = ad.read_h5ad("out.h5ad" if output == "out.h5ad" else "in-mapped.h5ad")
    assert "X_umap" in kept.obsm and "odd" not in kept.uns and (folder / "in.h5ad").read_bytes() == before


def test_a_limit_of_file_sizes_ends_in_an_error_not_in_a_crash(folder: Path) -> None:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    code = "import sys; from vicinal.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "embed", "in.h5ad", "out.h5ad", "--n-epochs", "1"]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limit, timeout=300)
    assert done.returncode == 2 and "File too large" in done.stderr and "Traceback" not in done.stderr, done.stderr
    assert not Path("out.h5ad").exists()


def test_under_a_limit_that_suffices_the_file_is_the_same(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert main("embed in.h5ad out.h5ad --n-epochs 1".split()) == 0
    monkeypatch.setattr(files, "size_is_limited", lambda: True)
    assert main("embed in.h5ad limited.h5ad --n-epochs 1".split()) == 0
    out, limited = ad.read_h5ad("out.h5ad"), ad.read_h5ad("limited.h5ad")
    np.testing.assert_array_equal(out.obsm["X_umap"], limited.obsm["X_umap"])
    pd.testing.assert_frame_equal(out.obs, limited.obs)


def test_children_do_not_import_from_the_working_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from vicinal import _demo, _warmup

    (folder / "anndata.py").write_text("open('RAN', 'w')\nraise ImportError('of a stranger')\n")
    assert _warmup._seconds_to_load()
    placed = _demo._project_in_new_process(cells(5), folder / "model.zip", folder / "placed.h5ad")
    assert placed.n_obs == 5 and not Path("RAN").exists()


def test_the_demo_replaces_nothing_of_another_kind(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copy("table.csv", "model.zip")
    before = content(folder)
    assert main(["demo", "--out", "."]) == 2
    assert content(folder) == before


def test_without_docstrings_the_error_says_what_to_set() -> None:
    done = subprocess.run([sys.executable, "-OO", "-c", "import vicinal"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 or "use -O or PYTHONOPTIMIZE=1" in done.stderr.splitlines()[-1]
