from __future__ import annotations

import numpy as np
import pytest

from vicinal.contract.options import EmbedOptions
from vicinal.contract.source import Representation, Source
from vicinal.pipeline.policy import auto_knn


def choose(n_obs, metric):
    # One row in memory stands for all.
    values = np.broadcast_to(np.zeros(8, np.float32), (n_obs, 8))
    source = Source(n_obs=n_obs, representation=Representation(name="X_pca", values=values))
    return auto_knn(source, EmbedOptions(metric=metric))


@pytest.mark.parametrize(
    ("n_obs", "metric", "backend", "reason"),
    [
        (100, "euclidean", "exact", "100 cells are at most 100,000"),
        (100_000, "cosine", "exact", "at most 100,000"),
        (100_001, "euclidean", "ivf", "100,001 cells are more than 100,000"),
        (100_001, "l2", "ivf", "more than 100,000"),
        (100_001, "cosine", "ivf", "more than 100,000"),
        (100_000, "manhattan", "exact", "at most 100,000"),
        (100_001, "manhattan", "pynndescent", "'manhattan'"),
        (10_000, "canberra", "exact", "at most 10,000"),
        (10_001, "canberra", "pynndescent", "'canberra'"),
        (10, lambda x, y: 0.0, "pynndescent", "a function"),
    ],
)
def test_who_finds_neighbors_and_why(n_obs, metric, backend, reason):
    name, why = choose(n_obs, metric)
    assert name == backend and reason in why
