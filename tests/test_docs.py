from __future__ import annotations

import inspect
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import vicinal as vc
from vicinal import api, testing
from vicinal.contract.spec import METHOD_OF_STAGE, Capabilities
from vicinal.plugin import hookspecs
from vicinal.plugin.admission import check_spec
from vicinal.plugin.discovery import ONLY, WITHOUT
from vicinal.plugin.manager import get_manager
from vicinal.plugin.report import BUILTIN_DISTRIBUTION

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("README.md", "CHANGELOG.md", *(f"docs/{page.name}" for page in sorted((ROOT / "docs").glob("*.md"))))


def text_of(name):
    return (ROOT / name).read_text(encoding="utf-8")


def code_blocks(page, language):
    return re.findall(rf"^```{language}\n(.*?)^```$", text_of(page), re.S | re.M)


def public_names(module):
    named = getattr(module, "__all__", None)
    functions = [n for n, f in inspect.getmembers(module, inspect.isfunction) if f.__module__ == module.__name__]
    return [name for name in named or functions if not name.startswith("_")]


def project():
    return tomllib.loads(text_of("pyproject.toml"))["project"]


def make_targets():
    return set(re.findall(r"^([a-z][\w-]*):", text_of("Makefile"), re.M))


@pytest.mark.parametrize("part", ["pp", "tl", "pl", "models", "plugins", "datasets"])
def test_every_public_name_is_in_the_api_page(part):
    names = public_names(getattr(vc, part))
    assert names
    page = text_of("docs/api.md")
    missing = [name for name in names if not re.search(rf"`vc\.{part}\.{name}[`(]", page)]
    assert missing == []


def test_the_api_page_names_nothing_that_is_not_there():
    for part, name in re.findall(r"`vc\.(\w+)\.(\w+)[`(]", text_of("docs/api.md")):
        assert hasattr(getattr(vc, part), name), f"vc.{part}.{name}"


def test_arguments_in_the_api_page_exist():
    for part, name, arguments in re.findall(r"`vc\.(\w+)\.(\w+)\(([^)`]*)\)`", text_of("docs/api.md")):
        taken = inspect.signature(getattr(getattr(vc, part), name)).parameters
        shown = [argument.partition("=")[0].strip() for argument in arguments.split(",")]
        assert set(shown) - {"*", "…", ""} <= set(taken), f"vc.{part}.{name}"


def test_every_hook_is_documented_with_its_arguments():
    hooks = {n: f for n, f in inspect.getmembers(hookspecs, inspect.isfunction) if n.startswith("vicinal_")}
    documented = dict(re.findall(r"^### (vicinal_\w+)\(([^)]*)\)$", text_of("docs/plugins.md"), re.M))
    assert documented == {name: ", ".join(inspect.signature(hook).parameters) for name, hook in hooks.items()}


def test_the_plugin_page_knows_stages_capabilities_and_variables():
    page = text_of("docs/plugins.md")
    for stage, method in METHOD_OF_STAGE.items():
        assert re.search(rf"^\| `{stage}` \| `{method}\(.*`{testing.CONFORMANCE[stage].__name__}` \|$", page, re.M), (
            stage
        )
    assert all(f"`{name}`" in page for name in Capabilities.__dataclass_fields__)
    assert f"`{ONLY}=" in page
    assert f"`{WITHOUT}=" in page


def test_the_example_backend_of_the_plugin_page_passes_the_kit(tmp_path):
    backend, test = code_blocks("docs/plugins.md", "python")
    (tmp_path / "my_package.py").write_text(backend)
    (tmp_path / "test_uniform.py").write_text(test)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout
    assert re.search(r"\d+ passed", done.stdout)


def test_the_example_backend_of_the_plugin_page_makes_a_map():
    scope = {}
    exec(code_blocks("docs/plugins.md", "python")[0], scope)
    check_spec(scope["SPEC"])
    adata = vc.datasets.pbmc68k_reduced()
    vc.tl.embed(adata, init=scope["Uniform"](None), n_epochs=2)
    assert adata.uns["umap"]["backends"]["init"].startswith("Uniform@")


def test_the_example_of_the_readme_runs(monkeypatch):
    import matplotlib.pyplot as plt

    monkeypatch.setattr(plt, "show", lambda *_, **__: None)
    scope = {}
    exec(code_blocks("README.md", "python")[0], scope)
    assert scope["adata"].obsm["X_umap"].shape == (700, 2)
    assert "loss" in scope["adata"].uns["umap"]
    plt.close("all")


def test_the_readme_lists_the_built_in_backends_and_methods():
    page = text_of("README.md")
    table = page[page.index("## What is in the box") : page.index("## Adding a backend")]
    shown = set(re.findall(r"`(\w+)`", table))
    by_argument = {("knn", "given"), ("knn", "transformer"), ("init", "obsm"), ("init", "array")}
    built_in = [entry for entry in get_manager().entries() if entry.distribution == BUILTIN_DISTRIBUTION]
    named = {entry.spec.name for entry in built_in if (entry.stage, entry.spec.name) not in by_argument}
    assert named - {"knn_recall", "trustworthiness", "label_accuracy", "global_correlation"} <= shown
    for words in ("kNN recall", "trustworthiness", "label accuracy", "global correlation"):
        assert words in table


def test_commands_in_the_readme_exist():
    commands = {
        word for block in code_blocks("README.md", "shell") for word in re.findall(r"^make ([\w-]+)", block, re.M)
    }
    inline = set(re.findall(r"`make ([\w-]+)`", text_of("README.md")))
    assert {"demo", "test"} <= commands
    assert commands | inline <= make_targets()


def test_the_readme_has_the_sections_people_look_for_in_their_order():
    headings = re.findall(r"^## (.+)$", text_of("README.md"), re.M)
    wanted = ["Getting started", "Installation", "Release notes", "Contact", "Citation"]
    assert [heading for heading in headings if heading in wanted] == wanted


@pytest.mark.parametrize("page", PAGES)
def test_links_between_files_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)#]+)\)", text_of(page)):
        assert ((ROOT / page).parent / target).exists(), target


def test_versions_agree():
    version = project()["version"]
    assert re.search(r"^version: (\S+)$", text_of("CITATION.cff"), re.M).group(1) == version
    assert re.search(r"^## \[(\S+)\]", text_of("CHANGELOG.md"), re.M).group(1) == version
    assert vc.__version__ == version


def test_the_citation_file_is_of_the_format_it_names():
    page = text_of("CITATION.cff")
    for line in ("cff-version: 1.2.0", "title: vicinal", "type: software", f"license: {project()['license']}"):
        assert re.search(rf"^{re.escape(line)}$", page, re.M), line
    assert "  - name: The vicinal developers" in page


def test_errors_named_in_the_api_page_are_importable():
    for name in ("VicinalError", "InputError", "PluginError", "StageError", "ModelError"):
        assert f"`{name}`" in text_of("docs/api.md")
        assert issubclass(getattr(api, name), Exception)
