"""Neighbours by metrics of what is there and what is not, from sparse products."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from vicinal.backends.knn import exact
from vicinal.contract.errors import InputError
from vicinal.contract.options import EmbedOptions
from vicinal.contract.requests import KnnRequest
from vicinal.contract.source import Representation, Source
from vicinal.contract.spec import NoParams
from vicinal.kernels.binary import METRICS
from vicinal.kernels.metrics import matrix_of
from vicinal.pipeline.policy import auto_knn

ROWS = (np.random.default_rng(0).random((120, 300)) < 0.1).astype(np.float32)


def build(rows, metric, k=9, n_jobs=1):
    request = KnnRequest(representation=rows, k=k, n_obs=len(rows), metric=metric, n_jobs=n_jobs)
    return exact.Backend(NoParams()).build(request)


@pytest.mark.parametrize("metric", METRICS)
def test_neighbors_and_queries_are_those_of_all_pairs(metric):
    true = matrix_of(metric)(ROWS, ROWS)
    queried = build(ROWS, metric).query(ROWS[:20], 9)
    np.testing.assert_array_equal(queried.indices, np.argsort(true[:20], axis=1, kind="stable")[:, :9])
    np.fill_diagonal(true, np.inf)
    one, two = build(ROWS, metric).neighbors(), build(ROWS, metric, n_jobs=2).neighbors()
    np.testing.assert_array_equal(one.indices, np.argsort(true, axis=1, kind="stable")[:, :9])
    np.testing.assert_allclose(one.distances, np.sort(true, axis=1)[:, :9], rtol=1e-6)
    np.testing.assert_array_equal(one.indices, two.indices)


def test_what_is_not_zero_is_there_and_that_is_said(caplog):
    caplog.set_level(logging.INFO, logger="vicinal")
    found = build(ROWS, "jaccard").neighbors()
    assert not caplog.records
    counted = build(ROWS * -3, "jaccard").neighbors()
    assert "not zero counts as there" in caplog.text
    np.testing.assert_array_equal(found.indices, counted.indices)


def test_rows_of_zeros_and_more_neighbors_than_rows():
    rows = np.zeros((4, 6), np.float32)
    table = build(rows, "dice", k=6).neighbors()
    assert (table.indices[:, 3:] == -1).all()
    assert (table.distances[:, :3] == 0).all()
    with pytest.raises(InputError, match="columns"):
        build(rows, "dice").query(rows[:, :3], 2)


@pytest.mark.parametrize(
    ("n_obs", "n_columns", "metric", "backend"),
    [
        (16_000, 100_000, "jaccard", "exact"),
        (16_000, 2_000, "euclidean", "ivf"),
        (16_000, 2_000, "hellinger", "ivf"),
        (5_000, 2_000, "correlation", "exact"),
        (150_000, 30, "correlation", "ivf"),
        (9_000, 2_000, "canberra", "pynndescent"),
        (9_000, 50, "canberra", "exact"),
    ],
)
def test_columns_count_in_the_choice(n_obs, n_columns, metric, backend):
    values = np.broadcast_to(np.zeros(n_columns, np.float32), (n_obs, n_columns))
    source = Source(n_obs=n_obs, representation=Representation(name="X", values=values))
    name, why = auto_knn(source, EmbedOptions(metric=metric))
    assert name == backend
    assert f"{n_obs:,}" in why
