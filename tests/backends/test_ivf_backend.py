from __future__ import annotations

import anndata as ad
import numpy as np
import pytest

import vicinal as vc
from vicinal.backends.knn import exact, ivf
from vicinal.contract.errors import InputError
from vicinal.contract.requests import KnnRequest
from vicinal.contract.spec import NoParams
from vicinal.kernels import ivf as kernels
from vicinal.testing import KnnConformance


class TestConformanceInManyClusters(KnnConformance):
    """The kit's data fit into one cluster; here they do not."""

    spec = ivf.SPEC
    recall = 0.98
    metrics = ("euclidean", "cosine")

    @pytest.fixture(autouse=True)
    def small_clusters(self, monkeypatch):
        monkeypatch.setattr(kernels, "MEMBERS", 16)
        monkeypatch.setattr(kernels, "CLUSTERS_PER_ROOT", 1000)


def build(rows, k, params=None, **options):
    request = KnnRequest(representation=rows, k=k, n_obs=len(rows), **options)
    return ivf.Backend(params or ivf.Params()).build(request)


def find_exactly(rows, k, **options):
    request = KnnRequest(representation=rows, k=k, n_obs=len(rows), **options)
    return exact.Backend(NoParams()).build(request).neighbors()


def recall(found, true):
    return (found.indices[:, :, None] == true.indices[:, None, :]).any(axis=1).mean()


@pytest.mark.parametrize("n_probe", [0, -1, 2.5, "8", None, True, np.nan])
def test_n_probe_must_be_a_positive_integer(n_probe):
    with pytest.raises(InputError, match="n_probe=.*give a positive integer"):
        ivf.Backend(ivf.Params(n_probe=n_probe))


def test_metrics_it_does_not_have(rng):
    rows = rng.normal(size=(20, 3)).astype(np.float32)
    with pytest.raises(InputError, match=r"'cosin' is unknown to knn='ivf'. Did you mean 'cosine'\? Allowed are "):
        build(rows, 3, metric="cosin")
    with pytest.raises(InputError, match="'manhattan' .* Give knn='exact'"):
        build(rows, 3, metric="manhattan")
    with pytest.raises(InputError, match="a function, which knn='ivf' cannot use"):
        ivf.Backend(ivf.Params()).check_metric("mine:f", lambda x, y: 0.0)


def test_l2_is_euclidean(rng):
    rows = rng.normal(size=(700, 5)).astype(np.float32)
    one, other = build(rows, 5, metric="l2").neighbors(), build(rows, 5, metric="euclidean").neighbors()
    np.testing.assert_array_equal(one.distances, other.distances)
    assert (one.metric, other.metric) == ("l2", "euclidean")


def test_n_probe_trades_time_for_recall(rng):
    rows = rng.normal(size=(12_000, 16)).astype(np.float32)
    true = find_exactly(rows, 14)
    few, many = (recall(build(rows, 14, ivf.Params(n_probe=n)).neighbors(), true) for n in (1, 40))
    assert few < 0.6 < 0.97 < many


def test_query_with_other_columns(rng):
    index = build(rng.normal(size=(50, 4)).astype(np.float32), 3)
    with pytest.raises(InputError, match=r"\(2, 5\).*\(n_rows, 4\)"):
        index.query(np.zeros((2, 5), np.float32), 3)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_recall_on_images(data_dir, metric):
    rows = np.load(data_dir / "fashion_mnist_pca50.npz")["X_pca"][:20_000].astype(np.float32)
    found, true = build(rows, 14, metric=metric, n_jobs=2).neighbors(), find_exactly(rows, 14, metric=metric, n_jobs=2)
    assert recall(found, true) > 0.999
    new = rows[:500] + np.float32(0.01)
    asked = build(rows, 14, metric=metric).query(new, 14)
    request = KnnRequest(representation=rows, k=14, n_obs=len(rows), metric=metric)
    assert recall(asked, exact.Backend(NoParams()).build(request).query(new, 14)) > 0.999


def test_recall_on_cells(data_dir):
    rows = np.load(data_dir / "cytof_multicenter_8d.npz")["X"][::15].astype(np.float32)
    assert recall(build(rows, 14, n_jobs=2).neighbors(), find_exactly(rows, 14, n_jobs=2)) > 0.999


def test_as_a_stage(rng, monkeypatch):
    monkeypatch.setattr(kernels, "MEMBERS", 32)
    cells = ad.AnnData(obsm={"X_pca": rng.normal(size=(900, 6)).astype(np.float32)})
    cells.obs_names = rng.permutation(900).astype(str)
    shuffled = cells[rng.permutation(900)].copy()
    for adata in (cells, shuffled):
        vc.tl.embed(adata, knn="ivf", n_probe=2, n_neighbors=8, n_epochs=5)
    assert cells.uns["umap"]["backends"]["knn"] == "ivf@vicinal"
    np.testing.assert_array_equal(shuffled[cells.obs_names].obsm["X_umap"], cells.obsm["X_umap"])
    with pytest.raises(InputError, match="n_probe"):
        vc.pp.neighbors(cells, knn="ivf", n_probe=0)
    with pytest.raises(InputError, match="'manhattan' is unknown to knn='ivf'"):
        vc.pp.neighbors(cells, knn="ivf", metric="manhattan")
