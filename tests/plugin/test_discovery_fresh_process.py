"""Plugins as pip leaves them on disk, found by a process that has never seen them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap

import pytest

REGISTER = """
from vicinal.api import BackendSpec, hookimpl

@hookimpl
def vicinal_register(host_api):
    return [BackendSpec(api_version=1, stage="knn", name={name!r}, target="{module}_heavy:Index")]
"""

BROKEN = {
    "raises": ("raise RuntimeError('cannot start')", "RuntimeError: cannot start"),
    "missing": ("import no_such_module_here", "No module named 'no_such_module_here'"),
    "syntax": ("def :", "SyntaxError: invalid syntax"),
    "exits": ("import sys\nsys.exit('goodbye')", "SystemExit: goodbye"),
    "misspelt": (
        "from vicinal.api import hookimpl\n@hookimpl\ndef vicinal_regster(host_api):\n    return []",
        "unknown hook 'vicinal_regster'. Did you mean 'vicinal_register'?",
    ),
    "tomorrow": (REGISTER.format(name="later", module="tomorrow").replace("api_version=1", "api_version=2"), "API 2"),
    "returns": ("from vicinal.api import hookimpl\n@hookimpl\ndef vicinal_register():\n    return 'knn'", "'str'"),
    "forgets": ("from vicinal.api import hookimpl\n@hookimpl\ndef vicinal_register():\n    pass", "'NoneType'"),
    "arguments": ("from vicinal.api import hookimpl\n@hookimpl\ndef vicinal_register(app):\n    return []", "{'app'}"),
    "repeats": (
        REGISTER.format(name="twice", module="repeats").replace("return [", "return 2 * ["),
        "registers knn 'twice' twice",
    ),
    "field": (REGISTER.format(name="odd", module="field").replace("stage=", "colour='red', stage="), "'colour'"),
}
"""Distribution to the source of its module and a part of what must be said about it."""

HEAVY = "class Index:\n    def build(self, request):\n        return request\n"


def install(folder, distribution, source, module=None, version="1.0"):
    """Write what pip would: a module and the metadata that points to it."""
    module = module or distribution.replace("-", "_")
    (folder / f"{module}.py").write_text(source)
    metadata = folder / f"{module}-{version}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
    (metadata / "entry_points.txt").write_text(f"[vicinal.plugins]\nmain = {module}\n")


def install_good(folder, distribution, name, **options):
    module = distribution.replace("-", "_")
    install(folder, distribution, REGISTER.format(name=name, module=module), **options)
    (folder / f"{module}_heavy.py").write_text(HEAVY)


def run(code, *folders, **environment):
    """Run code in a fresh process that finds the folders; return the JSON it prints."""
    path = os.pathsep.join([*map(str, folders), *filter(None, [os.environ.get("PYTHONPATH")])])
    clean = {k: v for k, v in os.environ.items() if k not in ("VICINAL_PLUGINS", "VICINAL_DISABLE_PLUGINS")}
    command = [sys.executable, "-c", "import json\n" + textwrap.dedent(code)]
    done = subprocess.run(command, env={**clean, "PYTHONPATH": path, **environment}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


TABLE = """
import vicinal as vc
table = vc.plugins.list()
print(table.to_json(orient="records"))
"""


@pytest.fixture(scope="module")
def crowded(tmp_path_factory):
    """Return a folder with every broken plugin and two good ones, one of them with a reserved name."""
    folder = tmp_path_factory.mktemp("crowded")
    for distribution, (source, _) in BROKEN.items():
        install(folder, distribution, source)
    install_good(folder, "good-index", "their_index")
    install_good(folder, "rival-index", "exact")
    return folder


@pytest.fixture(scope="module")
def crowded_table(crowded):
    return run(TABLE, crowded)


@pytest.mark.parametrize("distribution", BROKEN)
def test_broken_plugin_is_listed_with_its_reason(crowded_table, distribution):
    (row,) = [row for row in crowded_table if row["distribution"] == distribution]
    assert (row["status"], row["name"], row["version"]) == ("broken", f"main = {distribution}", "1.0")
    assert BROKEN[distribution][1] in row["error"]


def test_good_plugins_beside_broken_ones_are_admitted(crowded_table):
    found = {(row["stage"], row["name"], row["distribution"]) for row in crowded_table if row["status"] == "ok"}
    assert {("knn", "their_index", "good-index"), ("knn", "exact@rival-index", "rival-index")} <= found
    assert ("knn", "exact", "vicinal") in found


def test_discovery_does_not_import_the_backend_itself(tmp_path):
    install_good(tmp_path, "good-index", "their_index")
    code = """
    import sys, vicinal as vc
    vc.plugins.list()
    before = "good_index_heavy" in sys.modules
    vc.plugins.check()
    print(json.dumps([before, "good_index_heavy" in sys.modules]))
    """
    assert run(code, tmp_path) == [False, True]


def test_check_finds_backends_that_cannot_be_imported(tmp_path):
    install_good(tmp_path, "good-index", "their_index")
    (tmp_path / "good_index_heavy.py").write_text("import no_such_module_here")
    code = """
    import vicinal as vc
    print(vc.plugins.check().query("distribution == 'good-index'").to_json(orient="records"))
    """
    (row,) = run(code, tmp_path)
    assert row["status"] == "unusable"
    assert "No module named 'no_such_module_here'" in row["error"]


def test_one_distribution_in_two_folders_counts_once(tmp_path):
    folders = [tmp_path / "first", tmp_path / "second"]
    for folder, version in zip(folders, ("2.0", "1.0"), strict=True):
        folder.mkdir()
        install_good(folder, "good-index", "their_index", version=version)
    rows = [row for row in run(TABLE, *folders) if row["distribution"] == "good-index"]
    assert [(row["version"], row["status"]) for row in rows] == [("2.0", "ok")]


def test_two_distributions_with_one_name_are_ambiguous(tmp_path):
    install_good(tmp_path, "one-index", "their_index")
    install_good(tmp_path, "two-index", "their_index")
    code = """
    from vicinal.api import InputError
    from vicinal.plugin.manager import get_manager
    manager = get_manager()
    try:
        manager.resolve("knn", "their_index")
    except InputError as error:
        print(json.dumps([str(error), manager.resolve("knn", "their_index@two-index").distribution]))
    """
    message, chosen = run(code, tmp_path)
    assert "'their_index@one-index', 'their_index@two-index'" in message
    assert chosen == "two-index"


@pytest.mark.parametrize(
    ("switch", "names", "status"),
    [
        ("VICINAL_PLUGINS", "good-index", {"good-index": "ok", "exits": "disabled"}),
        ("VICINAL_PLUGINS", "", {"good-index": "disabled", "exits": "disabled"}),
        ("VICINAL_DISABLE_PLUGINS", "exits", {"good-index": "ok", "exits": "disabled"}),
    ],
)
def test_switches_of_the_environment(tmp_path, switch, names, status):
    install_good(tmp_path, "good-index", "their_index")
    install(tmp_path, "exits", BROKEN["exits"][0])
    rows = run(TABLE, tmp_path, **{switch: names})
    assert {row["distribution"]: row["status"] for row in rows if row["distribution"] in status} == status
