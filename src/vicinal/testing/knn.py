"""What every kNN backend must do."""

# ruff: noqa: D102  the name of a check says what it checks

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from vicinal.contract.data import MISSING, Neighbors
from vicinal.contract.requests import KnnRequest
from vicinal.contract.stages import KnnIndex
from vicinal.pipeline.checks import check_neighbors

from .base import SMALL, Conformance, unless_refused
from .data import all_distances, blobs, brute_force, read_only


class KnnConformance(Conformance):
    """Checks of a kNN backend.

    Attributes
    ----------
    recall
        Share of the true neighbours it promises to find.
    metrics
        Metrics to check it with; scipy must know them.
    k
        Neighbours to ask for.
    """

    stage: ClassVar[str] = "knn"
    recall: ClassVar[float] = 1.0
    metrics: ClassVar[tuple[str, ...]] = ("euclidean",)
    k: ClassVar[int] = 10

    def build(self, rows: np.ndarray, k: int, *, metric: str = "euclidean", seed: int = 0, n_jobs: int = 1) -> KnnIndex:
        """Return an index over the rows."""
        request = KnnRequest(
            representation=read_only(rows), k=k, n_obs=len(rows), metric=metric, seed=seed, n_jobs=n_jobs
        )
        return self.make_backend().build(request)

    def exercise(self) -> Any:
        """Find the neighbours of some points."""
        return self.build(blobs()[0], self.k).neighbors()

    def test_table_is_well_formed(self) -> None:
        assert_table(self.exercise(), blobs()[0], self.k)

    def test_distances_are_those_of_the_metric(self) -> None:
        rows = blobs()[0]
        for metric in self.metrics:
            assert_true_distances(self.build(rows, self.k, metric=metric).neighbors(), rows, rows, metric)

    def test_finds_the_true_neighbors(self) -> None:
        rows = blobs()[0]
        for metric in self.metrics:
            found, true = self.build(rows, self.k, metric=metric).neighbors(), brute_force(rows, self.k, metric)
            reached = recall(found.indices, true.indices)
            assert reached >= self.recall, f"recall is {reached:.3f} for {metric}, {self.recall} is promised"

    def test_every_metric_checked_is_declared(self) -> None:
        declared = self.spec.capabilities.metrics
        assert declared is None or set(self.metrics) <= set(declared)

    def test_same_seed_gives_the_same_table(self) -> None:
        assert_same_table(self.exercise(), self.exercise())

    def test_threads_do_not_change_the_table(self) -> None:
        if not self.spec.capabilities.deterministic:
            pytest.skip("not declared deterministic")
        rows = blobs()[0]
        one, two = (self.build(rows, self.k, n_jobs=n_jobs).neighbors() for n_jobs in (1, 2))
        assert_same_table(one, two)

    def test_duplicated_points(self) -> None:
        rows = blobs()[0][np.r_[:20, np.zeros(60, dtype=int)]]
        found = self.build(rows, self.k).neighbors()
        assert_table(found, rows, self.k)
        assert_true_distances(found, rows, rows, "euclidean")

    def test_constant_points(self) -> None:
        rows = np.ones((40, 3), dtype=np.float32)
        assert_table(self.build(rows, self.k).neighbors(), rows, self.k)

    def test_few_points(self) -> None:
        for n_obs in SMALL:
            rows, k = blobs(n_obs)[0], min(self.k, n_obs - 1)
            found = unless_refused(lambda rows=rows, k=k: self.build(rows, k).neighbors())  # type: ignore[misc]
            if found is not None:
                assert_table(found, rows, k)

    def test_query_of_the_reference_rows_finds_them(self) -> None:
        rows, index = self._index_to_query()
        found = index.query(read_only(rows[:20]), 3)
        assert found.indices.shape == (20, 3) == found.distances.shape
        np.testing.assert_array_equal(found.indices[:, 0], np.arange(20), "a reference row is its own nearest")

    def test_query_of_new_rows(self) -> None:
        rows, index = self._index_to_query()
        new = read_only(rows[:30] + np.float32(0.1))
        found = index.query(new, self.k)
        assert found.indices.dtype == np.int32
        assert found.distances.dtype == np.float32
        assert (np.diff(found.distances, axis=1) >= 0).all(), "neighbours must be sorted, nearest first"
        assert_true_distances(found, new, rows, "euclidean")
        true = np.argsort(all_distances(new, rows), axis=1)[:, : self.k]
        assert recall(found.indices, true) >= self.recall

    def _index_to_query(self) -> tuple[np.ndarray, KnnIndex]:
        if not self.spec.capabilities.out_of_sample:
            pytest.skip("not declared out_of_sample")
        rows = blobs()[0]
        return rows, self.build(rows, self.k)


def assert_table(found: Neighbors, rows: np.ndarray, k: int) -> None:
    """Fail unless the table is one the host and every graph builder can use."""
    problem = check_neighbors(found, len(rows), k)
    assert not problem, problem
    present = found.indices != MISSING
    assert (present == np.isfinite(found.distances)).all(), "-1 goes with inf, and nothing else does"
    assert (found.distances[:, 1:] >= found.distances[:, :-1]).all(), "neighbours must be sorted, nearest first"
    assert (present[:, 1:] <= present[:, :-1]).all(), "missing neighbours come last"
    in_order = np.sort(np.where(present, found.indices, -1 - np.arange(found.k)), axis=1)
    assert (np.diff(in_order, axis=1) != 0).all(), "a neighbour is listed twice"


def assert_true_distances(found: Neighbors, rows: np.ndarray, others: np.ndarray, metric: str) -> None:
    """Fail unless the distances are those of the metric, to the precision of a matrix product in float32."""
    every = all_distances(rows, others, metric)
    present = found.indices != MISSING
    true = np.take_along_axis(every, np.where(present, found.indices, 0), axis=1)
    tolerance = 1e-3 * every.max()
    np.testing.assert_allclose(found.distances[present], true[present], rtol=1e-4, atol=tolerance)


def assert_same_table(one: Neighbors, two: Neighbors) -> None:
    """Fail unless two tables have the same bits."""
    np.testing.assert_array_equal(one.indices, two.indices)
    np.testing.assert_array_equal(one.distances, two.distances)


def recall(found: np.ndarray, true: np.ndarray) -> float:
    """Return the share of true neighbours that were found."""
    return float((found[:, :, None] == true[:, None, :]).any(axis=1).mean())
