"""How much memory there is, by files of a system that is made up."""

from __future__ import annotations

import pytest

from vicinal.pipeline import memory
from vicinal.pipeline.memory import Memory, available_memory

GIB = 2**30
MEMINFO = "MemTotal: 67108864 kB\nMemFree: 1000 kB\nMemAvailable: 33554432 kB\nSwapTotal: 0 kB\nSwapFree: 1048576 kB\n"
UNLIMITED = 9223372036854771712


@pytest.fixture
def system(tmp_path, monkeypatch):
    monkeypatch.setattr(memory, "ROOT", tmp_path)

    def write(name, text):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(text))

    return write


def group(system, folder, names, most, used, stat):
    for name, value in zip(names, (most, used), strict=True):
        system(f"{folder}/{name}", value)
    system(f"{folder}/memory.stat", stat)


VERSION_1 = ("memory.limit_in_bytes", "memory.usage_in_bytes")
VERSION_2 = ("memory.max", "memory.current")


def test_of_the_host(system):
    system("proc/meminfo", MEMINFO)
    assert available_memory() == Memory(32 * GIB, 1 * GIB)


def test_of_a_group_and_of_those_above_it_the_least(system):
    system("proc/meminfo", MEMINFO)
    system("proc/self/cgroup", "0::/slice/job\n")
    group(system, "sys/fs/cgroup/slice/job", VERSION_2, "max", 3 * GIB, "inactive_file 0\n")
    group(system, "sys/fs/cgroup/slice", VERSION_2, 8 * GIB, 3 * GIB, f"anon 5\nactive_file {GIB}\ninactive_file 0\n")
    assert available_memory() == Memory(6 * GIB, 1 * GIB)


def test_of_a_group_of_version_1(system):
    system("proc/meminfo", MEMINFO)
    system("proc/self/cgroup", "9:name=systemd:/\n4:cpu,memory:/job\n0::/\n")
    group(system, "sys/fs/cgroup/memory/job", VERSION_1, 4 * GIB, 3 * GIB, f"total_inactive_file {2 * GIB}\n")
    group(system, "sys/fs/cgroup/memory", VERSION_1, UNLIMITED, 9 * GIB, "total_inactive_file 0\n")
    assert available_memory() == Memory(3 * GIB, 1 * GIB)


def test_in_a_container_that_sees_its_own_group_as_the_base(system):
    system("proc/meminfo", MEMINFO)
    system("proc/self/cgroup", "4:memory:/docker/0123abc\n")
    group(system, "sys/fs/cgroup/memory", VERSION_1, 2 * GIB, 1 * GIB, "total_cache 0\n")
    assert available_memory().free == 1 * GIB


def test_more_used_than_allowed_is_none_left(system):
    system("proc/meminfo", MEMINFO)
    system("proc/self/cgroup", "0::/\n")
    group(system, "sys/fs/cgroup", VERSION_2, 1 * GIB, 2 * GIB, "")
    assert available_memory().free == 0


@pytest.mark.parametrize("text", ["", "nonsense", "0::/\nx\n::\n4:memory:/../..\n"])
def test_files_that_say_nothing(system, text):
    system("proc/meminfo", MEMINFO)
    system("proc/self/cgroup", text)
    assert available_memory().free == 32 * GIB


def test_elsewhere_the_whole_memory(system, monkeypatch):
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__, raising=False)
    assert available_memory() == Memory(4_096_000)


def test_where_nothing_is_known(system, monkeypatch):
    monkeypatch.delattr("os.sysconf", raising=False)
    assert available_memory() is None
