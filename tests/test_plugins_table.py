from __future__ import annotations

import sys
from dataclasses import dataclass
from types import ModuleType, SimpleNamespace

import pytest

from vicinal import plugins
from vicinal.api import BackendSpec, Capabilities, InputError, PluginError, Preset, hookimpl
from vicinal.plugin.manager import Manager


class Index:
    def build(self, request):
        return request


def entry(distribution, *specs, failure=None):
    @hookimpl
    def vicinal_register(host_api):
        if failure:
            raise failure
        return list(specs)

    loaded = SimpleNamespace(vicinal_register=vicinal_register)
    dist = SimpleNamespace(name=distribution, version="3.1")
    return SimpleNamespace(name="main", value="module", dist=dist, load=lambda: loaded)


@pytest.fixture
def installed(monkeypatch):
    """Let the tables be about given entry points alone."""

    def install(*entry_points):
        found = Manager(entry_points=entry_points, builtin_modules=())
        monkeypatch.setattr(plugins, "get_manager", lambda: found)

    return install


def knn(name, target="indexes_for_tests:Index", **fields):
    return BackendSpec(api_version=1, stage="knn", name=name, target=target, **fields)


def rows(table):
    return table.astype(object).where(table.notna(), None).to_dict("records")


def test_a_row_for_each_backend_and_preset(installed):
    fast = knn("fast", summary="in no time", capabilities=Capabilities(deterministic=True))
    installed(entry("theirs", fast, Preset(api_version=1, name="mine", summary="a method")))
    assert rows(plugins.list()) == [
        {
            "stage": "knn",
            "name": "fast",
            "distribution": "theirs",
            "version": "3.1",
            "deterministic": True,
            "summary": "in no time",
            "status": "ok",
            "error": "",
        },
        {
            "stage": "method",
            "name": "mine",
            "distribution": "theirs",
            "version": "3.1",
            "deterministic": None,
            "summary": "a method",
            "status": "ok",
            "error": "",
        },
    ]


def test_names_are_those_a_user_must_give(installed):
    installed(entry("one", knn("fast")), entry("two", knn("fast"), knn("slow")))
    assert [*plugins.list()["name"]] == ["fast@one", "fast@two", "slow"]


def test_a_row_for_each_plugin_left_out(installed, monkeypatch):
    monkeypatch.setenv("VICINAL_DISABLE_PLUGINS", "unwanted")
    installed(entry("bad", failure=ImportError("no torch")), entry("unwanted", knn("fast")))
    table = plugins.list()[["stage", "name", "distribution", "status", "error"]]
    assert [tuple(row) for row in table.itertuples(index=False)] == [
        ("", "main = module", "bad", "broken", "ImportError: no torch"),
        ("", "main = module", "unwanted", "disabled", "listed in VICINAL_DISABLE_PLUGINS"),
    ]


def test_an_empty_table_has_its_columns(installed):
    installed()
    assert plugins.list().empty
    assert [*plugins.list().columns] == [*plugins.COLUMNS]


def test_check_says_which_backends_cannot_be_used(installed, monkeypatch):
    module = ModuleType("indexes_for_tests")
    module.Index = type("Index", (Built,), {"failure": None})
    monkeypatch.setitem(sys.modules, "indexes_for_tests", module)
    usable, gone, poor = knn("usable"), knn("gone", "no_such_module:Class"), knn("poor", requires=("no_such_module",))
    installed(entry("theirs", usable, gone, poor, Preset(api_version=1, name="mine")))
    assert set(plugins.list()["status"]) == {"ok"}
    checked = plugins.check().set_index("name")
    assert checked["status"].to_dict() == {"usable": "ok", "gone": "unusable", "poor": "unusable", "mine": "ok"}
    assert "cannot be imported" in checked["error"]["gone"]
    assert "pip install no_such_module" in checked["error"]["poor"]


@dataclass(frozen=True, kw_only=True)
class Depth:
    depth: int = 3


@dataclass(frozen=True, kw_only=True)
class NoDefault:
    depth: int


class Built(Index):
    """Raises what it is told to when it is built."""

    failure: BaseException | None = None
    params: object = None

    def __init__(self, params):
        type(self).params = params
        if self.failure is not None:
            raise self.failure


@pytest.mark.parametrize(
    ("failure", "status", "error"),
    [
        (None, "ok", ""),
        (InputError("give depth="), "ok", ""),
        (ZeroDivisionError("none"), "unusable", "cannot be built with its default parameters: ZeroDivisionError: none"),
        (SystemExit(3), "unusable", "cannot be built with its default parameters: SystemExit: 3"),
        (PluginError("no GPU here"), "unusable", "no GPU here"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_check_builds_with_default_parameters(installed, monkeypatch, failure, status, error):
    module = ModuleType("indexes_for_tests")
    module.Index = type("Index", (Built,), {"failure": failure})
    monkeypatch.setitem(sys.modules, "indexes_for_tests", module)
    installed(entry("theirs", knn("fast", params=Depth)))
    assert rows(plugins.list())[0]["status"] == "ok"
    assert module.Index.params is None
    (row,) = rows(plugins.check())
    assert module.Index.params == Depth(depth=3)
    assert row["status"] == status
    assert error in row["error"] and bool(row["error"]) == bool(error)


def test_check_builds_nothing_that_needs_parameters(installed, monkeypatch):
    module = ModuleType("indexes_for_tests")
    module.Index = type("Index", (Built,), {"failure": ZeroDivisionError()})
    monkeypatch.setitem(sys.modules, "indexes_for_tests", module)
    installed(entry("theirs", knn("fast", params=NoDefault)))
    assert [*plugins.check()["status"]] == ["ok"]


def test_check_is_content_with_every_built_in_backend():
    checked = plugins.check()
    assert set(checked["status"][checked["distribution"] == "vicinal"]) == {"ok"}


def test_check_does_not_hold_an_interrupt_up(installed, monkeypatch):
    module = ModuleType("indexes_for_tests")
    module.Index = type("Index", (Built,), {"failure": KeyboardInterrupt()})
    monkeypatch.setitem(sys.modules, "indexes_for_tests", module)
    installed(entry("theirs", knn("fast")))
    with pytest.raises(KeyboardInterrupt):
        plugins.check()


def test_check_lists_broken_plugins_too(installed):
    installed(entry("bad", failure=SystemExit(1)))
    assert [*plugins.check()["status"]] == ["broken"]
