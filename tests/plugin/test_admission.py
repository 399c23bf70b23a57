from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from vicinal.api import BackendSpec, Capabilities, PluginError, Preset, hookimpl
from vicinal.plugin.admission import check_spec, collect_specs

GOOD = BackendSpec(api_version=1, stage="knn", name="good", target="some.module:Class")


@dataclass(frozen=True, kw_only=True)
class Params:
    speed: float = 1.0


@dataclass
class Thawed:
    speed: float = 1.0


@dataclass(frozen=True)
class Positional:
    speed: float = 1.0


def registering(result):
    @hookimpl
    def vicinal_register(host_api):
        return result

    return SimpleNamespace(vicinal_register=vicinal_register)


def test_good_plugin_is_collected_in_its_order():
    preset = Preset(api_version=1, name="mine", stages={"knn": "good"}, defaults={"speed": 2}, scores=("knn_recall",))
    second = dataclasses.replace(GOOD, name="second", params=Params, requires=("numpy",))
    assert collect_specs(registering([GOOD, preset, second])) == [GOOD, preset, second]


def test_any_iterable_of_specs_will_do():
    assert collect_specs(registering(iter((GOOD,)))) == [GOOD]


def test_the_host_says_its_version():
    heard = []

    @hookimpl
    def vicinal_register(host_api):
        heard.append(host_api)
        return []

    collect_specs(SimpleNamespace(vicinal_register=vicinal_register))
    assert heard == [1]


def test_arguments_may_be_left_out():
    @hookimpl
    def vicinal_register():
        return [GOOD]

    assert collect_specs(SimpleNamespace(vicinal_register=vicinal_register)) == [GOOD]


def test_same_name_in_two_stages_or_as_a_preset_is_no_repeat():
    specs = [GOOD, dataclasses.replace(GOOD, stage="graph"), Preset(api_version=1, name="good")]
    assert collect_specs(registering(specs)) == specs


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        (None, "returned 'NoneType'"),
        ("knn", "returned 'str'"),
        ({"good": GOOD}, "returned 'dict'"),
        (GOOD, "returned 'BackendSpec'"),
        (3, "returned 'int'"),
        ([GOOD, "knn"], "returned 'str'"),
        ([GOOD, GOOD], "registers knn 'good' twice"),
        ([Preset(api_version=1, name="m"), Preset(api_version=1, name="m")], "registers method 'm' twice"),
    ],
)
def test_wrong_results_are_named(result, problem):
    with pytest.raises(PluginError, match=problem):
        collect_specs(registering(result))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"api_version": 2}, "written for API 2, this host has API 1"),
        ({"api_version": "1"}, "written for API '1'"),
        ({"name": "Good"}, "lower-case letters"),
        ({"name": "a@b"}, "lower-case letters"),
        ({"name": ""}, "lower-case letters"),
        ({"name": 7}, "lower-case letters"),
        ({"name": "auto"}, "none of 'auto'"),
        ({"stage": "layout"}, "the stages are knn, graph"),
        ({"target": "some.module.Class"}, "expected 'module:Class'"),
        ({"target": "module:"}, "expected 'module:Class'"),
        ({"target": "..module:Class"}, "expected 'module:Class'"),
        ({"target": object}, "expected 'module:Class'"),
        ({"params": Thawed}, "frozen, keyword-only dataclass"),
        ({"params": Positional}, "frozen, keyword-only dataclass"),
        ({"params": Params()}, "frozen, keyword-only dataclass"),
        ({"params": dict}, "frozen, keyword-only dataclass"),
        ({"capabilities": {"deterministic": True}}, "expected Capabilities"),
        ({"requires": "torch"}, "top-level module names"),
        ({"requires": ("torch.cuda",)}, "top-level module names"),
    ],
)
def test_wrong_backend_specs_are_named(changes, problem):
    with pytest.raises(PluginError, match=problem):
        check_spec(dataclasses.replace(GOOD, **changes))


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"api_version": 0}, "written for API 0"),
        ({"name": "my method"}, "lower-case letters"),
        ({"stages": {"layout": "x"}}, "expected a mapping from knn"),
        ({"stages": ["knn"]}, "expected a mapping from knn"),
        ({"defaults": [("speed", 1)]}, "expected a mapping"),
        ({"scores": "knn_recall"}, "expected a tuple of names"),
    ],
)
def test_wrong_presets_are_named(changes, problem):
    with pytest.raises(PluginError, match=problem):
        check_spec(dataclasses.replace(Preset(api_version=1, name="mine"), **changes))


def test_full_spec_passes():
    capabilities = Capabilities(inputs=("representation",), deterministic=True)
    check_spec(dataclasses.replace(GOOD, params=Params, capabilities=capabilities, requires=("torch", "numpy")))


def test_misspelt_hook_gets_a_suggestion():
    @hookimpl
    def vicinal_regster(host_api):
        return [GOOD]

    with pytest.raises(PluginError, match=r"unknown hook 'vicinal_regster'.*mean 'vicinal_register'"):
        collect_specs(SimpleNamespace(vicinal_regster=vicinal_regster))


def test_misspelt_hook_beside_a_good_one_is_still_wrong():
    plugin = registering([GOOD])
    plugin.vicinal_finished = hookimpl(lambda summary: None)
    with pytest.raises(PluginError, match="unknown hook 'vicinal_finished'"):
        collect_specs(plugin)


def test_optional_hook_of_another_host_is_allowed():
    plugin = registering([GOOD])
    plugin.vicinal_of_tomorrow = hookimpl(optionalhook=True)(lambda: None)
    assert collect_specs(plugin) == [GOOD]


def test_wrong_argument_names_are_named():
    @hookimpl
    def vicinal_register(version):
        return [GOOD]

    with pytest.raises(PluginError, match=r"(?s)'vicinal_register'.*\{'version'\}"):
        collect_specs(SimpleNamespace(vicinal_register=vicinal_register))


@pytest.mark.parametrize(
    "plugin", [SimpleNamespace(), None, 3, SimpleNamespace(vicinal_register=lambda host_api: [GOOD])]
)
def test_objects_without_hooks_are_told_to_decorate_them(plugin):
    with pytest.raises(PluginError, match=r"none of the hooks .*vicinal\.api\.hookimpl"):
        collect_specs(plugin)


def test_wrappers_are_refused():
    @hookimpl(wrapper=True)
    def vicinal_embed_finished(summary):
        return (yield)

    with pytest.raises(PluginError, match="wrapper"):
        collect_specs(SimpleNamespace(vicinal_embed_finished=vicinal_embed_finished))


def test_observers_alone_are_a_plugin():
    @hookimpl
    def vicinal_embed_finished(summary):
        pass

    assert collect_specs(SimpleNamespace(vicinal_embed_finished=vicinal_embed_finished)) == []
