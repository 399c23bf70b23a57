"""Whatever is given for whichever argument: a clear error, or it works."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anndata as ad
import matplotlib
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

import vicinal as vc
from vicinal.api import StageError, VicinalError
from vicinal.plugin.manager import get_manager
from vicinal.plugin.report import BUILTIN_DISTRIBUTION

matplotlib.use("Agg")

N_OBS, N_EPOCHS = 24, 2


def cells(n_obs: int = N_OBS, prefix: str = "c") -> ad.AnnData:
    rng = np.random.default_rng(n_obs)
    adata = ad.AnnData(
        rng.normal(size=(n_obs, 5)).astype(np.float32), obs=pd.DataFrame(index=[f"{prefix}{i}" for i in range(n_obs)])
    )
    adata.obs["kind"] = pd.Categorical(["a", "b"] * (n_obs // 2))
    adata.obsm["X_pca"] = adata.X.copy()
    return adata


class Anything:
    """A class, given instead of an instance."""

    def __init__(self, *_: Any) -> None:
        pass


def given_by_mistake() -> list[Any]:
    return [
        None,
        [],
        {},
        (),
        set(),
        "",
        "nonsense",
        b"bytes",
        3,
        -1,
        0,
        2**70,
        True,
        1e300,
        float("nan"),
        float("inf"),
        np.float32(2),
        np.array(3),
        np.arange(3),
        np.zeros((N_OBS, 2)),
        np.array([None, "x"], dtype=object),
        pd.Series([1.0, np.nan]),
        pd.DataFrame({"a": [1, 2]}),
        sparse.eye(3).tocsr(),
        [float("nan")],
        ["nonsense", None],
        {"a": 1},
        lambda *_: None,
        Anything,
        object(),
        Path("nowhere") / "at" / "all",
        np.random.default_rng(0),
        cells(8, "n"),
    ]


@pytest.fixture(scope="module")
def mapped() -> ad.AnnData:
    adata = cells()
    vc.pp.neighbors(adata, n_neighbors=5)
    vc.tl.embed(adata, n_epochs=N_EPOCHS)
    vc.tl.spectrum(adata, [4, 1], n_epochs=N_EPOCHS, perplexity=2)
    return adata


@pytest.fixture
def calls(mapped: ad.AnnData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Callable[..., Any]]:
    """What users call, by name, with arguments that are good where none is replaced."""
    monkeypatch.chdir(tmp_path)
    stored = str(tmp_path / "model.vicinal")
    vc.models.save(mapped, stored, key="umap")
    both = ad.concat([mapped, cells(8, "n")])

    def under_way() -> Any:
        return vc.tl.start(mapped.copy(), n_epochs=N_EPOCHS)

    def of(function: Callable[..., Any], first: str, adata: ad.AnnData, **others: Any) -> Callable[..., Any]:
        return lambda **given: function(**{first: adata.copy(), **others, **given})

    return {
        "tl.embed": of(vc.tl.embed, "adata", mapped, n_epochs=N_EPOCHS),
        "tl.umap": of(vc.tl.umap, "adata", mapped, n_epochs=0),
        "tl.tsne": of(vc.tl.tsne, "adata", mapped, n_epochs=0, perplexity=3),
        "tl.start": of(vc.tl.start, "adata", mapped),
        "tl.plan": of(vc.tl.plan, "adata", mapped),
        "tl.spectrum": of(vc.tl.spectrum, "adata", mapped, exaggerations=[4, 1], n_epochs=N_EPOCHS, perplexity=2),
        "tl.score": of(vc.tl.score, "adata", mapped),
        "tl.rerun": of(vc.tl.rerun, "adata", mapped, key="umap"),
        "tl.project": of(vc.tl.project, "adata_new", cells(8, "n"), model=mapped, key="umap"),
        "tl.represent": of(vc.tl.represent, "adata_new", cells(8, "n"), model=mapped, key="umap"),
        "tl.update": of(vc.tl.update, "adata_all", both, model=mapped, key="umap", n_epochs=N_EPOCHS),
        "tl.reconstruct": of(vc.tl.reconstruct, "adata", mapped, key="umap"),
        "pp.neighbors": of(vc.pp.neighbors, "adata", mapped),
        "pl.embedding": of(vc.pl.embedding, "adata", mapped, show=False),
        "pl.loss": of(vc.pl.loss, "adata", mapped, key="umap", show=False),
        "pl.spectrum": of(vc.pl.spectrum, "adata", mapped, show=False),
        "models.adopt": of(vc.models.adopt, "adata", mapped, key_added="mine"),
        "models.save": of(vc.models.save, "adata_or_model", mapped, path="saved", key="umap"),
        "models.load": lambda **given: vc.models.load(**{"path": stored, **given}),
        "EmbedRun.step": lambda **given: under_way().step(**{"n_epochs": 1, **given}),
        "EmbedRun.save": lambda **given: under_way().save(**{"path": "kept", **given}),
        "EmbedRun.resume": lambda **given: under_way().resume(**{"path": "kept", **given}),
        "EmbedRun.finish": lambda **given: under_way().finish(**given),
    }


def function_of(name: str) -> Callable[..., Any]:
    part, _, own = name.partition(".")
    return getattr(vc.tl.EmbedRun if part == "EmbedRun" else getattr(vc, part), own)


def arguments_of(function: Callable[..., Any]) -> list[str]:
    kept = [p for p in inspect.signature(function).parameters.values() if p.kind is not p.VAR_KEYWORD]
    return [p.name for p in kept if p.name != "self"]


NAMES = [
    f"{part}.{name}" for part in ("tl", "pp", "pl", "models") for name in getattr(vc, part).__all__ if name.islower()
]
METHODS = [f"EmbedRun.{name}" for name in ("step", "save", "resume", "finish")]
BACKENDS = [entry for entry in get_manager().entries() if entry.distribution == BUILTIN_DISTRIBUTION]


def trouble(call: Callable[[], Any]) -> str:
    """Return what is wrong with how a call ends; an empty string where it works, or says clearly why not."""
    try:
        call()
    except StageError as error:
        return str(error)
    except VicinalError as error:
        return str(error) if "\n" in str(error) or "object at 0x" in str(error) else ""
    except Exception as error:  # noqa: BLE001  anything else is what must not be
        return f"{type(error).__name__}: {error}"
    return ""


@pytest.mark.parametrize("name", [*NAMES, *METHODS])
@pytest.mark.filterwarnings("ignore")
def test_a_clear_error_or_it_works(name: str, calls: dict[str, Callable[..., Any]]) -> None:
    import matplotlib.pyplot as plt

    found = {}
    for argument in arguments_of(function_of(name)):
        for i, value in enumerate(given_by_mistake()):
            found[argument, i] = trouble(lambda argument=argument, value=value: calls[name](**{argument: value}))
        plt.close("all")
    assert {where: what for where, what in found.items() if what} == {}


@pytest.mark.parametrize(
    "entry", [e for e in BACKENDS if e.stage != "method"], ids=lambda e: f"{e.stage}-{e.spec.name}"
)
def test_so_do_parameters_of_backends(entry: Any) -> None:
    backend, params = get_manager().load(entry), entry.spec.params
    found = {}
    for name in entry.spec.fields:
        for i, value in enumerate(given_by_mistake()):
            found[name, i] = trouble(lambda name=name, value=value: backend(params(**{name: value})))
    assert {where: what for where, what in found.items() if what} == {}


@pytest.mark.parametrize("name", ["n_epochs", "learning_rate", "repulsion_strength", "negative_sample_rate"])
def test_so_do_parameters_on_the_way(name: str, mapped: ad.AnnData) -> None:
    run = vc.tl.start(mapped.copy(), n_epochs=10**6)
    values = enumerate(given_by_mistake())
    found = {i: trouble(lambda value=value: run.step(**{"n_epochs": 1, name: value})) for i, value in values}
    assert {where: what for where, what in found.items() if what} == {}
