from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace

import pytest

from vicinal import plugins
from vicinal.api import BackendSpec, Capabilities, Preset, hookimpl
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
    module.Index = Index
    monkeypatch.setitem(sys.modules, "indexes_for_tests", module)
    usable, gone, poor = knn("usable"), knn("gone", "no_such_module:Class"), knn("poor", requires=("no_such_module",))
    installed(entry("theirs", usable, gone, poor, Preset(api_version=1, name="mine")))
    assert set(plugins.list()["status"]) == {"ok"}
    checked = plugins.check().set_index("name")
    assert checked["status"].to_dict() == {"usable": "ok", "gone": "unusable", "poor": "unusable", "mine": "ok"}
    assert "cannot be imported" in checked["error"]["gone"]
    assert "pip install no_such_module" in checked["error"]["poor"]


def test_check_lists_broken_plugins_too(installed):
    installed(entry("bad", failure=SystemExit(1)))
    assert [*plugins.check()["status"]] == ["broken"]
