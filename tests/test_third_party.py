"""A distribution on the path replaces each stage in turn; broken ones beside it harm nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TOYS = '''
"""Backends whose output cannot be mistaken for anybody else's."""
from types import SimpleNamespace

import numpy as np
from vicinal.api import BackendSpec, Capabilities, Graph, KernelForm, Neighbors, Preset, hookimpl


class RingIndex:
    def __init__(self, n, k):
        steps = np.arange(1, k + 1, dtype=np.int32)
        self.table = Neighbors(
            indices=((np.arange(n, dtype=np.int32)[:, None] + steps) % n).astype(np.int32),
            distances=np.tile(steps.astype(np.float32), (n, 1)),
        )

    def neighbors(self):
        return self.table


class RingKnn:
    def __init__(self, params): ...
    def build(self, request):
        return RingIndex(request.n_obs, request.k)


class CircleGraph:
    def __init__(self, params): ...
    def build(self, request):
        n = request.n_obs
        columns = np.sort(np.stack([np.arange(1, n + 1) % n, np.arange(-1, n - 1) % n], axis=1), axis=1)
        return Graph(
            indptr=np.arange(0, 2 * n + 1, 2),
            indices=columns.ravel().astype(np.int32),
            weights=np.full(2 * n, 0.25, dtype=np.float32),
        )


class LineInit:
    def __init__(self, params): ...
    def place(self, request):
        return np.tile(np.arange(request.graph.n_obs, dtype=np.float32)[:, None], (1, request.n_components))


class FlatObjective:
    negative_sample_rate = 1.0
    def __init__(self, params): ...
    def form(self, name):
        return KernelForm(family="umap", parameters=(1.0, 1.0, 0.0))
    def attraction(self, d2):
        return np.full_like(d2, 7.0)
    def repulsion(self, d2):
        return np.zeros_like(d2)
    def rescale(self, layout):
        return layout


class SevenOptimizer:
    def __init__(self, params): ...
    def start(self, request):
        run = SimpleNamespace(epoch=0, n_epochs=3, layout=request.layout)
        def step(n, **overrides):
            run.epoch += n
            run.layout = np.full_like(request.layout, 7.0)
        run.step, run.state, run.restore = step, dict, None
        return run


class FixedScore:
    def __init__(self, params): ...
    def measure(self, request):
        return {"answer": 42.0}


class NoInit:
    def __init__(self, params):
        raise OSError("no licence")
    def place(self, request): ...


class SlashScore:
    def __init__(self, params): ...
    def measure(self, request):
        return {"a/b": 1.0}


UMAP = {"objective": "umap", "optimizer": "numba_sgd"}


def spec(stage, name, target, **capabilities):
    return BackendSpec(
        api_version=1, stage=stage, name=name, target=f"toys:{target}", capabilities=Capabilities(**capabilities)
    )


@hookimpl
def vicinal_register(host_api):
    return [
        spec("knn", "ring", "RingKnn"),
        spec("graph", "circle", "CircleGraph", inputs=("neighbors",)),
        spec("init", "line", "LineInit", final_scale=True),
        spec("objective", "flat", "FlatObjective", forms=("kernel",)),
        spec("optimizer", "seven", "SevenOptimizer", forms=("kernel",)),
        spec("score", "fixed", "FixedScore"),
        spec("init", "unbuilt", "NoInit"),
        spec("score", "slash", "SlashScore"),
        Preset(api_version=1, name="toy", stages=UMAP, scores=("fixed",)),
        Preset(api_version=1, name="slashed", stages=UMAP, scores=("slash",)),
    ]
'''

HEAD = "from vicinal.api import BackendSpec, hookimpl\n"
GOOD_SPEC = "BackendSpec(api_version=1, stage='knn', name='spare', target='spare:Knn')"
BROKEN = {
    "raises": ("raise RuntimeError('broken by design')", "RuntimeError: broken by design"),
    "exits": ("raise SystemExit(3)", "SystemExit"),
    "misspelt": (f"{HEAD}@hookimpl\ndef vicinal_registr(host_api): return [{GOOD_SPEC}]", "vicinal_registr"),
    "oldapi": (
        f"{HEAD}@hookimpl\ndef vicinal_register(host_api): return [{GOOD_SPEC.replace('=1', '=99', 1)}]",
        "API 99",
    ),
    "twice": (f"{HEAD}@hookimpl\ndef vicinal_register(host_api): return [{GOOD_SPEC}, {GOOD_SPEC}]", "twice"),
    "wrongtype": (f"{HEAD}@hookimpl\ndef vicinal_register(host_api): return 'exact'", "str"),
}


def install(folder: Path, name: str, code: str) -> None:
    """Put a module and the metadata of a distribution into a folder, as an installer would."""
    (folder / f"{name}.py").write_text(code)
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[vicinal.plugins]\n{name} = {name}\n")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    install(folder, "toys", TOYS)
    for name, (code, _) in BROKEN.items():
        install(folder, name, code)
    return folder


def fresh(site: Path, code: str) -> dict:
    """Run code in a new process that sees the plugins; it leaves its answer in `out`."""
    head = "import json, numpy as np, vicinal as vc\nadata = vc.datasets.pbmc68k_reduced()\nout = {}\n"
    script = head + code + "\nprint('ANSWER' + json.dumps(out))"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(site)}
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.split("ANSWER")[1])


def test_each_stage_in_turn_is_what_arrives(site: Path) -> None:
    code = """
kw = dict(n_epochs=2)
by_name = np.argsort(adata.obs_names)  # the order a backend gets its rows in
vc.pp.neighbors(adata, knn="ring", n_neighbors=4, key_added="ring")
row = adata.obsp["ring_distances"][by_name][:, by_name][699]
out["knn"] = dict(zip(map(int, row.indices), map(float, row.data)))
vc.pp.neighbors(adata, graph="circle", key_added="circle")
circle = adata.obsp["circle_connectivities"][by_name][:, by_name]
out["graph"] = [circle.nnz, float(circle[0, 699])]
vc.tl.embed(adata, init="line", n_epochs=0)
out["init"] = bool((adata.obsm["X_umap"][by_name] == np.arange(700)[:, None]).all())
vc.tl.embed(adata, objective="flat", **kw)
out["objective"] = adata.uns["umap"]["loss"].tolist()
vc.tl.embed(adata, optimizer="seven")
out["optimizer"] = [bool((adata.obsm["X_umap"] == 7).all()), adata.uns["umap"]["backends"]["optimizer"]]
vc.tl.embed(adata, "toy", **kw)
out["score"] = adata.uns["toy"]["score"]
out["preset"] = "X_toy" in adata.obsm
"""
    out = fresh(site, code)
    assert out["knn"] == {"0": 1.0, "1": 2.0, "2": 3.0}
    assert out["graph"] == [1400, 0.25]
    assert out["init"] is True
    assert all(value == pytest.approx(7.0) for value in out["objective"])
    assert out["optimizer"] == [True, "seven@toys"]
    assert out["score"] == {"answer": 42.0} and out["preset"] is True


def test_broken_plugins_are_listed_and_the_map_is_made(site: Path) -> None:
    code = """
vc.tl.embed(adata, n_epochs=5)
out["made"] = "loss" in adata.uns["umap"]
table = vc.plugins.list()
out["broken"] = {r.distribution: r.error for r in table[table.status == "broken"].itertuples()}
"""
    out = fresh(site, code)
    assert out["made"] is True
    assert set(out["broken"]) == set(BROKEN)
    for name, (_, reason) in BROKEN.items():
        assert reason in out["broken"][name], (name, out["broken"][name])


def test_backends_that_fail_are_named(site: Path) -> None:
    code = """
for arguments in (dict(init="unbuilt"), dict(method="slashed", n_epochs=2)):
    try:
        vc.tl.embed(adata, **arguments)
    except vc.api.StageError as error:
        out[error.backend] = str(error)
out["written"] = "slashed" in adata.uns or "loss" in adata.uns.get("umap", {})
"""
    out = fresh(site, f"import vicinal.api{code}")
    assert out["unbuilt@toys"] == "Stage 'init', backend 'unbuilt@toys': OSError: no licence"
    assert "['a/b'] are not finite numbers with a name without '/'" in out["slash@toys"]
    assert out["written"] is False


def test_the_shell_says_so_too(site: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "vicinal", "plugins", "list", "--json"],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site)},
    )
    rows = json.loads(done.stdout)
    assert done.returncode == 0
    assert {row["distribution"] for row in rows if row["status"] == "broken"} == set(BROKEN)


def test_an_unknown_name_mentions_the_plugins_left_out(site: Path) -> None:
    code = """
try:
    vc.tl.embed(adata, knn="spare")
except ValueError as error:
    out["message"] = str(error)
"""
    assert "misspelt" in fresh(site, code)["message"]
