from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of real data sets: $VICINAL_DATA, else ../shared/data beside the checkout."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("VICINAL_DATA", beside))
    if not (folder / "pbmc3k.h5ad").exists():
        pytest.skip(f"real data sets not found in {folder}; set VICINAL_DATA")
    return folder


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Plans must not depend on what `vicinal warmup` has measured here, nor tests leave anything behind."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VICINAL_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def compiled_in_silence() -> None:
    """What a test finds in the log must not depend on whether its kernels are compiled already."""
    from vicinal.kernels.compile import announcement

    announcement.said = True


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20260101)
