from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import anndata as ad
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

import vicinal as vc
from vicinal import cli
from vicinal.cli import main
from vicinal.cli.options import EMBED_OPTIONS

COMMANDS = ("demo", "embed", "spectrum", "score", "project", "update", "rerun", "plugins")


def cells(n_obs=60, seed=0):
    rng = np.random.default_rng(seed)
    groups = np.arange(n_obs) % 3
    centers = np.random.default_rng(99).normal(scale=4, size=(3, 6))
    obs = pd.DataFrame(
        {"group": pd.Categorical([f"type {g}" for g in groups])}, index=[f"cell{i}" for i in range(n_obs)]
    )
    made = ad.AnnData(np.zeros((n_obs, 2), dtype=np.float32), obs=obs)
    made.obsm["X_pca"] = (centers[groups] + rng.normal(size=(n_obs, 6))).astype(np.float32)
    return made


@pytest.fixture
def folder(tmp_path, monkeypatch):
    cells().write_h5ad(tmp_path / "in.h5ad")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def listing(folder):
    return {path.name: path.read_bytes() if path.is_file() else None for path in folder.iterdir()}


def run(*arguments):
    """Run in a fresh process."""
    return subprocess.run([sys.executable, "-m", "vicinal", *arguments], capture_output=True, text=True, timeout=300)


def assert_one_line_error(captured, said):
    assert captured.out == ""
    assert re.fullmatch(r"vicinal: error: [^\n]+\n", captured.err), captured.err
    assert said in captured.err


def test_embed_writes_the_map_that_the_library_makes(folder, capsys, caplog):
    before = (folder / "in.h5ad").read_bytes()
    assert main(["embed", "in.h5ad", "out.h5ad", "--n-epochs", "30"]) == 0
    out = ad.read_h5ad("out.h5ad")
    expected = cells()
    vc.tl.embed(expected, n_epochs=30)
    np.testing.assert_array_equal(out.obsm["X_umap"], expected.obsm["X_umap"])
    assert (folder / "in.h5ad").read_bytes() == before
    assert {path.name for path in folder.iterdir()} == {"in.h5ad", "out.h5ad"}
    captured = capsys.readouterr()
    assert "60 cells in 2 dimensions" in captured.out
    assert "out.h5ad: obsm['X_umap']" in captured.out
    assert captured.err == "" and "added obsm['X_umap'], 60 cells" in caplog.text


def test_every_option_reaches_the_map(folder):
    given = {
        "n_components": 3,
        "n_neighbors": 7,
        "use_rep": "X_pca",
        "n_pcs": 4,
        "metric": "manhattan",
        "min_dist": 0.2,
        "spread": 1.5,
        "n_epochs": 5,
        "random_state": 3,
        "labels": "group",
    }
    flags = {"random_state": "--seed"}
    named = [
        text for name, value in given.items() for text in (flags.get(name, f"--{name.replace('_', '-')}"), str(value))
    ]
    kept = {"checkpoint": "run.ckpt", "checkpoint_every": "2"}
    named += [text for name, value in kept.items() for text in (f"--{name.replace('_', '-')}", value)]
    rest = ["--init", "random", "--n-jobs", "1", "--key-added", "mine"]
    assert main(["embed", "in.h5ad", "out.h5ad", "--method", "umap", *named, *rest]) == 0
    out = ad.read_h5ad("out.h5ad")
    params = out.uns["mine"]["params"]
    assert {name: params[name] for name in given} == given
    assert out.obsm["mine"].shape == (60, 3)
    assert out.uns["mine"]["backends"]["init"] == "random@vicinal"
    assert {*given, "init", "n_jobs", "key_added", "neighbors_key", "phases", "metric_kwds", *kept} == set(
        EMBED_OPTIONS
    )


def test_stored_neighbors_are_chosen_by_key(folder):
    adata = cells()
    vc.pp.neighbors(adata, n_neighbors=5, key_added="near")
    adata.write_h5ad("in.h5ad")
    assert main(["embed", "in.h5ad", "out.h5ad", "--neighbors-key", "near", "--n-epochs", "5"]) == 0
    out = ad.read_h5ad("out.h5ad")
    assert out.uns["umap"]["params"]["neighbors_key"] == "near"
    assert out.uns["umap"]["backends"]["graph"] == "precomputed@vicinal"


def test_params_are_json_where_they_are_json(folder):
    params = ["negative_sample_rate=3", "repulsion_strength=0.5", "knn=exact", "symmetrize=false"]
    arguments = [text for param in params for text in ("--param", param)]
    assert main(["embed", "in.h5ad", "out.h5ad", "--n-epochs", "5", *arguments]) == 0
    entry = ad.read_h5ad("out.h5ad").uns["umap"]
    wanted = {"negative_sample_rate": 3, "repulsion_strength": 0.5, "symmetrize": False}
    assert {name: entry["params"][name] for name in wanted} == wanted
    assert entry["backends"]["knn"] == "exact@vicinal"


def test_phases_are_json(folder):
    phases = [{"n": 4, "repulsion_strength": 2.0}, {"n": 3}]
    assert main(["embed", "in.h5ad", "out.h5ad", "--phases", json.dumps(phases)]) == 0
    params = ad.read_h5ad("out.h5ad").uns["umap"]["params"]
    assert json.loads(params["phases"]) == [[0, 4, {"repulsion_strength": 2.0}]] and params["n_epochs"] == 7


def test_spectrum_writes_and_draws_the_maps_that_the_library_makes(folder, capsys):
    given = ["--exaggerations", "inf", "4", "1", "--n-epochs", "7", "--param", "graph=fuzzy", "--n-neighbors", "9"]
    assert main(["spectrum", "in.h5ad", "out.h5ad", *given, "--plot", "maps.png", "--color", "group"]) == 0
    out, made = ad.read_h5ad("out.h5ad"), cells()
    vc.tl.spectrum(made, [float("inf"), 4, 1], n_epochs=7, graph="fuzzy", n_neighbors=9)
    for name in ("snapshots", "exaggerations", "snapshot_loss"):
        np.testing.assert_array_equal(out.uns["spectrum"][name], made.uns["spectrum"][name])
    np.testing.assert_array_equal(out.obsm["X_spectrum"], made.obsm["X_spectrum"])
    said = capsys.readouterr().out
    assert re.search(r"^losses    \d\.\d+ at inf, \d\.\d+ at 4, \d\.\d+ at 1$", said, re.M)
    assert plt.imread("maps.png").shape[1] > 1000


def test_embed_saves_the_model_and_draws_the_map(folder):
    arguments = ["--n-epochs", "5", "--model", "model.zip", "--plot", "map.png", "--color", "group"]
    assert main(["embed", "in.h5ad", "out.h5ad", *arguments]) == 0
    np.testing.assert_array_equal(vc.models.load("model.zip").arrays["layout"], ad.read_h5ad("out.h5ad").obsm["X_umap"])
    picture = plt.imread("map.png")
    assert min(picture.shape[:2]) > 400
    assert len(np.unique(picture.reshape(-1, picture.shape[2]), axis=0)) > 20


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["embd"], "Did you mean 'embed'"),
        (["Embed"], "Did you mean 'embed'"),
        (["embed", "in.h5ad", "out.h5ad", "--n-neighbours", "5"], "Did you mean '--n-neighbors'"),
        (["embed", "in.h5ad", "out.h5ad", "--random_state=5"], "Did you mean '--seed'"),
        (["embed", "in.h5ad", "out.h5ad", "--negative-sample-rate", "5"], "--param negative_sample_rate=VALUE"),
        (["score", "in.h5ad", "--lables", "group"], "Did you mean '--labels'"),
        (["score", "in.h5ad", "again.h5ad"], "again.h5ad is too much"),
        (["embed", "in.h5ad"], "OUT"),
        (["embed", "absent.h5ad", "out.h5ad"], "absent.h5ad: there is no such file"),
        (["embed", "text.h5ad", "out.h5ad"], "text.h5ad: cannot be read as an .h5ad file"),
        (["embed", "emptyfolder", "out.h5ad"], "emptyfolder: cannot be read as a zarr store"),
        (["embed", "in.h5ad", "absent/out.h5ad"], "there is no folder"),
        (["embed", "in.h5ad", "folder.h5ad"], "folder.h5ad: is a folder"),
        (["embed", "in.h5ad", "folder.zarr"], "folder.zarr: is a folder"),
        (["embed", "in.h5ad", "out.csv"], "'.h5ad', '.zarr'"),
        (["embed", "in.h5ad", "out.h5ad", "--plot", "map.xyz"], "'.png'"),
        (["embed", "in.h5ad", "out.h5ad", "--plot", "map.png", "--color", "grup"], "Did you mean 'group'"),
        (["embed", "in.h5ad", "out.h5ad", "--color", "group"], "--plot"),
        (["embed", "in.h5ad", "out.h5ad", "--plot", "map.png", "--n-components", "1"], "at least 2"),
        (["embed", "in.h5ad", "out.h5ad", "--model", "absent/model.zip"], "there is no folder"),
        (["embed", "in.h5ad", "out.h5ad", "--n-neighbors", "many"], "--n-neighbors"),
        (["embed", "in.h5ad", "out.h5ad", "--n-neighbors", "60"], "n_neighbors=60"),
        (["embed", "in.h5ad", "out.h5ad", "--method", "umpa"], "Did you mean 'umap'"),
        (["embed", "in.h5ad", "out.h5ad", "--use-rep", "X_pcaa"], "Did you mean 'X_pca'"),
        (["embed", "in.h5ad", "out.h5ad", "--param", "min_dits=1"], "Did you mean 'min_dist'"),
        (["embed", "in.h5ad", "out.h5ad", "--param", "min_dist"], "KEY=VALUE"),
        (["embed", "in.h5ad", "out.h5ad", "--param", "copy=true"], "copy"),
        (["embed", "in.h5ad", "out.h5ad", "--spread", "2", "--param", "spread=2"], "given twice"),
        (["embed", "in.h5ad", "out.h5ad", "--checkpoint", "absent/run"], "there is no folder"),
        (["embed", "in.h5ad", "out.h5ad", "--checkpoint", "text.h5ad"], "Remove the file to start afresh"),
        (["embed", "in.h5ad", "out.h5ad", "--checkpoint-every", "5"], "checkpoint=PATH"),
        (["embed", "in.h5ad", "out.h5ad", "--phases", "[{n: 5}]"], "--phases: expected JSON such as"),
        (["embed", "in.h5ad", "out.h5ad", "--phases", '[{"n": 5, "rate": 1}]'], "phases[0] holds 'rate'"),
        (["spectrum", "in.h5ad", "out.h5ad", "--exaggerations", "1", "4"], "exaggerations=[1.0, 4.0] is not allowed"),
        (["spectrum", "in.h5ad", "out.h5ad", "--param", "method=umap"], "method is not allowed here"),
        (["score", "in.h5ad"], "X_umap"),
        (["score", "absent.h5ad"], "no such file"),
        (["project", "in.h5ad", "absent.zip", "out.h5ad"], "no such file"),
        (["project", "in.h5ad", "text.h5ad", "out.h5ad"], "cannot be read"),
        (["project", "in.h5ad", "in.h5ad", "out.h5ad"], "no model"),
        (["plugins", "remove"], "invalid choice"),
        (["demo", "--out", "text.h5ad"], "text.h5ad"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(folder, capsys, arguments, said):
    (folder / "text.h5ad").write_text("not HDF5\nat all")
    for name in ("folder.h5ad", "folder.zarr", "emptyfolder"):
        (folder / name).mkdir()
    before = listing(folder)
    assert main(arguments) == 2
    assert_one_line_error(capsys.readouterr(), said)
    assert listing(folder) == before


@pytest.mark.parametrize("arguments", [["embed", "in.h5ad", "locked/out.h5ad"], ["score", "locked/in.h5ad", "--write"]])
def test_a_folder_that_cannot_be_written_to_is_found_before_the_work(folder, capsys, monkeypatch, arguments):
    (folder / "locked").mkdir()
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "locked")
    for verb in (cli.embed, cli.score):
        monkeypatch.setattr(verb, "read", lambda path: pytest.fail("read the cells first"))
    assert main(arguments) == 2
    assert_one_line_error(capsys.readouterr(), "cannot be written to")


def test_a_failure_while_writing_leaves_what_was_there(folder, capsys, monkeypatch):
    def fill_the_disk(self, path):
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    (folder / "out.h5ad").write_bytes(b"\x89HDF\r\n\x1a\nfrom before")
    before = listing(folder)
    monkeypatch.setattr(ad.AnnData, "write_h5ad", fill_the_disk)
    assert main(["embed", "in.h5ad", "out.h5ad", "--n-epochs", "2"]) == 2
    assert_one_line_error(capsys.readouterr(), "No space left")
    assert listing(folder) == before


def test_a_checkpoint_is_kept_until_the_output_is_there(folder, capsys, monkeypatch):
    kept = ["--checkpoint", "run.ckpt", "--checkpoint-every", "7"]
    command = ["embed", "in.h5ad", "out.h5ad", "--n-epochs", "30", *kept]
    with monkeypatch.context() as full:
        full.setattr(ad.AnnData, "write_h5ad", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        assert main(command) == 2
    assert set(listing(folder)) == {"in.h5ad", "run.ckpt"}
    assert main([*command, "--min-dist", "0.1"]) == 2
    assert "min_dist was 0.5, is 0.1" in capsys.readouterr().err
    assert main(command) == 0
    assert set(listing(folder)) == {"in.h5ad", "out.h5ad"}
    expected = cells()
    vc.tl.embed(expected, n_epochs=30)
    np.testing.assert_array_equal(ad.read_h5ad("out.h5ad").obsm["X_umap"], expected.obsm["X_umap"])


def test_interrupted_in_the_optimisation_says_how_to_go_on(folder, capsys, monkeypatch):
    from vicinal.pipeline.run import Run

    monkeypatch.setattr(Run, "_score", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main(["embed", "in.h5ad", "out.h5ad", "--n-epochs", "3", "--checkpoint", "run.ckpt"]) == 130
    said = capsys.readouterr().err
    assert said.startswith("vicinal: interrupted at epoch 3 of 3; to go on") and said.count("\n") == 1
    assert set(listing(folder)) == {"in.h5ad", "run.ckpt"}


def test_interrupted_leaves_nothing_and_says_so(folder, capsys, monkeypatch):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    before = listing(folder)
    monkeypatch.setattr(ad.AnnData, "write_h5ad", interrupt)
    assert main(["embed", "in.h5ad", "out.h5ad", "--n-epochs", "2"]) == 130
    assert capsys.readouterr().err == "vicinal: interrupted\n"
    assert listing(folder) == before


def test_output_may_be_the_input_and_a_link_stays_a_link(folder):
    os.symlink("in.h5ad", "link.h5ad")
    assert main(["embed", "link.h5ad", "link.h5ad", "--n-epochs", "2"]) == 0
    assert (folder / "link.h5ad").is_symlink()
    assert "X_umap" in ad.read_h5ad("in.h5ad").obsm


def test_zarr_is_read_written_and_replaced(folder):
    cells().write_zarr(folder / "in.zarr")
    assert main(["embed", "in.zarr", "out.zarr", "--n-epochs", "2"]) == 0
    first = ad.read_zarr("out.zarr").obsm["X_umap"]
    assert main(["embed", "out.zarr", "out.zarr", "--n-epochs", "2", "--seed", "1"]) == 0
    second = ad.read_zarr("out.zarr").obsm["X_umap"]
    assert first.shape == second.shape == (60, 2)
    assert not np.array_equal(first, second)
    assert {path.name for path in folder.iterdir()} == {"in.h5ad", "in.zarr", "out.zarr"}


def test_score_prints_what_the_library_returns(folder, capsys):
    adata = cells()
    vc.tl.embed(adata, n_epochs=20)
    adata.write_h5ad("map.h5ad")
    before = (folder / "map.h5ad").read_bytes()
    expected = vc.tl.score(adata, labels="group")
    assert main(["score", "map.h5ad", "--labels", "group", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == expected
    assert main(["score", "map.h5ad", "--labels", "group"]) == 0
    shown = dict(line.split() for line in capsys.readouterr().out.splitlines())
    assert {name: float(value) for name, value in shown.items()} == pytest.approx(expected, abs=1e-4)
    assert (folder / "map.h5ad").read_bytes() == before


def test_score_writes_only_when_asked(folder, capsys):
    adata = cells()
    vc.tl.embed(adata, n_epochs=20)
    adata.write_h5ad("map.h5ad")
    assert main(["score", "map.h5ad", "--labels", "group", "--write", "--json"]) == 0
    stored = ad.read_h5ad("map.h5ad").uns["umap"]
    assert stored["score"] == json.loads(capsys.readouterr().out)
    assert "label_accuracy" in stored["score"]
    assert "loss" in stored


@pytest.mark.parametrize("carrier", ["model.zip", "map.h5ad"])
def test_project_places_what_the_library_places(folder, capsys, carrier):
    assert main(["embed", "in.h5ad", "map.h5ad", "--n-epochs", "20", "--model", "model.zip"]) == 0
    cells(20, seed=5).write_h5ad("new.h5ad")
    assert main(["project", "new.h5ad", carrier, "placed.h5ad"]) == 0
    expected = cells(20, seed=5)
    vc.tl.project(expected, vc.models.load("model.zip"))
    np.testing.assert_array_equal(ad.read_h5ad("placed.h5ad").obsm["X_umap"], expected.obsm["X_umap"])
    said = capsys.readouterr().out
    assert "20 cells placed among 60" in said
    assert re.search(rf"strangers +{expected.obs['umap_is_stranger'].sum()} at p up to 0.05\n", said)


def test_project_takes_what_the_library_takes_of_strangers_and_genes(folder, capsys):
    assert main(["embed", "in.h5ad", "map.h5ad", "--n-epochs", "5"]) == 0
    new, given = cells(20, seed=5), ["project", "new.h5ad", "map.h5ad", "placed.h5ad"]
    new.obsm["X_pca"][:4] += 50
    new.obsm["X_other"] = new.obsm.pop("X_pca")
    new.write_h5ad("new.h5ad")
    capsys.readouterr()
    assert main([*given, "--use-rep", "X_other", "--stranger-level", "0.2", "--park-strangers"]) == 0
    expected = new.copy()
    vc.tl.project(expected, ad.read_h5ad("map.h5ad"), use_rep="X_other", stranger_level=0.2, park_strangers=True)
    placed = ad.read_h5ad("placed.h5ad")
    np.testing.assert_array_equal(placed.obsm["X_umap"], expected.obsm["X_umap"])
    pd.testing.assert_frame_equal(placed.obs, expected.obs)
    n_strangers = expected.uns["umap"]["strangers"]["n_strangers"]
    assert n_strangers >= 4
    assert re.search(rf"strangers +{n_strangers} at p up to 0.2; they have no places\n", capsys.readouterr().out)
    assert main([*given, "--use-rep", "X_other", "--stranger-level", "none"]) == 0
    assert list(ad.read_h5ad("placed.h5ad").obs) == ["group"] and "strangers" not in capsys.readouterr().out
    for options, said in [
        (["--stranger-level", "none", "--park-strangers"], "stranger_level=None asks for none"),
        (["--stranger-level", "2"], "stranger_level=2.0 is not allowed"),
        (["--min-overlap", "0"], "min_overlap=0.0 is not allowed"),
    ]:
        assert main([*given, *options]) == 2
        assert_one_line_error(capsys.readouterr(), said)


@pytest.mark.parametrize("carrier", ["old.h5ad", "model.zip"])
def test_update_adds_what_the_library_adds(folder, capsys, carrier):
    main(["embed", "in.h5ad", "old.h5ad", "--model", "model.zip", "--n-epochs", "5"])
    old, new = ad.read_h5ad("old.h5ad"), cells(20, seed=1)
    new.obs_names = [f"new{i}" for i in range(20)]
    ad.concat([old, new]).write_h5ad("all.h5ad")
    capsys.readouterr()
    assert main(["update", "all.h5ad", carrier, "grown.h5ad", "--max-drift", "0.05"]) == 0
    expected = ad.read_h5ad("all.h5ad")
    vc.tl.update(expected, old if carrier == "old.h5ad" else carrier, max_drift=0.05)
    np.testing.assert_array_equal(ad.read_h5ad("grown.h5ad").obsm["X_umap"], expected.obsm["X_umap"])
    assert re.search("added +20 cells to 60\n", capsys.readouterr().out)


def test_update_has_the_options_of_new_cells_that_project_has(folder, capsys):
    main(["embed", "in.h5ad", "old.h5ad", "--n-epochs", "5"])
    old, new = ad.read_h5ad("old.h5ad"), cells(20, seed=1)
    new.obs_names = [f"new{i}" for i in range(20)]
    new.obsm["X_pca"][:4] += 60
    ad.concat([old, new]).write_h5ad("all.h5ad")
    given = ["update", "all.h5ad", "old.h5ad", "grown.h5ad"]
    capsys.readouterr()
    assert main([*given, "--stranger-level", "0.2", "--min-overlap", "0.8"]) == 0
    expected = ad.read_h5ad("all.h5ad")
    vc.tl.update(expected, old, stranger_level=0.2, min_overlap=0.8)
    pd.testing.assert_frame_equal(ad.read_h5ad("grown.h5ad").obs, expected.obs)
    n_strangers = expected.uns["umap"]["strangers"]["n_strangers"]
    assert n_strangers >= 4 and re.search(rf"strangers +{n_strangers} at p up to 0.2\n", capsys.readouterr().out)
    assert main([*given, "--stranger-level", "none"]) == 0
    assert list(ad.read_h5ad("grown.h5ad").obs) == ["group"] and "strangers" not in capsys.readouterr().out
    for options, said in [
        (["--stranger-level", "2"], "stranger_level=2.0 is not allowed"),
        (["--min-overlap", "0"], "min_overlap=0.0 is not allowed"),
    ]:
        assert main([*given, *options]) == 2
        assert_one_line_error(capsys.readouterr(), said)


def test_rerun_says_whether_the_map_is_the_same(folder, capsys):
    main(["embed", "in.h5ad", "old.h5ad", "--n-epochs", "5"])
    capsys.readouterr()
    assert main(["rerun", "old.h5ad", "again.h5ad"]) == 0
    assert re.search("umap +the same to the bit", capsys.readouterr().out)
    made = ad.read_h5ad("again.h5ad")
    np.testing.assert_array_equal(made.obsm["umap_rerun"], made.obsm["X_umap"])
    made.obsm["X_umap"][0] += 1
    made.write_h5ad("again.h5ad")
    assert main(["rerun", "again.h5ad", "again.h5ad", "--key", "umap"]) == 0
    assert re.search("umap +differs by up to 1", capsys.readouterr().out)
    assert main(["rerun", "in.h5ad", "again.h5ad"]) == 2
    assert_one_line_error(capsys.readouterr(), "no map in adata.uns")


def test_plugins_list_and_check_agree_with_the_library(capsys):
    assert main(["plugins", "list", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows == json.loads(vc.plugins.list().to_json(orient="records"))
    assert main(["plugins", "list"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[0].split()[:3] == ["stage", "name", "from"]
    assert any(line.split()[:3] == ["knn", "exact", "vicinal"] for line in table)
    assert main(["plugins", "check"]) == 0


@pytest.fixture
def broken_plugin(tmp_path, monkeypatch):
    info = tmp_path / "broken_maps-0.3.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken-maps\nVersion: 0.3\n")
    (info / "entry_points.txt").write_text("[vicinal.plugins]\nbroken = broken_maps_module\n")
    (tmp_path / "broken_maps_module.py").write_text("raise RuntimeError('the driver is missing')\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))


def test_a_broken_plugin_is_named_and_check_exits_with_1(broken_plugin):
    listed, checked = run("plugins", "list"), run("plugins", "check", "--json")
    assert (listed.returncode, checked.returncode) == (0, 1)
    assert re.search(
        r"^broken: broken = broken_maps_module \(broken-maps 0.3\): .*the driver is missing", listed.stdout, re.M
    )
    (row,) = [row for row in json.loads(checked.stdout) if row["status"] == "broken"]
    assert row["distribution"] == "broken-maps"
    assert "the driver is missing" in row["error"]
    assert "Traceback" not in listed.stderr + checked.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_defaults(capsys, command):
    with pytest.raises(SystemExit) as done:
        main([command, "--help"])
    assert done.value.code == 0
    shown = capsys.readouterr().out
    assert f"\n  vicinal {command} " in shown.partition("example:")[2]
    assert command == "plugins" or "default: " in shown


def test_alone_it_prints_the_help(capsys):
    assert main([]) == 0
    shown = capsys.readouterr().out
    assert all(re.search(rf"^\s+{command}\s", shown, re.M) for command in COMMANDS)


def test_plugins_alone_lists(capsys):
    assert main(["plugins"]) == 0
    alone = capsys.readouterr().out
    assert main(["plugins", "list"]) == 0
    assert capsys.readouterr().out == alone != ""


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    assert all(re.search(rf"^\s+{command}\s", shown, re.M) for command in COMMANDS)


def test_version(capsys):
    with pytest.raises(SystemExit):
        main(["--version"])
    assert capsys.readouterr().out == f"vicinal {metadata.version('vicinal')}\n"


def test_help_in_a_fresh_process_loads_nothing_heavy():
    code = """
import sys
from vicinal.cli import main
try:
    main(["embed", "--help"])
finally:
    print("HEAVY", sorted({"numba", "scanpy", "sklearn", "matplotlib", "torch", "pynndescent"} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0
    assert done.stdout.endswith("HEAVY []\n")


def test_a_fresh_process_shows_no_traceback_and_exits_with_2(folder):
    done = run("embed", "absent.h5ad", "out.h5ad")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "vicinal: error: absent.h5ad: there is no such file\n"


def test_demo_from_end_to_end(tmp_path, capsys):
    out = tmp_path / "made" / "here"
    assert main(["demo", "--out", str(out)]) == 0
    text = capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {"map.h5ad", "model.zip", "held_out.h5ad", "map.png", "loss.png"}
    assert all(str(path) in text for path in out.iterdir())
    reference, placed = ad.read_h5ad(out / "map.h5ad"), ad.read_h5ad(out / "held_out.h5ad")
    assert (reference.n_obs, placed.n_obs) == (560, 140)
    assert not set(reference.obs_names) & set(placed.obs_names)
    vc.tl.project(placed, vc.models.load(out / "model.zip"), key_added="again")
    np.testing.assert_array_equal(placed.obsm["X_umap"], placed.obsm["again"])
    right, total = map(int, re.search(r"(\d+) of (\d+) \(", text).groups())
    assert total == 140
    assert right > 0.6 * total


@pytest.mark.parametrize("text", ["p=1", '{"p": 1}'])
def test_the_arguments_of_a_metric(folder, text):
    assert (
        main(["embed", "in.h5ad", "out.h5ad", "--metric", "minkowski", "--metric-kwds", text, "--n-epochs", "2"]) == 0
    )
    assert json.loads(ad.read_h5ad("out.h5ad").uns["umap"]["params"]["metric_kwds"]) == {"p": 1.0}


@pytest.mark.parametrize("text", ["p", "p=one", "[1", "="])
def test_what_are_no_arguments_of_a_metric(folder, text, capsys):
    assert main(["embed", "in.h5ad", "out.h5ad", "--metric", "minkowski", "--metric-kwds", text]) == 2
    assert "expected p=1, or JSON" in capsys.readouterr().err
