"""Cells beside a map of a sample, placed by openTSNE and by ``init="sample_place"`` from the same map."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pytest
from openTSNE import TSNEEmbedding
from openTSNE.affinity import PerplexityBasedNN

import vicinal as vc
from vicinal.backends.objective.umap import UmapObjective, UmapParams

EXTENT = 10
"""Longest side of a first layout for UMAP."""

SAMPLE_MAP = {"init": "pca", "n_epochs": 200}


def clouds():
    rng = np.random.default_rng(0)
    centers = rng.normal(scale=4, size=(6, 12))
    return centers[rng.integers(6, size=3000)] + rng.normal(size=(3000, 12))


@pytest.fixture(scope="module", params=["pbmc3k", "paul15", "clouds"])
def rows(request):
    if request.param == "clouds":
        values = clouds()
    else:
        data_dir = request.getfixturevalue("data_dir")
        values = ad.read_h5ad(data_dir / f"{request.param}.h5ad").obsm["X_pca"]
    return np.ascontiguousarray(values, dtype=np.float32)


@pytest.fixture(scope="module")
def sample_map(rows):
    """Which cells are drawn into a quarter, and the map of those alone."""
    cells = as_cells(rows)
    vc.tl.embed(cells, init="sample_place", sample_size=len(rows) // 4, n_epochs=0)
    chosen = cells.uns["umap"]["init"]["sample"]
    sample = cells[chosen].copy()
    vc.tl.embed(sample, n_neighbors=30, **SAMPLE_MAP)
    return chosen, sample.obsm["X_umap"]


def as_cells(rows):
    return ad.AnnData(np.zeros((len(rows), 1), dtype=np.float32), obsm={"X_pca": rows})


def theirs(rows, chosen, places, k):
    affinities = PerplexityBasedNN(rows[chosen], perplexity=30, method="exact")
    partial = TSNEEmbedding(places, affinities).prepare_partial(
        rows[~chosen], initialization="median", k=k, perplexity=k / 3
    )
    placed = np.empty((len(rows), 2), dtype=np.float32)
    placed[chosen], placed[~chosen] = places, partial
    return UmapObjective(UmapParams()).rescale(placed)


@pytest.mark.parametrize("k", [1, 10])
def test_cells_lie_where_opentsne_places_them(rows, sample_map, k):
    cells = as_cells(rows)
    of_sample = {"sample_size": len(rows) // 4, "sample_n_neighbors": 30, "sample_params": SAMPLE_MAP}
    placed = {"place_neighbors": k, "place_by": "median", "place_jitter": 0}
    vc.tl.embed(cells, init="sample_place", n_epochs=0, **of_sample, **placed)
    chosen, places = sample_map
    np.testing.assert_array_equal(cells.uns["umap"]["init"]["sample"], chosen)
    expected = theirs(rows, chosen, places, k)
    assert np.ptp(expected, axis=0).max() == pytest.approx(EXTENT)
    np.testing.assert_allclose(cells.obsm["X_umap"], expected, rtol=0, atol=1e-3 * EXTENT)


def test_placements_tell_the_number_of_neighbours_apart(rows, sample_map):
    """Without which agreement would say little: most cells lie elsewhere with 10 than with 1."""
    alone, among = (theirs(rows, *sample_map, k)[~sample_map[0]] for k in (1, 10))
    assert np.median(np.abs(alone - among).max(axis=1)) > 5e-3 * EXTENT
