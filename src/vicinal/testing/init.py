"""What every initialisation must do."""

# ruff: noqa: D102  the name of a check says what it checks

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest

from vicinal.contract.data import Graph, Layout
from vicinal.contract.options import EmbedOptions
from vicinal.contract.requests import InitRequest
from vicinal.contract.stages import Host
from vicinal.pipeline.checks import check_layout

from .base import SMALL, Conformance, unless_refused
from .data import blobs, brute_force, knn_graph, normal_layout, read_only, ring_graph


class InitConformance(Conformance):
    """Checks of an initialisation.

    Attributes
    ----------
    k
        Neighbours of each cell in the graphs it is given.
    """

    stage: ClassVar[str] = "init"
    k: ClassVar[int] = 10

    def place(
        self, graph: Graph, rows: np.ndarray | None, n_components: int = 2, *, seed: int = 0, n_jobs: int = 1
    ) -> Layout:
        """Return the first layout of a graph over the rows."""
        request = InitRequest(
            graph=graph,
            n_components=n_components,
            representation=None if rows is None else read_only(rows),
            arrays=self.arrays(graph.n_obs, n_components),
            seed=seed,
            n_jobs=n_jobs,
            host=host_of(rows, graph, n_components, n_jobs),
        )
        return self.make_backend().place(request)

    def arrays(self, n_obs: int, n_components: int) -> dict[str, np.ndarray]:
        """Return the extra arrays its capabilities ask for."""
        arrays: dict[str, np.ndarray] = {}
        if "positions" in self.spec.capabilities.inputs:
            arrays["positions"] = normal_layout(n_obs, n_components)
        if "paga" in self.spec.capabilities.inputs:
            n_groups = min(3, n_obs)
            arrays["paga_positions"] = read_only(10 * normal_layout(n_groups, 2).astype(np.float64))
            arrays["paga_groups"] = read_only(np.arange(n_obs) % n_groups)
        return arrays

    def exercise(self) -> Any:
        """Place some points."""
        rows = blobs()[0]
        return self.place(knn_graph(brute_force(rows, self.k)), rows)

    def test_layout_in_every_number_of_dimensions(self) -> None:
        rows = blobs()[0]
        low, high = self.spec.capabilities.n_components
        for n_components in {low, *range(max(low, 1), min(high, 3) + 1)}:
            layout = self.place(knn_graph(brute_force(rows, self.k)), rows, n_components)
            assert_layout(layout, len(rows), n_components)

    def test_cells_do_not_fall_on_a_line_or_a_point(self) -> None:
        layout = self.exercise().astype(np.float64)
        spread = layout.std(axis=0)
        assert spread.min() > 1e-3 * spread.max() > 0, f"the dimensions have standard deviations {spread}"

    def test_works_without_a_representation(self) -> None:
        if "representation" in self.spec.capabilities.inputs:
            pytest.skip("declared to need a representation")
        assert_layout(self.place(ring_graph(60), None), 60, 2)

    def test_disconnected_graph(self) -> None:
        rows = blobs()[0]
        assert_layout(self.place(ring_graph(len(rows), n_rings=4), rows), len(rows), 2)

    def test_graph_without_edges(self) -> None:
        empty = Graph(
            indptr=np.zeros(41, dtype=np.int32),
            indices=np.zeros(0, dtype=np.int32),
            weights=np.zeros(0, dtype=np.float32),
        )
        assert_layout(self.place(empty, blobs(40)[0]), 40, 2)

    def test_duplicated_points(self) -> None:
        rows = blobs()[0][np.r_[:20, np.zeros(60, dtype=int)]]
        assert_layout(self.place(knn_graph(brute_force(rows, self.k)), rows), len(rows), 2)

    def test_same_seed_gives_the_same_layout(self) -> None:
        np.testing.assert_array_equal(self.exercise(), self.exercise())

    def test_threads_do_not_change_the_layout(self) -> None:
        if not self.spec.capabilities.deterministic:
            pytest.skip("not declared deterministic")
        rows = blobs()[0]
        graph = knn_graph(brute_force(rows, self.k))
        np.testing.assert_array_equal(self.place(graph, rows, n_jobs=1), self.place(graph, rows, n_jobs=2))

    def test_few_points(self) -> None:
        for n_obs in SMALL:
            rows = blobs(n_obs)[0]
            graph = knn_graph(brute_force(rows, min(self.k, n_obs - 1)))
            layout = unless_refused(lambda graph=graph, rows=rows: self.place(graph, rows))  # type: ignore[misc]
            if layout is not None:
                assert_layout(layout, n_obs, 2)


def host_of(rows: np.ndarray | None, graph: Graph, n_components: int, n_jobs: int) -> Host:
    """Return what serves a backend in a run over rows, or over a graph alone."""
    from vicinal.pipeline.host import RunHost, sub_source
    from vicinal.pipeline.plan import make_plan

    options = EmbedOptions(n_components=n_components, n_jobs=n_jobs, init="random")
    return RunHost(make_plan(sub_source(rows, None if rows is not None else graph), options))


def assert_layout(layout: Layout, n_obs: int, n_components: int) -> None:
    """Fail unless the layout is one the host can go on from."""
    problem = check_layout(layout, n_obs, n_components)
    assert not problem, problem
    assert layout.flags.c_contiguous, "a layout must be C-contiguous"
