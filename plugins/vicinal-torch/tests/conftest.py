from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import anndata as ad
import numpy as np
import pytest

import vicinal as vc
from vicinal.api import InputError, ModelError

METHOD = "parametric_umap"
QUICK = {"n_jobs": 1, "n_training_epochs": 2, "loss_report_frequency": 2, "batch_size": 64, "warm_start_steps": 10}


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VICINAL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> None:
    """More threads than processors that are free make torch many times slower."""
    with suppress(ImportError):
        import torch

        torch.set_num_threads(1)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)


@pytest.fixture(scope="session")
def cells() -> Callable[..., ad.AnnData]:
    """Return a function that makes cells in round groups, whose names are not in the order of rows."""

    def make(n: int = 120, n_features: int = 8, n_groups: int = 3, seed: int = 0) -> ad.AnnData:
        draw = np.random.default_rng(seed)
        group = np.arange(n) % n_groups
        centers = 6 * np.random.default_rng(99).normal(size=(n_groups, n_features))
        adata = ad.AnnData((centers[group] + draw.normal(size=(n, n_features))).astype(np.float32))
        adata.obs_names = [f"cell{i:04d}" for i in draw.permutation(n)]
        adata.obs["group"] = np.array(["a", "b", "c", "d", "e"])[group]
        adata.obs["group"] = adata.obs["group"].astype("category")
        return adata

    return make


@pytest.fixture(scope="session")
def embed() -> Callable[..., ad.AnnData]:
    """Return a function that makes a small map, quickly, and returns the AnnData."""

    def make(adata: ad.AnnData, **params: object) -> ad.AnnData:
        vc.tl.embed(adata, method=METHOD, **{**QUICK, **params})
        return adata

    return make


@pytest.fixture
def start() -> Callable[..., vc.tl.start]:
    """Return a function that starts the same map, to be stepped by hand."""

    def make(adata: ad.AnnData, **params: object):
        return vc.tl.start(adata, method=METHOD, **{**QUICK, **params})

    return make


@pytest.fixture
def refused() -> Callable[..., str]:
    """Return a function that checks that arguments are refused before any work, and returns the message."""

    def check(adata: ad.AnnData, **params: object) -> str:
        slots = (list(adata.obs), list(adata.obsm), list(adata.obsp), list(adata.uns))
        arguments = {**QUICK, **params}
        with pytest.MonkeyPatch.context() as patch, pytest.raises(ValueError) as raised:
            patch.setattr("vicinal.tl._keeper.Run", _no_work)
            vc.tl.embed(adata, method=METHOD, **arguments)
        assert isinstance(raised.value, InputError | ModelError), "a plain ValueError names nothing"
        assert slots == (list(adata.obs), list(adata.obsm), list(adata.obsp), list(adata.uns))
        return str(raised.value)

    return check


def _no_work(*args: object, **kwargs: object) -> None:
    raise AssertionError("work was begun")
