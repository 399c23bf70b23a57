"""How many threads are used, by environments and files of a system that are made up."""

from __future__ import annotations

import subprocess
import sys

import anndata as ad
import numpy as np
import pytest

import vicinal as vc
from vicinal.contract.errors import InputError
from vicinal.kernels import processors
from vicinal.kernels.processors import LIMITS, available_threads, threads_for


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """64 processors, no limits; returns what writes a file of the system."""
    monkeypatch.setattr(processors, "ROOT", tmp_path)
    monkeypatch.setattr(processors.os, "sched_getaffinity", lambda _: set(range(64)), raising=False)
    for name in LIMITS:
        monkeypatch.delenv(name, raising=False)

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    return write


def test_without_limits_all_processors(machine):
    assert available_threads() == 64


@pytest.mark.parametrize("name", LIMITS)
def test_what_the_user_or_the_batch_system_says(machine, monkeypatch, name):
    monkeypatch.setenv(name, "3")
    assert available_threads() == 3
    assert processors.processors() == 64


@pytest.mark.parametrize(
    "value, threads", [("4,2", 4), (" 5 ", 5), ("", 64), ("0", 64), ("many", 64), ("²", 64), ("900", 64)]
)
def test_values_of_the_environment(machine, monkeypatch, value, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", value)
    assert available_threads() == threads


@pytest.mark.parametrize(
    "limit, threads", [("200000 100000", 2), ("150000 100000", 2), ("1000 100000", 1), ("max 100000", 64)]
)
def test_the_quota_of_a_container(machine, limit, threads):
    machine("proc/self/cgroup", "0::/\n")
    machine("sys/fs/cgroup/cpu.max", f"{limit}\n")
    assert available_threads() == threads


def test_of_nested_groups_the_least(machine):
    machine("proc/self/cgroup", "0::/slice/job/step\n")
    machine("sys/fs/cgroup/slice/job/step/cpu.max", "max 100000\n")
    machine("sys/fs/cgroup/slice/job/cpu.max", "800000 100000\n")
    machine("sys/fs/cgroup/slice/cpu.max", "300000 100000\n")
    assert available_threads() == 3


@pytest.mark.parametrize("folder", ["cpu", "cpu,cpuacct"])
@pytest.mark.parametrize("group", ["/docker/0123abc", "/"])
def test_a_group_of_version_1(machine, folder, group):
    machine("proc/self/cgroup", f"4:memory:/\n3:cpu,cpuacct:{group}\n0::/\n")
    machine(f"sys/fs/cgroup/{folder}{group}/cpu.cfs_quota_us", "400000\n")
    machine(f"sys/fs/cgroup/{folder}{group}/cpu.cfs_period_us", "100000\n")
    assert available_threads() == 4


def test_a_group_of_version_1_without_a_quota(machine):
    machine("proc/self/cgroup", "3:cpu,cpuacct:/\n")
    machine("sys/fs/cgroup/cpu/cpu.cfs_quota_us", "-1\n")
    machine("sys/fs/cgroup/cpu/cpu.cfs_period_us", "100000\n")
    assert available_threads() == 64


def test_files_that_cannot_be_understood_limit_nothing(machine):
    machine("proc/self/cgroup", "0::/\nnonsense\n3:cpu\n")
    machine("sys/fs/cgroup/cpu.max", "many\n")
    assert available_threads() == 64


def test_none_and_minus_one_are_all_that_are_available_and_a_number_is_itself(machine, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert [threads_for(given) for given in (None, -1, 1, 9)] == [3, 3, 1, 9]


@pytest.fixture
def cells(rng):
    return ad.AnnData(rng.normal(size=(80, 5)).astype(np.float32))


def test_a_plan_names_the_threads_that_minus_one_stands_for(machine, monkeypatch, cells):
    monkeypatch.setenv("NUMBA_NUM_THREADS", "7")
    assert [vc.tl.plan(cells, n_jobs=n).n_jobs for n in (None, -1, 2)] == [7, 7, 2]


@pytest.mark.parametrize("n_jobs", [0, -2, 1.5, True, "all"])
def test_other_values_are_refused(cells, n_jobs):
    with pytest.raises(InputError, match="^n_jobs=.* is not allowed"):
        vc.tl.embed(cells, n_jobs=n_jobs)


def test_a_fresh_process_hears_the_environment(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    code = "import vicinal.api as api; print(api.available_threads())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
