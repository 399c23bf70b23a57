"""Neighbours by metrics of what is there and what is not, from columns in common."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vicinal.backends.knn import exact
from vicinal.contract.errors import InputError
from vicinal.contract.options import EmbedOptions
from vicinal.contract.requests import KnnRequest
from vicinal.contract.source import Representation, Source
from vicinal.contract.spec import NoParams
from vicinal.kernels import binary_nearest
from vicinal.kernels.binary import METRICS, binary_distances
from vicinal.kernels.metrics import matrix_of
from vicinal.pipeline import policy
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
        (16_000, 2_000, "jaccard", "exact"),
        (80_000, 1_000, "jaccard", "exact"),
        (160_000, 100, "jaccard", "pynndescent"),
        (15_000, 2_000, "euclidean", "exact"),
        (16_000, 2_000, "euclidean", "ivf"),
        (2_000, 20_000, "euclidean", "exact"),
        (5_000, 20_000, "euclidean", "ivf"),
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


@pytest.mark.parametrize(("density", "backend"), [(0, "exact"), (1, "pynndescent")])
def test_what_is_there_counts_in_the_choice_where_columns_are_many(density, backend, monkeypatch):
    monkeypatch.setattr(policy, "BINARY_SECONDS", 0.002)
    values = np.full((600, 20_000), density, np.float32)
    source = Source(n_obs=600, representation=Representation(name="X", values=values))
    assert auto_knn(source, EmbedOptions(metric="jaccard"))[0] == backend


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(METRICS),
    st.integers(1, 150),
    st.integers(1, 200),
    st.floats(0, 1),
    st.booleans(),
    st.integers(0, 9),
)
def test_both_ways_of_counting_give_what_the_formulas_give(metric, n, n_columns, density, by_words, seed):
    there = binary_nearest.There.of(np.random.default_rng(seed).random((n, n_columns)) < density)
    both = there.values.astype(float) @ there.values.T
    true = binary_distances(metric, both, there.n_columns[:, None], there.n_columns[None], n_columns)
    order = np.argsort(true, axis=1, kind="stable")[:, :5]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(binary_nearest, "A_WORD", 0.0 if by_words else 1.0)
        patch.setattr(binary_nearest, "A_STEP", 1.0 if by_words else 0.0)
        indices, distances = binary_nearest.nearest_binary(metric, there, there, 5, n_jobs=2)
    m = order.shape[1]
    np.testing.assert_array_equal(indices[:, :m], order)
    np.testing.assert_array_equal(distances[:, :m], np.take_along_axis(true, order, axis=1))
    assert (indices[:, m:] == -1).all()


def test_queries_are_counted_along_lists_of_the_reference():
    rows = (np.random.default_rng(1).random((90, 4000)) < 0.004).astype(np.float32)
    true = matrix_of("jaccard")(rows[:10], rows)
    found = build(rows, "jaccard").query(rows[:10], 5)
    np.testing.assert_array_equal(found.indices, np.argsort(true, axis=1, kind="stable")[:, :5])
