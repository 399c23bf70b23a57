"""Runs that are killed, interrupted, or stopped, and what is found afterwards."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import UserDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import anndata as ad
import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors

import vicinal as vc
from vicinal.adata.keys import MapKeys
from vicinal.adata.write import put_map
from vicinal.api import InputError, ModelError, Neighbors
from vicinal.models import store
from vicinal.models.checkpoint import read_checkpoint
from vicinal.pipeline.run import Run
from vicinal.tl import _keeper

PACKAGE = str(Path(vc.__file__).parent)
BACKENDS = str(Path(PACKAGE) / "backends" / "optimizer")

SCRIPT = """
import json, logging, sys
import vicinal as vc

logging.basicConfig(level=logging.INFO)
adata = vc.datasets.pbmc68k_reduced()
before = set(adata.obsm), set(adata.uns)
try:
    vc.tl.embed(adata, key_added="map", **json.loads(sys.argv[1]))
except KeyboardInterrupt as interrupt:
    print("INTERRUPTED", interrupt, (set(adata.obsm), set(adata.uns)) == before)
    sys.exit(130)
adata.write_h5ad(sys.argv[2])
"""


@pytest.fixture
def adata() -> ad.AnnData:
    return vc.datasets.pbmc68k_reduced()


def child(folder: Path, options: dict[str, Any]) -> subprocess.Popen:
    command = [sys.executable, "-c", SCRIPT, json.dumps(options), str(folder / "out.h5ad")]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def epoch_in(path: Path) -> int:
    return read_checkpoint(path).manifest.extra["history"]["epoch"] if path.exists() else 0


def wait_for_a_checkpoint_after(epoch: int, path: Path, process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while epoch_in(path) <= epoch:
        assert process.poll() is None, f"it ended before it could be killed: {process.communicate()[1]}"
        assert time.monotonic() < deadline
        time.sleep(0.005)


def sha256(adata: ad.AnnData, key: str = "map") -> str:
    return hashlib.sha256(adata.obsm[key].tobytes()).hexdigest()


@pytest.mark.parametrize(
    ("n_kills", "n_epochs"), [(2, 30_000), pytest.param(10, 100_000, marks=pytest.mark.slow)], ids=["2", "10"]
)
def test_killed_at_random_moments_and_resumed(adata: ad.AnnData, tmp_path: Path, n_kills: int, n_epochs: int) -> None:
    path, draw = tmp_path / "run.ckpt", np.random.default_rng(n_kills)
    options = {"n_epochs": [n_epochs // 3, n_epochs], "checkpoint": str(path), "checkpoint_every": 97}
    for _ in range(n_kills):
        process, before = child(tmp_path, options), epoch_in(path)
        wait_for_a_checkpoint_after(before, path, process)
        time.sleep(draw.uniform(0, 0.2))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert before < epoch_in(path) < n_epochs
    last = child(tmp_path, options)
    log = last.communicate()[1]
    assert last.returncode == 0, log
    assert re.search(rf"Resumed from checkpoint .* at epoch [1-9][0-9]* of {n_epochs}", log)
    assert [file.name for file in tmp_path.iterdir()] == ["out.h5ad"]
    resumed = ad.read_h5ad(tmp_path / "out.h5ad")
    vc.tl.embed(adata, n_epochs=[n_epochs // 3, n_epochs], key_added="map")
    assert sha256(resumed) == sha256(adata)
    for name in ("loss", "loss_epoch", "snapshots", "snapshot_epochs"):
        np.testing.assert_array_equal(resumed.uns["map"][name], adata.uns["map"][name])
    assert resumed.uns["map"]["score"] == adata.uns["map"]["score"]


def test_ctrl_c_in_another_process(adata: ad.AnnData, tmp_path: Path) -> None:
    path = tmp_path / "run.ckpt"
    options = {"n_epochs": 50_000, "checkpoint": str(path), "checkpoint_every": 100}
    process = child(tmp_path, options)
    wait_for_a_checkpoint_after(0, path, process)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate()
    assert process.returncode == 130
    said = re.search(r"INTERRUPTED interrupted at epoch (\d+) of 50000; to go on .* True", out)
    assert said and str(path) in out and epoch_in(path) == int(said.group(1))
    vc.tl.embed(adata, key_added="map", **options)
    vc.tl.embed(adata, key_added="whole", n_epochs=50_000)
    assert sha256(adata) == sha256(adata, "whole") and not path.exists()


@contextmanager
def interrupt_at_line(number: int) -> Iterator[list[str]]:
    """Raise KeyboardInterrupt before the given line of ours that is run, as a signal would."""
    seen: list[str] = []

    def trace(frame: FrameType, event: str, _: Any) -> Callable | None:
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        if event == "line":
            seen.append(f"{frame.f_code.co_filename}:{frame.f_lineno}")
            if len(seen) == number:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield seen
    finally:
        sys.settrace(before)


def small() -> ad.AnnData:
    rng = np.random.default_rng(0)
    made = ad.AnnData(np.zeros((80, 1), dtype=np.float32))
    made.obs_names = rng.permutation(80).astype(str)
    made.obsm["X_pca"] = rng.normal(size=(80, 5)).astype(np.float32)
    vc.pp.neighbors(made, n_neighbors=6)
    return made


def test_interrupted_at_any_line(tmp_path: Path) -> None:
    """Whatever line a signal hits, the checkpoint is one of a moment between two epochs, and the record is whole."""
    cells, options = small(), {"n_epochs": [4, 9, 12], "init": "random", "checkpoint_every": 5}
    whole = vc.tl.start(cells, **options, checkpoint=tmp_path / "whole").step(12)
    with interrupt_at_line(0) as lines:
        vc.tl.start(cells, **options, checkpoint=tmp_path / "other").step(12)
    first = next(number for number, line in enumerate(lines, start=1) if line.startswith(BACKENDS))
    numbers = np.unique(np.linspace(first, len(lines), 60).astype(int))
    of_one_epoch = [number for number, line in enumerate(lines, start=1) if line.startswith(BACKENDS)][-12:]
    for number in [*numbers, *of_one_epoch]:
        path = tmp_path / f"run{number}"
        with interrupt_at_line(number) as seen, pytest.raises(KeyboardInterrupt):
            vc.tl.start(cells, **options, checkpoint=path).step(12)
        resumed = vc.tl.start(cells, **options, checkpoint=path)
        resumed.step(12 - resumed.epoch)
        assert np.array_equal(resumed.layout, whole.layout), seen[-1]
        resumed.finish()
        np.testing.assert_array_equal(resumed.loss.total, whole.loss.total, seen[-1])
        assert cells.uns["umap"]["snapshot_epochs"].tolist() == [4, 9, 12], seen[-1]
    assert not list(tmp_path.glob(".*")), "something unfinished was left"


@pytest.mark.parametrize("chunks", [(17, 33), (1, 48, 1), (5,) * 10, (50,)])
@pytest.mark.parametrize("every", [None, 1, 7, 50])
def test_any_chunking_of_steps_and_checkpoints(tmp_path: Path, chunks: tuple[int, ...], every: int | None) -> None:
    cells, path = small(), tmp_path / "run.ckpt"
    whole = vc.tl.start(cells, n_epochs=50, init="random").step(50)
    for n_epochs in chunks:
        run = vc.tl.start(cells, n_epochs=50, init="random", checkpoint=path, checkpoint_every=every)
        run.step(min(50 - run.epoch, n_epochs))
        run.save(path)
    resumed = vc.tl.start(cells, n_epochs=50, init="random", checkpoint=path, n_jobs=1)
    assert resumed.epoch == 50
    np.testing.assert_array_equal(resumed.layout, whole.layout)


class TestWhenItIsWritten:
    @pytest.mark.parametrize(
        ("n_epochs", "every", "expected"),
        [(50, None, [5 * n for n in range(1, 11)]), (7, None, list(range(1, 8))), (50, 20, [20, 40]), (0, None, [])],
    )
    def test_every_n_epochs(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        n_epochs: int,
        every: int | None,
        expected: list[int],
    ) -> None:
        written: list[int] = []
        save = _keeper.save_checkpoint

        def note(path: str, run: Any) -> None:
            save(path, run)
            written.append(epoch_in(Path(path)))

        monkeypatch.setattr(_keeper, "save_checkpoint", note)
        vc.tl.embed(small(), n_epochs=n_epochs, checkpoint=tmp_path / "run", checkpoint_every=every)
        assert written == expected
        assert list(tmp_path.iterdir()) == []

    def test_a_full_disk_costs_the_checkpoint_only(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        def full(_: int) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(os, "fsync", full)
        cells = small()
        vc.tl.embed(cells, n_epochs=4, checkpoint=tmp_path / "run", checkpoint_every=4)
        assert "X_umap" in cells.obsm and "could not be written at epoch 4" in caplog.text
        assert list(tmp_path.iterdir()) == []

    def test_the_link_stays_and_the_file_goes(self, tmp_path: Path) -> None:
        (tmp_path / "link").symlink_to(tmp_path / "real")
        run = vc.tl.start(small(), n_epochs=4, checkpoint=tmp_path / "link").step(4)
        assert (tmp_path / "real").exists()
        run.finish()
        assert not (tmp_path / "real").exists() and (tmp_path / "link").is_symlink()

    def test_its_seconds_are_counted(self, tmp_path: Path) -> None:
        cells, path = small(), tmp_path / "run"
        vc.tl.start(cells, n_epochs=20, checkpoint=path).step(20)
        spent = read_checkpoint(path).manifest.extra["history"]["seconds"]["optimizer"]
        vc.tl.embed(cells, n_epochs=20, checkpoint=path)
        assert cells.uns["umap"]["timings"]["optimizer"] >= spent > 0


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"checkpoint_every": 5}, "checkpoint=PATH"),
            ({"checkpoint": "run", "checkpoint_every": 0}, "checkpoint_every=0"),
            ({"checkpoint": "run", "checkpoint_every": -3}, "checkpoint_every=-3"),
            ({"checkpoint": "run", "checkpoint_every": 2.0}, "checkpoint_every=2.0"),
            ({"checkpoint": "run", "checkpoint_every": True}, "checkpoint_every=True"),
            ({"checkpoint": "absent/run"}, "there is no folder"),
            ({"checkpoint": "."}, "is a folder"),
            ({"checkpoint": ""}, "path of a file"),
            ({"checkpoint": 7}, "path of a file"),
            ({"checkpoint": b"run"}, "path of a file"),
        ],
    )
    @pytest.mark.parametrize("function", [vc.tl.embed, vc.tl.start, vc.tl.plan])
    def test_arguments_before_any_work(
        self,
        function: Callable,
        options: dict,
        said: str,
        adata: ad.AnnData,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(Run, "__init__", lambda *_, **__: pytest.fail("began to work"))
        with pytest.raises(InputError, match=re.escape(said)):
            function(adata, **options)
        assert list(tmp_path.iterdir()) == []

    @pytest.mark.parametrize("content", [b"", b"not a zip", None], ids=["empty", "text", "cut"])
    def test_a_damaged_file_before_any_work(
        self, content: bytes | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        cells, path = small(), tmp_path / "run"
        vc.tl.start(cells, n_epochs=5).step(3).save(path)
        path.write_bytes(path.read_bytes()[:-300] if content is None else content)
        before = path.read_bytes()
        monkeypatch.setattr(Run, "__init__", lambda *_, **__: pytest.fail("began to work"))
        with pytest.raises(ModelError, match="checkpoint: .*Remove the file to start afresh"):
            vc.tl.embed(cells, n_epochs=5, checkpoint=path)
        assert path.read_bytes() == before and "X_umap" not in cells.obsm

    @pytest.mark.parametrize(
        ("changed", "said"),
        [
            ({"min_dist": 0.1}, "min_dist was 0.5, is 0.1"),
            ({"n_epochs": 9}, "n_epochs was 5, is 9"),
            ({"n_epochs": [2, 5]}, "other data or arguments"),
            ({"random_state": 1}, "random_state was 0, is 1"),
            ({"init": np.zeros((80, 2))}, "other data or arguments"),
            ({"fixed": np.arange(80) < 3}, "n_fixed was None, is 3"),
        ],
    )
    def test_other_arguments(self, changed: dict, said: str, tmp_path: Path) -> None:
        cells, path = small(), tmp_path / "run"
        vc.tl.start(cells, n_epochs=5).step(3).save(path)
        before = path.read_bytes()
        with pytest.raises(ModelError, match=said):
            vc.tl.embed(cells, **{"n_epochs": 5, **changed}, checkpoint=path)
        assert path.read_bytes() == before and "X_umap" not in cells.obsm

    @pytest.mark.parametrize("what", ["representation", "graph", "positions", "fixed"])
    def test_other_data(self, what: str, tmp_path: Path) -> None:
        cells, path = small(), tmp_path / "run"
        cells.obsm["X_first"] = np.random.default_rng(1).normal(size=(80, 2))
        cells.obs["pinned"] = np.arange(80) < 10
        options = {"n_epochs": 5, "init": "X_first", "fixed": "pinned"}
        vc.tl.start(cells, **options).step(3).save(path)
        if what == "representation":
            cells.obsm["X_pca"][3, 1] += 0.1
        elif what == "graph":
            cells.obsp["connectivities"].data[4] *= 0.99
        elif what == "positions":
            cells.obsm["X_first"][70, 0] += 0.1
        else:
            cells.obs["pinned"] = np.arange(80) >= 70
        with pytest.raises(ModelError, match="other data or arguments;"):
            vc.tl.start(cells, **options, checkpoint=path)

    def test_a_model_is_no_checkpoint(self, tmp_path: Path) -> None:
        cells, path = small(), tmp_path / "model.zip"
        vc.tl.embed(cells, n_epochs=5)
        vc.models.save(cells, path)
        with pytest.raises(ModelError, match="is a model, not a checkpoint"):
            vc.tl.embed(cells, n_epochs=5, checkpoint=path)
        assert vc.models.load(path).n_landmarks == 80

    @pytest.mark.parametrize(
        ("forged", "said"),
        [
            ({"epoch": 99}, "states what cannot be"),
            ({"epoch": "two"}, r"history\['epoch'\] is a str, expected an integer"),
            ({"losses": [1, 2]}, r"history\['losses'\] is a list, expected an object"),
            ({"losses": {"1": None}}, r"history\['losses'\]\['1'\] is None, expected an object"),
            ({"called_back": None}, r"history\['called_back'\] is None, expected an integer"),
            ({"seconds": {"optimizer": "fast"}}, r"history\['seconds'\]\['optimizer'\] is a str, expected a number"),
        ],
    )
    def test_a_record_that_cannot_be(self, forged: dict, said: str, tmp_path: Path) -> None:
        cells, path = small(), tmp_path / "run"
        vc.tl.start(cells, n_epochs=5).step(3).save(path)
        saved = read_checkpoint(path)
        extra = {**saved.manifest.extra, "history": {**saved.manifest.extra["history"], **forged}}
        store.save(store.Model(dataclasses.replace(saved.manifest, extra=extra), saved.arrays), path)
        with pytest.raises(ModelError, match=said):
            vc.tl.embed(cells, n_epochs=5, checkpoint=path)


def test_neighbours_that_do_not_repeat_are_taken_up_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Wavering:
        """Leaves out another neighbour each time."""

        calls = 0

        def __init__(self) -> None:
            self.params = None

        def build(self, request: Any) -> Any:
            Wavering.calls += 1
            found = NearestNeighbors(n_neighbors=request.k + 2).fit(request.representation)
            distances, indices = found.kneighbors(request.representation)
            keep = [1, *range(2 + Wavering.calls % 2, request.k + 1 + Wavering.calls % 2)]
            self.found = Neighbors(
                indices=indices[:, keep].astype(np.int32), distances=distances[:, keep].astype(np.float32)
            )
            return self

        def neighbors(self) -> Neighbors:
            return self.found

    cells, path = small(), tmp_path / "run"
    options = {"n_epochs": 5, "n_neighbors": 6, "checkpoint": path}
    vc.tl.start(cells, **options, knn=Wavering()).step(3)
    vc.tl.embed(cells, **options, knn=Wavering())
    assert "not quite those of the checkpoint" in caplog.text
    assert cells.obsm["X_umap"].shape == (80, 2) and not path.exists()


class TestCtrlC:
    def interrupted(self, cells: ad.AnnData, **options: Any) -> str:
        def interrupt(epoch: int, *_: Any) -> None:
            if epoch >= 10:
                signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt) as found:
            vc.tl.embed(cells, n_epochs=40, callbacks=interrupt, **options)
        return str(found.value)

    def test_nothing_is_kept_without_a_checkpoint(self, caplog: pytest.LogCaptureFixture) -> None:
        cells = small()
        with caplog.at_level("INFO", logger="vicinal"):
            said = self.interrupted(cells)
        assert said == "interrupted at epoch 10 of 40; nothing was kept; checkpoint=PATH keeps what is done"
        assert said in caplog.text
        assert "X_umap" not in cells.obsm and "umap" not in cells.uns

    def test_a_checkpoint_is_written_at_that_moment(self, tmp_path: Path) -> None:
        cells, path = small(), tmp_path / "run"
        said = self.interrupted(cells, checkpoint=path, checkpoint_every=40)
        assert said.startswith("interrupted at epoch 10 of 40; to go on") and repr(str(path)) in said
        assert epoch_in(path) == 10 and "X_umap" not in cells.obsm
        heard: list[int] = []
        vc.tl.embed(cells, n_epochs=40, checkpoint=path, callbacks=lambda epoch, *_: heard.append(epoch))
        assert heard == list(range(10, 41, 2)), "the callback that was interrupted is called again"
        vc.tl.embed(cells, n_epochs=40, key_added="whole")
        assert sha256(cells, "X_umap") == sha256(cells, "whole")

    def test_before_the_optimisation(self, tmp_path: Path) -> None:
        class Slow:
            def place(self, request: Any) -> None:
                signal.raise_signal(signal.SIGINT)

        cells, path = small(), tmp_path / "run"
        vc.tl.start(cells, n_epochs=40).step(3).save(path)
        before = path.read_bytes()
        with pytest.raises(KeyboardInterrupt, match="before the optimisation; nothing was kept"):
            vc.tl.embed(cells, init=Slow())
        with pytest.raises(KeyboardInterrupt, match="before the optimisation; checkpoint .* is as it was"):
            vc.tl.embed(cells, n_epochs=40, init=Slow(), checkpoint=path)
        assert path.read_bytes() == before

    @pytest.mark.parametrize("earlier", [None, np.ones((80, 2), dtype=np.float32)], ids=["first", "again"])
    def test_while_the_map_is_written(self, earlier: np.ndarray | None) -> None:
        class Interrupting(UserDict):
            def __iter__(self) -> Iterator:
                raise KeyboardInterrupt

        cells = small()
        if earlier is not None:
            cells.obsm["X_umap"] = earlier
        with pytest.raises(KeyboardInterrupt):
            put_map(cells, np.zeros((80, 2)), Interrupting(), MapKeys("X_umap", "umap"), copy=False)
        assert ("X_umap" in cells.obsm) == (earlier is not None) and "umap" not in cells.uns
        assert earlier is None or np.array_equal(cells.obsm["X_umap"], earlier)

    def test_a_run_by_hand_goes_on(self) -> None:
        interrupts = iter([signal.SIGINT])

        def interrupt(epoch: int, *_: Any) -> None:
            if epoch == 10:
                for number in interrupts:
                    signal.raise_signal(number)

        cells = small()
        run = vc.tl.start(cells, n_epochs=40, callbacks=interrupt)
        with pytest.raises(KeyboardInterrupt, match="epoch 10 of 40; the run can go on from there"):
            run.step(40)
        run.finish()
        vc.tl.embed(cells, n_epochs=40, key_added="whole")
        assert sha256(cells, "X_umap") == sha256(cells, "whole")
