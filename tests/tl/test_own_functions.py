"""Maps with functions of the user's: objectives, distances in the map, metrics of the representation."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from numba import njit
from scipy.spatial import cKDTree

import vicinal as vc
from vicinal.api import Capabilities, CoefficientForm, InputError, ModelError
from vicinal.backends.objective.umap import UmapObjective, UmapParams


@njit
def umap_pull(squared, parameters):
    a, b = parameters[0], parameters[1]
    return -2 * a * b * squared ** (b - 1) / (1 + a * squared**b)


@njit
def umap_push(squared, parameters):
    a, b = parameters[0], parameters[1]
    return 2 * b / ((0.001 + squared) * (1 + a * squared**b))


class Umap:
    """UMAP's objective as a stranger would write it."""

    capabilities = Capabilities(forms=("coefficients",))
    negative_sample_rate = 5

    def __init__(self) -> None:
        self._known = UmapObjective(UmapParams(min_dist=0.5))
        self.attraction, self.repulsion = self._known.attraction, self._known.repulsion
        self.rescale = self._known.rescale

    def form(self, name: str) -> CoefficientForm:
        assert name == "coefficients"
        return CoefficientForm(attraction=umap_pull, repulsion=umap_push, parameters=(self._known.a, self._known.b))


@njit
def euclidean_with_gradient(x, y):
    distance = np.sqrt(((x - y) ** 2).sum())
    return distance, (x - y) / (distance + 1e-6)


@njit
def own_manhattan(x, y):
    total = np.float32(0)
    for k in range(len(x)):
        total += abs(x[k] - y[k])
    return total


def not_jitted(x, y):
    return 0.0


@pytest.fixture(scope="module")
def cells() -> ad.AnnData:
    return vc.datasets.pbmc68k_reduced()


@pytest.fixture
def adata(cells: ad.AnnData) -> ad.AnnData:
    return cells.copy()


def mean_loss(adata: ad.AnnData, **options: object) -> float:
    losses = []
    for seed in range(3):
        vc.tl.embed(adata, key_added="map", random_state=seed, n_epochs=200, **options)
        losses.append(adata.uns["map"]["loss"][-1])
    return float(np.mean(losses))


def test_own_functions_of_umap_do_as_well_as_the_built_in(adata: ad.AnnData) -> None:
    built_in = mean_loss(adata)
    assert mean_loss(adata, objective=Umap(), min_dist=None) == pytest.approx(built_in, rel=0.04)
    recall = adata.uns["map"]["score"]["knn_recall_15"]
    assert mean_loss(adata, output_metric=euclidean_with_gradient) == pytest.approx(built_in, rel=0.04)
    for found in (recall, adata.uns["map"]["score"]["knn_recall_15"]):
        assert found == pytest.approx(0.39, abs=0.03)


@pytest.mark.parametrize(
    "options",
    [{"objective": Umap()}, {"output_metric": euclidean_with_gradient}, {"output_metric": "haversine"}],
    ids=["coefficients", "metric", "haversine"],
)
def test_any_number_of_threads_gives_the_same_bits(adata: ad.AnnData, options: dict) -> None:
    for n_jobs in (1, 2, 3, 8):
        vc.tl.embed(adata, key_added=f"jobs{n_jobs}", n_jobs=n_jobs, n_epochs=10, **options)
        np.testing.assert_array_equal(adata.obsm[f"jobs{n_jobs}"], adata.obsm["jobs1"])


def test_maps_on_the_sphere_keep_neighbours(adata: ad.AnnData) -> None:
    # Single maps keep .145 to .176: the first layout rounds otherwise with another scipy, and the map follows.
    recalls = []
    for seed in range(6):
        vc.tl.embed(adata, output_metric="haversine", n_epochs=200, random_state=seed)
        recalls.append(adata.uns["umap"]["score"]["knn_recall_15"])
    assert np.mean(recalls) > 0.15  # at random 0.02


def test_a_map_on_the_sphere(adata: ad.AnnData) -> None:
    vc.tl.embed(adata, output_metric="haversine", n_epochs=200)
    entry = adata.uns["umap"]
    polar, longitude = adata.obsm["X_umap"].astype(float).T
    space = np.column_stack([np.sin(polar) * np.cos(longitude), np.sin(polar) * np.sin(longitude), np.cos(polar)])
    near_in_map = cKDTree(space).query(space, 16)[1][:, 1:]
    near = cKDTree(adata.obsm["X_pca"]).query(adata.obsm["X_pca"], 16)[1][:, 1:]
    recall = np.mean([len(np.intersect1d(*pair)) / 15 for pair in zip(near, near_in_map, strict=True)])
    assert entry["score"]["knn_recall_15"] == pytest.approx(recall, abs=0.005)
    assert vc.tl.score(adata)["knn_recall_15"] == pytest.approx(recall, abs=0.005)
    assert entry["loss"][-1] < 0.6 * entry["loss"][0]
    assert entry["params"]["output_metric"] == "haversine"
    with pytest.raises(ModelError, match="output_metric='haversine'"):
        vc.tl.project(adata, adata, key_added="again")


def test_the_sphere_has_two_dimensions(adata: ad.AnnData) -> None:
    with pytest.raises(InputError, match="n_components=3 .*output_metric='haversine'; it can do only 2"):
        vc.tl.plan(adata, output_metric="haversine", n_components=3)


def test_functions_are_recorded_by_name(adata: ad.AnnData, tmp_path) -> None:
    plan = vc.tl.plan(adata, output_metric=euclidean_with_gradient, metric=own_manhattan)
    assert plan.to_dict()["metric"].endswith(":own_manhattan")
    assert plan.to_dict()["stages"]["objective"]["params"]["output_metric"].endswith(":euclidean_with_gradient")
    assert "own_manhattan" not in str(plan.stages["objective"]) and "euclidean_with_gradient" in str(plan)
    vc.tl.embed(adata, output_metric=euclidean_with_gradient, n_epochs=2)
    adata.write_h5ad(tmp_path / "map.h5ad")
    stored = ad.read_h5ad(tmp_path / "map.h5ad").uns["umap"]["params"]["output_metric"]
    assert stored == adata.uns["umap"]["params"]["output_metric"] == f"{__name__}:euclidean_with_gradient"


class TestMetric:
    def test_a_function_finds_the_neighbors_its_name_does(self, adata: ad.AnnData) -> None:
        for key, metric in (("named", "manhattan"), ("own", own_manhattan)):
            vc.pp.neighbors(adata, metric=metric, knn="pynndescent", key_added=key, n_jobs=1)
        assert adata.uns["own"]["params"]["metric"] == f"{__name__}:own_manhattan"
        named, own = adata.obsp["named_distances"], adata.obsp["own_distances"]
        shared = (named > 0).multiply(own > 0)
        assert shared.nnz >= 0.995 * named.nnz  # the peer's own sums are rounded in another order
        np.testing.assert_allclose(shared.multiply(own).data, shared.multiply(named).data, rtol=1e-5)

    def test_a_map_from_a_function(self, adata: ad.AnnData) -> None:
        vc.tl.embed(adata, metric=own_manhattan, n_epochs=50)
        entry = adata.uns["umap"]
        assert entry["backends"]["knn"] == "pynndescent@vicinal"
        assert entry["params"]["metric"] == f"{__name__}:own_manhattan"
        assert entry["score"]["knn_recall_15"] > 0.2
        with pytest.raises(InputError, match="own_manhattan' is a function, which is not stored. Give use_rep="):
            vc.tl.score(adata)
        assert vc.tl.score(adata, use_rep="X_pca")["trustworthiness"] > 0.8
        with pytest.raises(ModelError, match="own_manhattan' is a function, which is not stored"):
            vc.tl.project(adata[:10].copy(), adata)

    def test_stored_neighbors_of_a_function(self, adata: ad.AnnData) -> None:
        vc.pp.neighbors(adata, metric=own_manhattan)
        assert vc.tl.plan(adata).metric == f"{__name__}:own_manhattan"
        with pytest.raises(InputError, match="found with the function .*give metric="):
            vc.tl.plan(adata, n_neighbors=40)
        assert vc.tl.plan(adata, n_neighbors=40, metric="cosine").stages["knn"].name == "exact"

    @pytest.mark.parametrize(
        ("metric", "knn"),
        [("euclidean", "exact"), ("l1", "exact"), ("correlation", "exact"), ("tsss", "pynndescent")]
        + [(own_manhattan, "pynndescent")],
    )
    def test_who_finds_them(self, adata: ad.AnnData, metric: object, knn: str) -> None:
        assert vc.tl.plan(adata, metric=metric).stages["knn"].name == knn

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"metric": "euclidian"}, "metric='euclidian' .*Did you mean 'euclidean'"),
            ({"metric": "correlatio", "knn": "exact"}, "'exact'.*Did you mean 'correlation'"),
            ({"metric": "jenson_shannon"}, "Did you mean 'jensen_shannon'.*'canberra'"),
            ({"metric": own_manhattan, "knn": "exact"}, "a function, which knn='exact' cannot use"),
            ({"metric": not_jitted}, "not_jitted', .*decorated with numba.njit"),
            ({"metric": 3}, "metric=3 is not allowed; give a metric's name"),
            ({"output_metric": not_jitted}, "not_jitted', .*decorated with numba.njit"),
            ({"output_metric": "sphere"}, "output_metric='sphere'"),
        ],
    )
    def test_bad_metrics_are_refused_before_any_work(self, adata: ad.AnnData, options: dict, message: str) -> None:
        with pytest.raises(InputError, match=message):
            vc.tl.plan(adata, **options)
        if "metric" in options:
            with pytest.raises(InputError, match=message):
                vc.pp.neighbors(adata, **options)
