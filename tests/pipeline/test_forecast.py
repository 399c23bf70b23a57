"""What a plan says of memory and time, against what is measured."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import vicinal as vc
from vicinal import _warmup
from vicinal.pipeline import calibration
from vicinal.pipeline.forecast import CODE, COSTS, shown_bytes, shown_seconds

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MIB = 2**20


def cells(n, d=8, dtype=np.float32):
    made = ad.AnnData(np.zeros((n, 1), dtype=np.float32))
    made.obsm["X_pca"] = np.random.default_rng(0).normal(size=(n, d)).astype(dtype)
    return made


def forecast(adata, **arguments):
    return vc.tl.plan(adata, **arguments).forecast


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("VICINAL_CACHE", str(tmp_path))
    return tmp_path / "calibration.json"


@pytest.fixture
def calibrated(cache):
    calibration.write_calibration(dict.fromkeys(COSTS, 1e-9))


class TestMemory:
    def test_more_cells_columns_and_neighbors_take_more(self):
        few = forecast(cells(20_000), init="pca").peak
        assert few < forecast(cells(30_000), init="pca").peak
        assert few < forecast(cells(20_000, 40), init="pca").peak
        assert few < forecast(cells(20_000), init="pca", n_neighbors=40).peak

    def test_the_peak_is_that_of_the_largest_stage_and_of_code(self):
        found = forecast(cells(20_000))
        assert found.peak == CODE + max(found.stage_peaks.values())
        assert set(found.stage_peaks) == {"sort", "knn", "graph", "init", "optimizer", "score"}

    def test_rows_in_order_are_not_copied(self):
        unsorted = cells(20_000)
        ordered = cells(20_000)
        ordered.obs_names = [f"{i:05d}" for i in range(20_000)]
        rows = unsorted.obsm["X_pca"].nbytes
        assert forecast(ordered).stage_peaks["sort"] == 0
        assert forecast(unsorted).stage_peaks["knn"] - forecast(ordered).stage_peaks["knn"] >= rows

    def test_rows_stored_in_another_form_count_and_are_taken_when_the_plan_is_made(self):
        own, other = forecast(cells(20_000)), forecast(cells(20_000, dtype=np.float64))
        assert own.read == 0
        assert other.read == 20_000 * 8 * 4
        assert other.peak - own.peak == other.read

    def test_stored_edges_are_counted(self):
        adata = cells(2000)
        vc.pp.neighbors(adata, n_neighbors=5)
        few = forecast(adata).stage_peaks["sort"]
        vc.pp.neighbors(adata, n_neighbors=50)
        more, n_edges = forecast(adata).stage_peaks["sort"], adata.obsp["connectivities"].nnz
        assert more > 5 * few
        assert more == pytest.approx(16 * n_edges, rel=0.1)

    def test_edges_weighed_by_labels_are_counted(self):
        adata = cells(20_000)
        adata.obs["group"] = np.arange(20_000) % 3
        vc.pp.neighbors(adata)
        plain, labelled = forecast(adata), forecast(adata, labels="group")
        for stage in ("graph", "optimizer"):
            assert labelled.stage_peaks[stage] > plain.stage_peaks[stage] + 8 * adata.obsp["connectivities"].nnz

    def test_metrics_that_hold_many_distances_at_a_time_take_more(self):
        few, many = (forecast(cells(6000), metric=metric).stage_peaks["knn"] for metric in ("euclidean", "braycurtis"))
        assert many > few + 8 * 6000**2

    def test_the_map_of_a_sample_counts(self):
        small, large = (
            forecast(cells(20_000), init="sample_place", n_epochs=0, sample_size=size) for size in (500, 15_000)
        )
        assert large.stage_peaks["init"] > 3 * small.stage_peaks["init"]
        assert "knn" not in small.stage_peaks

    def test_what_is_not_ours_is_named_and_left_out(self):
        class Mine:
            def build(self, request):
                raise AssertionError("ran")

        found = forecast(cells(500), knn=Mine())
        assert found.unknown == (f"knn Mine@{__name__}",)
        assert str(found).startswith("at least") and f"unknown: knn Mine@{__name__}" in str(found)

    def test_a_plan_of_one_cell_has_a_forecast(self):
        assert forecast(cells(1)).peak >= CODE


MEASURE = """
import json, sys
sys.path.insert(0, {benchmarks!r})
import numpy as np
import anndata as ad
import vicinal as vc
from peers.peak import most, watch
{load}
adata = ad.AnnData(np.zeros((len(values), 1), dtype=np.float32), obsm={{"X_pca": values}})
plan = vc.tl.plan(adata, **{arguments!r}).forecast
held = watch()
vc.tl.embed(adata, **{arguments!r})
print(plan.peak, most() - held)
"""
FASHION = "values = np.load({file!r})['X_pca'][:{n}].astype(np.float32)"
GROUPS = """
draw = np.random.default_rng(0)
values = draw.normal(size=({n}, {d})).astype(np.float32)
values += draw.normal(scale=3, size=(30, {d})).astype(np.float32)[draw.integers(30, size={n})]
"""


def measured(load, **arguments):
    """Return forecast and measured bytes of a map made in a process of its own."""
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("the most memory a process held can be read on Linux only")
    code = MEASURE.format(benchmarks=str(BENCHMARKS), load=load, arguments=arguments)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return tuple(map(int, done.stdout.split()))


def test_peak_of_20_000_cells(data_dir):
    load = FASHION.format(file=str(data_dir / "fashion_mnist_pca50.npz"), n=20_000)
    expected, found = measured(load, n_epochs=5)
    assert expected == pytest.approx(found, rel=0.25)


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [{}, {"n_neighbors": 50}, {"metric": "cosine", "init": "pca"}])
def test_peak_of_70_000_cells(data_dir, arguments):
    load = FASHION.format(file=str(data_dir / "fashion_mnist_pca50.npz"), n=70_000)
    expected, found = measured(load, n_epochs=5, **arguments)
    assert expected == pytest.approx(found, rel=0.25)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("n", "d", "arguments"),
    [
        (200_000, 50, {"init": "spectral"}),
        (200_000, 50, {"init": "sample_place"}),
        (200_000, 50, {"init": "sample_place", "n_epochs": 0}),
        (600_000, 8, {"init": "pca"}),
    ],
)
def test_peak_of_many_cells(n, d, arguments):
    expected, found = measured(GROUPS.format(n=n, d=d), **{"n_epochs": 2, **arguments})
    assert expected == pytest.approx(found, rel=0.25)


@pytest.mark.slow
def test_peak_from_stored_neighbors(tmp_path):
    adata = cells(300_000)
    vc.pp.neighbors(adata, n_neighbors=30)
    adata.write_h5ad(tmp_path / "cells.h5ad")
    load = f"stored = ad.read_h5ad({str(tmp_path / 'cells.h5ad')!r}); values = stored.obsm['X_pca']"
    code = MEASURE.replace("plan = vc", "adata = stored\nplan = vc")
    done = subprocess.run(
        [sys.executable, "-c", code.format(benchmarks=str(BENCHMARKS), load=load, arguments={"n_epochs": 2})],
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    expected, found = map(int, done.stdout.split())
    assert expected == pytest.approx(found, rel=0.25)


class TestTime:
    def test_without_a_calibration_it_says_how_to_get_one(self, cache):
        adata = cells(300)
        assert forecast(adata).seconds is None
        assert "run `vicinal warmup` once for a forecast of time" in str(vc.tl.plan(adata))

    def test_it_is_the_sum_of_the_stages(self, calibrated):
        found = forecast(cells(300))
        assert found.seconds == pytest.approx(sum(found.stage_seconds.values()))
        assert set(found.stage_seconds) == set(found.stage_peaks) - {"sort"}

    def test_epochs_and_cells_take_longer_and_threads_shorten(self, calibrated, monkeypatch):
        monkeypatch.setattr("vicinal.pipeline.forecast.processors", lambda: 8)
        adata = cells(300)
        base = forecast(adata, n_epochs=100, n_jobs=1).stage_seconds["optimizer"]
        assert forecast(adata, n_epochs=200, n_jobs=1).stage_seconds["optimizer"] > 1.5 * base
        assert forecast(adata, n_epochs=100, n_jobs=4).stage_seconds["optimizer"] < 0.5 * base
        assert forecast(adata, n_jobs=8).seconds == forecast(adata, n_jobs=64).seconds
        assert forecast(cells(900), n_jobs=1).seconds > 2 * forecast(adata, n_jobs=1).seconds

    def test_the_epochs_of_the_map_of_a_sample_count(self, cache):
        calibration.write_calibration({**dict.fromkeys(COSTS, 1e-12), "optimizer numba_sgd": 1e-9})
        adata = cells(3000)
        short, long = (
            forecast(adata, init="sample_place", n_epochs=0, sample_params={"n_epochs": n}).seconds for n in (10, 1000)
        )
        assert long > 3 * short

    def test_loading_code_counts_once(self, cache):
        arguments = {"init": "sample_place", "n_epochs": 0}
        calibration.write_calibration(dict.fromkeys(COSTS, 1e-9))
        before = forecast(cells(300), **arguments).seconds
        calibration.write_calibration({**dict.fromkeys(COSTS, 1e-9), "code": 7.0})
        assert forecast(cells(300), **arguments).seconds == pytest.approx(before + 7)

    def test_a_unit_that_is_missing_leaves_no_sum(self, cache):
        calibration.write_calibration({name: 1e-9 for name in COSTS if name != "init spectral"})
        assert forecast(cells(300)).seconds is None
        assert forecast(cells(300), init="pca").seconds is not None

    def test_it_is_not_recorded_with_the_map(self, calibrated, cache):
        records = []
        for _ in range(2):
            adata = cells(300)
            vc.tl.embed(adata, init="sample_place", n_epochs=1)
            records.append(adata.uns["umap"]["params"]["sub_plans"])
            cache.unlink(missing_ok=True)
        assert records[0] == records[1]

    def test_as_data_it_is_plain(self, calibrated):
        data = json.loads(json.dumps(vc.tl.plan(cells(300)).to_dict()))["forecast"]
        assert data["peak_bytes"] > CODE and data["seconds"] > 0 and data["unknown"] == []


class TestCalibration:
    def test_what_is_written_is_read_and_nothing_else_is_left(self, cache):
        assert calibration.write_calibration({"score": 2e-9}) == cache
        calibration.write_calibration({"score": 3e-9})
        assert calibration.read_calibration() == {"score": 3e-9}
        assert list(cache.parent.iterdir()) == [cache]

    def test_the_folder_is_made(self, tmp_path, monkeypatch):
        monkeypatch.setenv("VICINAL_CACHE", str(tmp_path / "a" / "b"))
        calibration.write_calibration({"score": 2e-9})
        assert calibration.read_calibration() == {"score": 2e-9}

    def test_without_the_variable_it_is_in_the_cache_of_the_user(self, tmp_path, monkeypatch):
        monkeypatch.delenv("VICINAL_CACHE")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
        if sys.platform.startswith("linux"):
            assert calibration.calibration_path() == tmp_path / "vicinal" / "calibration.json"
        assert calibration.calibration_path().parts[-1] == "calibration.json"

    def test_a_write_that_fails_leaves_the_file_as_it_was(self, cache, monkeypatch):
        calibration.write_calibration({"score": 2e-9})

        def refuse(*_):
            raise OSError("disk full")

        monkeypatch.setattr("os.replace", refuse)
        with pytest.raises(OSError, match="disk full"):
            calibration.write_calibration({"score": 3e-9})
        monkeypatch.undo()
        assert json.loads(cache.read_text())["seconds"] == {"score": 2e-9}
        assert list(cache.parent.iterdir()) == [cache]

    @pytest.mark.parametrize(
        "content",
        [
            b"",
            b"null",
            b"[]",
            b"\xff\xfe",
            b"{" * 100_000,
            b'{"schema": 1}',
            b'{"schema": 99, "vicinal": "0.1.0", "seconds": {"score": 1.0}}',
            b'{"schema": 1, "vicinal": "0.0.0", "seconds": {"score": 1.0}}',
        ],
    )
    def test_a_file_that_is_none_of_ours_is_as_none(self, cache, content):
        cache.write_bytes(content)
        assert calibration.read_calibration() == {}
        assert forecast(cells(50)).seconds is None

    @pytest.mark.parametrize("seconds", ["[]", "null", '{"score": "x"}', '{"score": null}'])
    def test_seconds_of_another_kind_are_as_none(self, cache, seconds):
        calibration.write_calibration({})
        cache.write_text(cache.read_text().replace("{}", seconds))
        assert calibration.read_calibration() == {}

    def test_units_that_are_no_durations_are_left_out(self, cache):
        calibration.write_calibration({"score": 1e-9, "a": math.nan, "b": -1.0, "c": 0.0, "d": math.inf})
        assert calibration.read_calibration() == {"score": 1e-9}

    def test_a_folder_in_its_place_is_as_none(self, cache):
        cache.mkdir()
        assert calibration.read_calibration() == {}

    def test_every_cost_is_measured(self, monkeypatch):
        monkeypatch.setattr(_warmup, "N_MEASURED", (2500, 5))
        found = _warmup.calibrate()
        assert set(found) == {*COSTS, "code"}
        assert all(seconds > 0 for seconds in found.values())


@pytest.mark.parametrize(
    ("n_bytes", "text"),
    [(0, "0 MiB"), (300 * MIB, "300 MiB"), (1024 * MIB, "1.0 GiB"), (1536 * 2**30, "1,536 GiB")],
)
def test_bytes_as_people_read_them(n_bytes, text):
    assert shown_bytes(n_bytes) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.04, "0.0 s"), (2.34, "2.3 s"), (41.2, "41 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_seconds_as_people_read_them(seconds, text):
    assert shown_seconds(seconds) == text
