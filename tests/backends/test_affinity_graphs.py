"""Graphs by perplexity, by one width, and without weights."""

from __future__ import annotations

import numpy as np
import pytest

from vicinal.api import Graph, GraphRequest, InputError, Neighbors
from vicinal.backends.graph.fixed_sigma import FixedSigmaGraph, FixedSigmaParams
from vicinal.backends.graph.perplexity import PerplexityGraph, PerplexityParams
from vicinal.backends.graph.uniform import UniformGraph, UniformParams
from vicinal.testing import brute_force

BACKENDS = {
    "perplexity": (PerplexityGraph, PerplexityParams),
    "fixed_sigma": (FixedSigmaGraph, FixedSigmaParams),
    "uniform": (UniformGraph, UniformParams),
}


def backend(name: str, **params):
    made, holder = BACKENDS[name]
    return made(holder(**params))


def build(name: str, table: Neighbors, **params) -> Graph:
    return backend(name, **params).build(GraphRequest(n_obs=table.n_obs, neighbors=table))


@pytest.fixture
def table(rng) -> Neighbors:
    return brute_force(rng.normal(size=(80, 4)), 24)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        ("perplexity", {}),
        ("perplexity", {"perplexity": 5, "symmetrize": False}),
        ("perplexity", {"perplexity": [2, 10], "combine": "multiscale"}),
        ("fixed_sigma", {"sigma": 1}),
        ("fixed_sigma", {"sigma": 1, "symmetrize": False}),
        ("uniform", {}),
        ("uniform", {"symmetrize": "mean"}),
        ("uniform", {"symmetrize": "none"}),
    ],
)
def test_weights_sum_to_one_and_only_undirected_graphs_are_symmetric(table, name, params):
    graph = build(name, table, **params)
    matrix = graph.to_scipy()
    assert matrix.sum(dtype=float) == pytest.approx(1, abs=1e-6)
    is_directed = params.get("symmetrize") in (False, "none")
    assert graph.directed == is_directed == ((matrix != matrix.T).nnz > 0)
    if is_directed and name != "uniform":
        np.testing.assert_allclose(np.asarray(matrix.sum(axis=1)).ravel(), 1 / 80, rtol=1e-5)


def test_a_symmetric_graph_is_the_mean_of_the_directed_one_and_its_transpose(table):
    for name, params in (("perplexity", {"perplexity": 7}), ("fixed_sigma", {"sigma": 0.5})):
        own = build(name, table, symmetrize=False, **params).to_scipy().toarray()
        np.testing.assert_allclose(build(name, table, **params).to_scipy().toarray(), (own + own.T) / 2, rtol=1e-5)


def test_unweighted_graphs(table):
    own = np.zeros((80, 80))
    np.put_along_axis(own, table.indices.astype(int), 1, axis=1)
    expected = {"none": own, "mean": own + own.T, "max": (own + own.T) > 0}
    for symmetrize, weights in expected.items():
        found = build("uniform", table, symmetrize=symmetrize).to_scipy().toarray()
        np.testing.assert_allclose(found, weights / weights.sum(), rtol=1e-5)


def test_a_wide_perplexity_evens_out_and_a_wide_sigma_too(table):
    spread = [np.ptp(build("perplexity", table, perplexity=p, symmetrize=False).weights) for p in (2, 8, 20)]
    assert spread[0] > spread[1] > spread[2]
    flat = build("fixed_sigma", table, sigma=1e6, symmetrize=False).weights
    np.testing.assert_allclose(flat, 1 / (80 * 24), rtol=1e-5)


@pytest.mark.parametrize("given", [(2, 10), np.array([2, 10]), "2, 10", "2,10"])
def test_several_perplexities_may_be_written_in_several_ways(table, given):
    expected = build("perplexity", table, perplexity=[2.0, 10.0])
    np.testing.assert_array_equal(build("perplexity", table, perplexity=given).weights, expected.weights)
    np.testing.assert_array_equal(
        build("perplexity", table, perplexity=[10]).weights, build("perplexity", table, perplexity=10.0).weights
    )


def test_what_is_recorded_of_several_perplexities_can_be_given_again():
    made = backend("perplexity", perplexity=[2, 10.5])
    made.prepare(80, 40)
    assert made.perplexity == "2, 10.5"
    assert PerplexityParams(perplexity=made.perplexity).perplexity == (2, 10.5)


class TestHowManyNeighbors:
    @pytest.mark.parametrize(
        ("params", "wanted"),
        [({}, 91), ({"perplexity": 50}, 151), ({"perplexity": 5.5}, 17), ({"perplexity": [5, 100]}, 301)],
    )
    def test_three_for_each_of_the_perplexity_and_the_cell(self, params, wanted):
        assert backend("perplexity", **params).n_neighbors(1000) == wanted

    def test_few_cells_clip_the_default_alone(self):
        assert backend("perplexity").n_neighbors(40) == 40
        assert backend("perplexity", perplexity=13).n_neighbors(40) == 40
        with pytest.raises(InputError, match="perplexity=14 is not allowed for 40 cells; give at most 13, a third"):
            backend("perplexity", perplexity=[2, 14]).n_neighbors(40)
        with pytest.raises(InputError, match="perplexity=2 is not allowed for 3 cells; leave it out"):
            backend("perplexity", perplexity=2).n_neighbors(3)

    def test_other_graphs_want_as_many_as_scanpy_and_opentsne_take(self):
        assert [backend("uniform").n_neighbors(n) for n in (9, 1000)] == [9, 15]
        assert [backend("fixed_sigma", sigma=1).n_neighbors(n) for n in (9, 1000)] == [9, 31]

    def test_the_default_is_a_third_of_few_neighbors(self):
        made = backend("perplexity")
        assert made.prepare(1000, 91) == "" and made.perplexity == 30
        assert made.prepare(1000, 201) == "" and made.perplexity == 30
        assert made.prepare(1000, 31) == "perplexity 10 instead of 30: a third of the 30 neighbours"
        assert made.perplexity == 10

    def test_a_perplexity_needs_more_neighbors_than_it_counts(self, table):
        with pytest.raises(InputError, match="perplexity=24 is not allowed with 24 neighbours.*n_neighbors=73"):
            backend("perplexity", perplexity=[3, 24]).prepare(1000, 25)
        with pytest.raises(InputError, match="perplexity=24 is not allowed with 24 neighbours"):
            build("perplexity", table, perplexity=24)
        assert backend("perplexity", perplexity=23).prepare(1000, 25) == ""


@pytest.mark.parametrize("name", BACKENDS)
def test_from_0_to_40_cells(name, rng):
    params = {"sigma": 1.0} if name == "fixed_sigma" else {}
    for n in range(41):
        k = max(backend(name, **params).n_neighbors(n) - 1, 0)
        empty = Neighbors(indices=np.empty((n, 0), np.int32), distances=np.empty((n, 0), np.float32))
        graph = build(name, brute_force(rng.normal(size=(n, 3)), k) if n > 1 else empty, **params)
        assert graph.n_obs == n
        assert (np.diff(graph.indptr) > 0).all() == (n != 1)
        if n > 1:
            assert graph.weights.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("name", BACKENDS)
def test_cells_may_lack_neighbors(name, table):
    indices, distances = table.indices.copy(), table.distances.copy()
    alone = 5
    distances[indices == alone], indices[indices == alone] = np.inf, -1
    indices[alone], distances[alone] = -1, np.inf
    params = {"sigma": 1.0} if name == "fixed_sigma" else {}
    graph = build(name, Neighbors(indices=indices, distances=distances), **params)
    assert np.diff(graph.indptr)[alone] == 0 and alone not in graph.indices
    assert graph.weights.sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("value", [0, 0.99, -3, np.nan, np.inf, True, "wide", "", {}, [5, "x"], [5, None], [[5]]])
def test_perplexities_are_checked(value):
    with pytest.raises(InputError, match="perplexity=.*not allowed; give a finite number of at least 1"):
        PerplexityParams(perplexity=value)


def test_other_parameters_are_checked():
    with pytest.raises(InputError, match="perplexity is empty"):
        PerplexityParams(perplexity=[])
    with pytest.raises(InputError, match="combine='mix' is not allowed; give one of 'mixture', 'multiscale'"):
        PerplexityParams(combine="mix")
    with pytest.raises(InputError, match="symmetrize=1 is not allowed; give True or False"):
        PerplexityParams(symmetrize=1)
    with pytest.raises(InputError, match="needs sigma="):
        FixedSigmaParams()
    for sigma in (0, -1, np.nan, np.inf, "1", True):
        with pytest.raises(InputError, match="sigma=.*give a finite number above 0"):
            FixedSigmaParams(sigma=sigma)
    for symmetrize in (True, None, "avg", ["max"]):
        with pytest.raises(InputError, match="symmetrize=.*give one of 'max', 'mean', 'none'"):
            UniformParams(symmetrize=symmetrize)
