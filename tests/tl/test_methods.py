"""`vc.tl.umap`, `vc.tl.tsne`, and the parameters that help shows."""

from __future__ import annotations

import dataclasses
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest

import vicinal as vc
from vicinal.api import InputError
from vicinal.plugin.manager import get_manager
from vicinal.tl._parameters import BY_ARGUMENT, SPECS

ROOT = Path(vc.__file__).parents[2]


def cells() -> ad.AnnData:
    return ad.AnnData(np.random.default_rng(0).normal(size=(40, 5)).astype(np.float32))


@pytest.mark.parametrize(("name", "given"), [("umap", {"repulsion_strength": 2.0}), ("tsne", {"perplexity": 5})])
def test_the_map_is_that_of_embed(name: str, given: dict[str, Any]) -> None:
    one, same = cells(), cells()
    getattr(vc.tl, name)(one, n_epochs=3, **given)
    vc.tl.embed(same, name, n_epochs=3, **given)
    assert np.array_equal(one.obsm[f"X_{name}"], same.obsm[f"X_{name}"])
    assert one.uns[name]["arguments"] == same.uns[name]["arguments"]
    copied = getattr(vc.tl, name)(cells(), n_epochs=0, copy=True, key_added="mine")
    assert "mine" in copied.obsm


@pytest.mark.parametrize("name", ["umap", "tsne"])
def test_every_parameter_is_in_the_signature_with_its_default(name: str) -> None:
    taken = inspect.signature(getattr(vc.tl, name)).parameters
    assert set(inspect.signature(vc.tl.embed).parameters) - {"method"} <= set(taken)
    plan = vc.tl.plan(cells(), name)
    for choice in plan.stages.values():
        for f in dataclasses.fields(choice.params):
            assert f.name in taken
            if f.name not in inspect.signature(vc.tl.embed).parameters:
                assert taken[f.name].default == getattr(choice.params, f.name)


@pytest.mark.parametrize("name", ["umap", "tsne"])
def test_what_is_not_of_the_method_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="method is not allowed here"):
        getattr(vc.tl, name)(cells(), method="umap")
    with pytest.raises(InputError, match="unknown parameter 'perplexty'|unknown parameter 'min_dst'"):
        getattr(vc.tl, name)(cells(), **({"perplexty": 5} if name == "tsne" else {"min_dst": 0.1}))


def test_help_shows_the_parameters_of_every_built_in_backend() -> None:
    shown = str(inspect.getdoc(vc.tl.embed)).partition("Other Parameters\n----------------\n")[2]
    for entry in get_manager().entries():
        spec = SPECS.get((entry.stage, getattr(entry.spec, "name", "")))
        if spec is not None and spec is entry.spec and spec.name not in BY_ARGUMENT:
            own = set(spec.fields) - set(inspect.signature(vc.tl.embed).parameters)
            assert all(f"\n{name}\n" in f"\n{shown}" for name in own), spec.name
    assert all(len(line) <= 120 for line in shown.splitlines())
    assert "by default: \n" not in shown  # each is described


class TestWhatIsThere:
    def test_only_public_names_are_listed(self) -> None:
        for module in (vc, vc.tl, vc.pp, vc.pl, vc.models, vc.plugins, vc.datasets, vc.api):
            assert dir(module) == sorted(module.__all__)
            assert all(hasattr(module, name) for name in dir(module))

    def test_errors_are_at_hand_and_load_nothing_heavy(self) -> None:
        code = (
            "import vicinal as vc, sys\nassert issubclass(vc.api.InputError, vc.api.VicinalError)\n"
            "assert not {'numba', 'torch', 'sklearn', 'scanpy', 'matplotlib'} & set(sys.modules)"
        )
        subprocess.run([sys.executable, "-c", code], check=True)

    @pytest.mark.parametrize(
        "package",
        ["src/vicinal", "plugins/vicinal-torch/src/vicinal_torch", "plugins/vicinal-template/src/vicinal_template"],
    )
    def test_packages_say_that_they_are_typed(self, package: str) -> None:
        assert (ROOT / package / "py.typed").exists()
