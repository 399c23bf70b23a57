"""The same map from any number of threads, any order of rows, and inside whatever runs it."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

# Text, so that it runs in processes that cannot import this file.
SOURCE = """
def digest(n_jobs=2, shuffled=0, n_obs=6000):
    import hashlib
    import anndata as ad
    import numpy as np
    import vicinal as vc

    rng = np.random.default_rng(0)
    values = (rng.normal(size=(12, 8)) * 3)[rng.integers(12, size=n_obs)] + rng.normal(size=(n_obs, 8))
    names = [f"cell{i}" for i in range(n_obs)]
    adata = ad.AnnData(obsm={"X_pca": values.astype(np.float32)})
    adata.obs_names = names
    adata = adata[np.random.default_rng(shuffled).permutation(n_obs)].copy() if shuffled else adata
    vc.tl.embed(adata, n_jobs=n_jobs, n_epochs=20)
    return hashlib.sha256(adata[names].obsm["X_umap"].tobytes()).hexdigest()
"""
namespace: dict[str, Any] = {"__name__": "__main__"}  # which pickles send by value
exec(SOURCE, namespace)
digest = namespace["digest"]


@pytest.fixture(scope="module")
def expected() -> str:
    return digest()


@pytest.mark.parametrize(("n_jobs", "numba_threads", "shuffled"), [(1, 1, 0), (2, 1, 1), (3, 2, 2), (8, 8, 3)])
def test_threads_and_orders_of_rows(n_jobs: int, numba_threads: int, shuffled: int, expected: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", f"{SOURCE}\nprint(digest({n_jobs}, {shuffled}))"],
        capture_output=True,
        text=True,
        env={**os.environ, "NUMBA_NUM_THREADS": str(numba_threads), "OPENBLAS_NUM_THREADS": str(n_jobs)},
    )
    assert done.stdout.strip() == expected, done.stderr


def test_eight_python_threads_at_once(expected: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(lambda _: digest(), range(8))) == {expected}


@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork(expected: str) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=lambda: results.put(digest()))
    child.start()
    assert results.get(timeout=120) == expected
    child.join(30)
    assert child.exitcode == 0


def test_under_joblib(expected: str) -> None:
    from joblib import Parallel, delayed

    assert set(Parallel(n_jobs=2, backend="loky")(delayed(digest)() for _ in range(2))) == {expected}


def test_in_a_dask_worker(expected: str) -> None:
    from distributed import Client

    with Client(n_workers=1, threads_per_worker=2, processes=False, dashboard_address=None) as client:
        futures = [client.submit(digest, pure=False) for _ in range(3)]
        assert set(client.gather(futures)) == {expected}
