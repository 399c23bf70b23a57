"""A file imports only from layers to its left; the order is docs/architecture.md's."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import vicinal

ROOT = Path(vicinal.__file__).parent
LAYERS = [
    ("contract",),
    ("kernels",),
    ("plugin", "api"),
    ("backends",),
    ("pipeline",),
    ("models",),
    ("adata",),
    (
        "pp",
        "tl",
        "pl",
        "plugins",
        "datasets",
        "cli",
        "_demo",
        "_warmup",
        "_verify",
        "models.__init__",
        "__init__",
        "__main__",
        "_docstrings",
    ),
    ("testing",),
]
RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def parts_of(path: Path) -> list[str]:
    return list(path.relative_to(ROOT).with_suffix("").parts)


def rank_of(parts: list[str]) -> int:
    """The façade models/__init__ belongs to the outer layer, its submodules do not."""
    if parts in (["models"], ["models", "__init__"]):
        return RANK["models.__init__"]
    return RANK[parts[0]] if parts else RANK["__init__"]


def imported(path: Path) -> list[list[str]]:
    """Our own modules a file imports, at any depth of the code, as parts below the package."""
    package = parts_of(path)[:-1]
    found: list[list[str]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [name.name.split(".")[1:] for name in node.names if name.name.split(".")[0] == "vicinal"]
        elif isinstance(node, ast.ImportFrom):
            module = (node.module or "").split(".") if node.module else []
            if node.level:
                base = [*package[: len(package) - (node.level - 1)], *module]
            elif module[:1] == ["vicinal"]:
                base = module[1:]
            else:
                continue
            found += [[*base, name.name] if is_module([*base, name.name]) else base for name in node.names]
    return found


def is_module(parts: list[str]) -> bool:
    place = ROOT.joinpath(*parts)
    return place.is_dir() or place.with_suffix(".py").exists()


FILES = sorted(ROOT.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda p: "/".join(parts_of(p)))
def test_imports_point_left(path: Path) -> None:
    own = rank_of(parts_of(path))
    wrong = [parts for parts in imported(path) if rank_of(parts) > own]
    assert not wrong, f"{path.relative_to(ROOT)} imports from a layer to its right: {wrong}"


def test_kernels_import_nothing_of_ours() -> None:
    for path in (ROOT / "kernels").glob("*.py"):
        assert all(parts[:1] == ["kernels"] for parts in imported(path)), path


def test_only_adata_touches_slots() -> None:
    """Outside adata/, pl/ and the CLI nothing names an AnnData's slots by attribute."""
    slots = {"obsm", "obsp", "uns", "varm"}
    allowed = {"adata", "pl", "cli", "_demo", "_warmup", "_verify", "testing"}
    for path in FILES:
        if parts_of(path)[0] in allowed or path.name == "score.py" and parts_of(path)[0] == "tl":
            continue
        touched = [
            n.attr for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Attribute) and n.attr in slots
        ]
        assert not touched, f"{path.relative_to(ROOT)} touches {touched}"


def test_plugins_import_only_the_public_door() -> None:
    folder = ROOT.parents[1] / "plugins"
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [n.name for n in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            ours = [n for n in names if n.split(".")[0] == "vicinal"]
            allowed = (
                ("vicinal.api", "vicinal.testing")
                if "src" in path.parts
                else ("vicinal.api", "vicinal.testing", "vicinal")
            )
            assert all(name in allowed or name.startswith("vicinal.testing") for name in ours), (path, ours)
