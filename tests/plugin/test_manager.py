from __future__ import annotations

import logging
import sys
from importlib import metadata
from types import ModuleType, SimpleNamespace

import pytest

from vicinal.api import BackendSpec, InputError, PluginError, Preset, hookimpl
from vicinal.plugin.manager import Manager


def spec(name="fast", stage="knn", **fields):
    return BackendSpec(**{"api_version": 1, "stage": stage, "name": name, "target": "some.module:Class", **fields})


def plugin(*specs):
    @hookimpl
    def vicinal_register(host_api):
        return list(specs)

    return SimpleNamespace(vicinal_register=vicinal_register)


class Entry:
    """An entry point whose loading is under the test's control."""

    def __init__(self, distribution, loaded, name="entry", version="1.0"):
        self.dist = SimpleNamespace(name=distribution, version=version)
        self.name, self.value, self._loaded = name, "a.module", loaded

    def load(self):
        if isinstance(self._loaded, BaseException):
            raise self._loaded
        return self._loaded


@pytest.fixture(autouse=True)
def no_switches(monkeypatch):
    monkeypatch.delenv("VICINAL_PLUGINS", raising=False)
    monkeypatch.delenv("VICINAL_DISABLE_PLUGINS", raising=False)


@pytest.fixture
def module(monkeypatch):
    """Make a module that can be imported by name."""

    def make(name, **members):
        made = ModuleType(name)
        vars(made).update(members)
        monkeypatch.setitem(sys.modules, name, made)
        return name

    return make


@pytest.fixture
def builtins(module):
    return (
        module("fake_builtins", vicinal_register=plugin(spec("exact"), spec("umap", "objective")).vicinal_register),
    )


def manager(*entry_points, builtin_modules=()):
    return Manager(entry_points=entry_points, builtin_modules=builtin_modules)


def statuses(found):
    return {report.distribution: (report.status, report.error) for report in found.reports}


class TestAdmission:
    def test_builtins_and_third_parties_come_through_the_same_hook(self, builtins):
        found = manager(Entry("Theirs", plugin(spec())), builtin_modules=builtins)
        assert [(e.spec.name, e.distribution, e.builtin) for e in found.entries()] == [
            ("exact", "vicinal", True),
            ("umap", "vicinal", True),
            ("fast", "theirs", False),
        ]
        assert {status for status, _ in statuses(found).values()} == {"ok"}

    @pytest.mark.parametrize(
        ("failure", "shown"),
        [
            (ImportError("no module named 'torch'"), "ImportError: no module named 'torch'"),
            (SystemExit(3), "SystemExit: 3"),
            (SystemExit(), "SystemExit"),
            (RuntimeError("one\n\n  two"), "RuntimeError: one two"),
            (type("Panic", (BaseException,), {})("rust"), "Panic: rust"),
            (type("Mute", (Exception,), {"__str__": lambda self: 1 / 0})(), "Mute: (its message cannot be shown)"),
        ],
    )
    def test_failing_import_is_reported_and_harms_nobody(self, failure, shown):
        found = manager(Entry("bad", failure), Entry("good", plugin(spec())))
        assert statuses(found) == {"bad": ("broken", shown), "good": ("ok", "")}
        assert found.resolve("knn", "fast").distribution == "good"

    def test_traceback_is_kept(self):
        report = manager(Entry("bad", ZeroDivisionError("at import"))).reports[0]
        assert "in load" in report.traceback
        assert "ZeroDivisionError: at import" in report.traceback

    def test_long_problems_are_cut(self):
        assert len(manager(Entry("bad", ValueError("word " * 1000))).reports[0].error) <= 300

    def test_ctrl_c_is_not_a_broken_plugin(self):
        with pytest.raises(KeyboardInterrupt):
            manager(Entry("slow", KeyboardInterrupt()))

    def test_failing_hook_is_reported(self):
        @hookimpl
        def vicinal_register(host_api):
            raise SystemExit("no licence")

        found = manager(Entry("bad", SimpleNamespace(vicinal_register=vicinal_register)))
        assert statuses(found) == {"bad": ("broken", "SystemExit: no licence")}

    @pytest.mark.parametrize(
        ("loaded", "problem"),
        [
            (plugin(spec(), spec()), "registers knn 'fast' twice"),
            (plugin(spec(api_version=99)), "API 99"),
            (plugin("knn"), "returned 'str'"),
            (SimpleNamespace(vicinal_regster=hookimpl(lambda host_api: [])), "unknown hook 'vicinal_regster'"),
            (SimpleNamespace(vicinal_register=hookimpl(lambda wrong_name: [])), "wrong_name"),
        ],
    )
    def test_inadmissible_plugins_leave_nothing_behind(self, loaded, problem):
        heard = []
        loaded.vicinal_embed_finished = hookimpl(lambda summary: heard.append(summary))
        found = manager(Entry("bad", loaded))
        assert statuses(found)["bad"][0] == "broken"
        assert problem in statuses(found)["bad"][1]
        assert found.entries() == []
        found.notify("vicinal_embed_finished", {})
        assert heard == []

    def test_a_warning_names_what_is_left_out(self, caplog):
        with caplog.at_level(logging.WARNING, logger="vicinal"):
            manager(Entry("bad", ImportError("missing thing")))
        assert "bad" in caplog.text
        assert "missing thing" in caplog.text

    def test_broken_builtins_are_not_hidden(self, module):
        with pytest.raises(PluginError, match="none of the hooks"):
            manager(builtin_modules=(module("fake_empty"),))

    def test_one_distribution_cannot_register_a_name_twice(self):
        found = manager(Entry("twin", plugin(spec()), name="a"), Entry("twin", plugin(spec()), name="b"))
        assert [report.status for report in found.reports] == ["ok", "broken"]
        assert "another plugin of 'twin'" in found.reports[1].error
        assert found.resolve("knn", "fast").full_name == "fast@twin"

    def test_one_object_cannot_come_from_two_distributions(self):
        shared = plugin(spec())
        found = manager(Entry("first", shared), Entry("second", shared))
        assert statuses(found)["first"] == ("ok", "")
        assert "registered already, by 'first" in statuses(found)["second"][1]


class TestOrder:
    def test_walked_by_distribution_and_name_whatever_the_order_on_the_path(self):
        entries = [
            Entry(dist, plugin(spec(f"{dist}_{name}")), name=name) for dist in ("b", "a") for name in ("two", "one")
        ]
        for given in (entries, entries[::-1]):
            walked = [(r.distribution, r.entry_point.split()[0]) for r in manager(*given).reports]
            assert walked == [("a", "one"), ("a", "two"), ("b", "one"), ("b", "two")]

    def test_same_distribution_twice_on_the_path_counts_once(self):
        found = manager(Entry("Their_Index", plugin(spec())), Entry("their-index", plugin(spec())))
        assert [(r.distribution, r.status) for r in found.reports] == [("their-index", "ok")]

    def test_older_copy_further_down_the_path_is_hidden(self):
        newer = Entry("theirs", plugin(spec()), version="2.0")
        older = Entry("theirs", plugin(spec("gone")), name="old_entry", version="1.0")
        found = manager(newer, older)
        assert [(r.version, r.status) for r in found.reports] == [("2.0", "ok")]

    def test_metadata_without_a_name_is_no_obstacle(self):
        nameless = Entry(None, plugin(spec()))
        assert [(r.distribution, r.status) for r in manager(nameless).reports] == [("unknown", "ok")]


class TestNames:
    def test_builtin_names_are_reserved_and_the_other_is_reachable(self, builtins):
        found = manager(Entry("their-index", plugin(spec("exact"))), builtin_modules=builtins)
        assert found.resolve("knn", "exact").builtin
        assert found.resolve("knn", "exact@vicinal").builtin
        for name in ("exact@their-index", "exact@Their_Index"):
            assert found.resolve("knn", name).distribution == "their-index"
        assert found.names("knn") == ["exact", "exact@their-index"]

    def test_two_third_parties_with_one_name_are_ambiguous(self):
        found = manager(Entry("one", plugin(spec())), Entry("two", plugin(spec())))
        with pytest.raises(InputError, match=r"knn='fast' is ambiguous; name one of 'fast@one', 'fast@two'"):
            found.resolve("knn", "fast")
        assert found.resolve("knn", "fast@two").distribution == "two"
        assert found.names("knn") == ["fast@one", "fast@two"]

    def test_names_are_by_stage(self, builtins):
        found = manager(Entry("theirs", plugin(spec("exact", "graph"))), builtin_modules=builtins)
        assert found.resolve("graph", "exact").distribution == "theirs"
        assert found.resolve("knn", "exact").builtin
        assert found.names("init") == []

    def test_unknown_name_gets_what_is_allowed_and_a_suggestion(self, builtins):
        with pytest.raises(InputError, match=r"knn='exakt' is unknown; allowed are 'exact'\. Did you mean 'exact'\?"):
            manager(builtin_modules=builtins).resolve("knn", "exakt")

    def test_unknown_name_says_which_plugins_are_left_out(self):
        found = manager(Entry("bad", ImportError("no torch")))
        with pytest.raises(InputError, match=r"left out: bad \(ImportError: no torch\)"):
            found.resolve("knn", "theirs")

    def test_known_name_of_a_missing_plugin_says_what_to_install(self):
        with pytest.raises(InputError, match="pip install plugins/vicinal-torch"):
            manager().resolve("method", "parametric_umap")

    def test_known_name_of_a_broken_plugin_does_not(self):
        found = manager(Entry("vicinal-torch", ImportError("no torch")))
        with pytest.raises(InputError, match="comes from 'vicinal-torch', which is broken: ImportError: no torch"):
            found.resolve("method", "parametric_umap")

    def test_preset_is_found_as_a_method(self):
        preset = Preset(api_version=1, name="mine")
        assert manager(Entry("theirs", plugin(preset))).preset("mine") is preset


class TestSwitches:
    @pytest.mark.parametrize(
        ("only", "without", "loaded"),
        [
            (None, None, {"one", "two-parts"}),
            ("one", None, {"one"}),
            ("one, Two_Parts", None, {"one", "two-parts"}),
            ("second", None, {"two-parts"}),
            ("", None, set()),
            (None, "", {"one", "two-parts"}),
            (None, "one", {"two-parts"}),
            (None, "first,second", set()),
            (None, "1", set()),
            (None, "all", set()),
            ("one", "one", set()),
        ],
    )
    def test_environment_chooses_plugins(self, monkeypatch, builtins, only, without, loaded):
        for name, value in (("VICINAL_PLUGINS", only), ("VICINAL_DISABLE_PLUGINS", without)):
            if value is not None:
                monkeypatch.setenv(name, value)
        entries = (Entry("one", plugin(spec("a")), name="first"), Entry("two_parts", plugin(spec("b")), name="second"))
        found = manager(*entries, builtin_modules=builtins)
        assert {e.distribution for e in found.entries()} == loaded | {"vicinal"}
        assert {r.distribution for r in found.reports if r.status == "disabled"} == {"one", "two-parts"} - loaded

    def test_disabled_plugin_is_not_imported_and_says_by_what(self, monkeypatch):
        monkeypatch.setenv("VICINAL_DISABLE_PLUGINS", "bad")
        found = manager(Entry("bad", AssertionError("was imported")))
        assert statuses(found) == {"bad": ("disabled", "listed in VICINAL_DISABLE_PLUGINS")}


class TestLoading:
    class Index:
        def build(self, request):
            return request

    def load(self, **fields):
        found = manager(Entry("theirs", plugin(spec(**fields))))
        return found.load(found.resolve("knn", "fast"))

    def test_class_is_imported_at_first_use(self, module):
        name = module("fake_target", Index=self.Index)
        assert self.load(target=f"{name}:Index") is self.Index

    def test_missing_requirement_says_what_to_run(self):
        with pytest.raises(
            PluginError, match=r"'fast@theirs' requires 'no_such_module'; run: pip install no_such_module"
        ):
            self.load(requires=("numpy", "no_such_module"))
        with pytest.raises(PluginError, match="run: conda install it"):
            self.load(requires=("no_such_module",), install="conda install it")

    def test_requirement_imported_without_a_spec_counts_as_there(self, module):
        name = module("fake_specless", Index=self.Index)
        assert self.load(target=f"{name}:Index", requires=(name,)) is self.Index

    @pytest.mark.parametrize(
        ("target", "problem"),
        [
            ("no_such_module:Class", "cannot be imported from 'no_such_module:Class': ModuleNotFoundError"),
            ("math:Class", "cannot be imported from 'math:Class': AttributeError"),
            ("math:pi", "'math:pi' is not a class with a method 'build'"),
            ("builtins:dict", "'builtins:dict' is not a class with a method 'build'"),
        ],
    )
    def test_bad_target_is_explained(self, target, problem):
        with pytest.raises(PluginError, match=problem):
            self.load(target=target)

    def test_exit_while_importing_is_explained(self, tmp_path, monkeypatch):
        (tmp_path / "exiting_target.py").write_text("raise SystemExit(2)")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(PluginError, match="SystemExit: 2"):
            self.load(target="exiting_target:Class")

    def test_ctrl_c_while_importing_passes_through(self, tmp_path, monkeypatch):
        (tmp_path / "interrupted_target.py").write_text("raise KeyboardInterrupt")
        monkeypatch.syspath_prepend(tmp_path)
        with pytest.raises(KeyboardInterrupt):
            self.load(target="interrupted_target:Class")


class TestObservers:
    def observe(self, *functions):
        entries = [
            Entry(f"observer{i}", SimpleNamespace(vicinal_stage_finished=hookimpl(function)))
            for i, function in enumerate(functions)
        ]
        manager(*entries).notify("vicinal_stage_finished", {"stage": "knn"})

    def test_every_observer_hears(self):
        heard = []
        self.observe(lambda report: heard.append(report["stage"]), lambda: heard.append("no argument"))
        assert sorted(heard) == ["knn", "no argument"]

    @pytest.mark.parametrize("failure", [ValueError("observer"), SystemExit("observer")])
    def test_failures_are_logged_and_do_not_stop_the_others(self, caplog, failure):
        heard = []

        def fail(report):
            raise failure

        self.observe(lambda report: heard.append(1), fail, lambda report: heard.append(2))
        assert sorted(heard) == [1, 2]
        assert "Observer vicinal_stage_finished of observer1" in caplog.text

    def test_ctrl_c_passes_through(self):
        def interrupted(report):
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            self.observe(interrupted)

    def test_one_cannot_change_what_another_hears(self, caplog):
        heard = []

        def meddle(report):
            report["stage"] = "changed"

        self.observe(lambda report: heard.append(report["stage"]), meddle, lambda report: heard.append(report["stage"]))
        assert heard == ["knn", "knn"]
        assert "TypeError" in caplog.text


def test_real_entry_points_are_understood():
    entry_point = metadata.EntryPoint(name="broken", value="no_such_module_here", group="vicinal.plugins")
    report = Manager(entry_points=[entry_point], builtin_modules=()).reports[0]
    assert (report.distribution, report.entry_point, report.status) == (
        "unknown",
        "broken = no_such_module_here",
        "broken",
    )
    assert report.error == "ModuleNotFoundError: No module named 'no_such_module_here'"
