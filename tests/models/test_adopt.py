"""Maps of other tools, adopted: from coordinates and representation alone to a model."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import anndata as ad
import numpy as np
import pytest
import scanpy as sc
from sklearn.neighbors import KNeighborsClassifier

import vicinal as vc
from vicinal.api import InputError, ModelError
from vicinal.backends.objective.tsne import PLACEMENT
from vicinal.models.manifest import N_STEPS, parse_handle


@pytest.fixture
def adata() -> ad.AnnData:
    return vc.datasets.pbmc68k_reduced()


@pytest.fixture(scope="module")
def halves(data_dir: Path) -> tuple[ad.AnnData, ad.AnnData]:
    """Cells with maps that scanpy's and another tool's authors published, one half to adopt, the other to place."""
    adata = ad.read_h5ad(data_dir / "pbmc3k.h5ad")
    order = np.random.default_rng(0).permutation(adata.n_obs)
    middle = adata.n_obs // 2
    return adata[order[:middle]].copy(), adata[order[middle:]].copy()


def test_scanpys_entry_stays_and_nothing_else_changes(adata: ad.AnnData) -> None:
    sc.tl.umap(adata, maxiter=10)
    params, coordinates = dict(adata.uns["umap"]["params"]), adata.obsm["X_umap"].copy()
    slots = (list(adata.obsm), list(adata.uns), list(adata.obsp))
    assert vc.models.adopt(adata) is None
    assert set(adata.uns["umap"]) == {"params", "model"}
    assert dict(adata.uns["umap"]["params"]) == params
    np.testing.assert_array_equal(adata.obsm["X_umap"], coordinates)
    assert (list(adata.obsm), list(adata.uns), list(adata.obsp)) == slots


def test_own_cells_land_on_their_places(adata: ad.AnnData) -> None:
    vc.models.adopt(adata, "umap")
    vc.tl.project(adata, adata, key="umap", key_added="again")
    np.testing.assert_array_equal(adata.obsm["again"], adata.obsm["X_umap"].astype(np.float32))


@pytest.mark.parametrize("basis", ["X_umap", "X_tsne"])
def test_half_of_a_published_map_places_the_other_half(halves: tuple, basis: str) -> None:
    """A vote of the 15 nearest in the map finds cell types nearly as well as with the places that were published."""
    old, new = halves[0].copy(), halves[1].copy()
    vc.models.adopt(old, basis, n_pcs=10)
    vc.tl.project(new, old, key=basis[2:], key_added="placed")
    vote = KNeighborsClassifier(15).fit(old.obsm[basis], old.obs["louvain"])
    published, placed = (vote.score(new.obsm[key], new.obs["louvain"]) for key in (basis, "placed"))
    assert placed > published - 0.025
    assert placed > 0.94


def test_through_files_into_a_new_process(adata: ad.AnnData, tmp_path: Path) -> None:
    vc.models.adopt(adata, "X_umap")
    new = adata[:50].copy()
    new.obsm["X_pca"] += 0.01
    adata.write_h5ad(tmp_path / "old.h5ad")
    new.write_h5ad(tmp_path / "new.h5ad")
    vc.models.save(adata, tmp_path / "map.zip", key="umap")
    script = """
import sys
import anndata as ad, numpy as np
import vicinal as vc

new = ad.read_h5ad(sys.argv[2])
vc.tl.project(new, ad.read_h5ad(sys.argv[1]), key="umap", key_added="by_handle")
vc.tl.project(new, sys.argv[3], key_added="by_file")
np.savez(sys.argv[4], **{key: new.obsm[key] for key in ("by_handle", "by_file")})
"""
    paths = [tmp_path / name for name in ("old.h5ad", "new.h5ad", "map.zip", "places.npz")]
    done = subprocess.run([sys.executable, "-c", script, *paths], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    here = vc.tl.project(new, adata, key="umap", copy=True).obsm["X_umap"]
    for places in np.load(paths[-1]).values():
        np.testing.assert_array_equal(places, here)


def test_the_representation_and_metric_are_those_of_the_stored_neighbours(adata: ad.AnnData) -> None:
    sc.pp.neighbors(adata, n_pcs=20, use_rep="X_pca", metric="cosine")
    vc.models.adopt(adata)
    vc.models.adopt(adata, use_rep="X_pca", metric="manhattan", n_neighbors=7, key_added="other")
    models = [_model(adata, key).manifest for key in ("umap", "other")]
    assert [m.representation["metric"] for m in models] == ["cosine", "manhattan"]
    assert [m.placement["n_neighbors"] for m in models] == [15, 7]
    assert models[0].backends == {"map": "adopted"}
    assert models[0].method == models[1].method == "umap"


def _model(adata: ad.AnnData, key: str) -> vc.models.Model:
    from vicinal.adata.model import model_from_adata

    return model_from_adata(adata, key)


def test_a_representation_that_has_nothing_to_do_with_the_map_is_doubted(
    adata: ad.AnnData, caplog: pytest.LogCaptureFixture
) -> None:
    adata.obsm["X_other"] = np.random.default_rng(0).normal(size=(700, 5)).astype(np.float32)
    vc.models.adopt(adata)
    assert "made from something else" not in caplog.text
    vc.models.adopt(adata, use_rep="X_other")
    assert "was it made from something else?" in caplog.text


class TestRefused:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"basis": "X_umpa"}, "X_umpa"),
            ({"basis": 3}, "basis=3 is not allowed; name a map in obsm"),
            ({"basis": "X_pca"}, "50 columns; a map has 1 to 10"),
            ({"use_rep": "X_scVI"}, "X_scVI"),
            ({"n_pcs": 99}, "n_pcs=99"),
            ({"n_neighbors": 0}, "n_neighbors=0"),
            ({"n_neighbors": 2.0}, "n_neighbors=2.0"),
            ({"metric": len}, "metric is the function 'len'"),
            ({"key_added": "a/b"}, "key_added"),
            ({"key_added": "bulk_labels_colors"}, "give key_added="),
        ],
    )
    def test_arguments(self, adata: ad.AnnData, options: dict, message: str) -> None:
        before = sorted(adata.uns)
        with pytest.raises(InputError, match=message):
            vc.models.adopt(adata, **options)
        assert sorted(adata.uns) == before

    def test_an_unknown_metric(self, adata: ad.AnnData) -> None:
        with pytest.raises(ModelError, match="euclidian"):
            vc.models.adopt(adata, metric="euclidian")
        assert "umap" not in adata.uns or "model" not in adata.uns["umap"]

    def test_coordinates_that_are_not_finite(self, adata: ad.AnnData) -> None:
        adata.obsm["X_umap"][3, 1] = np.nan
        with pytest.raises(InputError, match="'X_umap' holds 1 NaN"):
            vc.models.adopt(adata)

    def test_a_map_that_has_its_model(self, adata: ad.AnnData) -> None:
        vc.tl.embed(adata, n_epochs=5)
        with pytest.raises(InputError, match="use it as it is, or give key_added"):
            vc.models.adopt(adata)
        vc.models.adopt(adata, key_added="adopted")
        vc.models.adopt(adata, n_neighbors=5, key_added="adopted")
        assert _model(adata, "adopted").manifest.placement["n_neighbors"] == 5

    def test_no_anndata(self) -> None:
        with pytest.raises(InputError, match="adata is a ndarray"):
            vc.models.adopt(np.zeros((3, 2)))


def test_new_cells_go_down_the_curve_of_the_tool(adata: ad.AnnData) -> None:
    """That of UMAP as scanpy records it, that of t-SNE by its name; of other maps nothing is known."""
    sc.tl.umap(adata, maxiter=10)
    adata.obsm["X_tsne"] = adata.obsm["X_other"] = adata.obsm["X_umap"] + 1
    found = {}
    for basis in ("X_umap", "X_tsne", "X_other"):
        vc.models.adopt(adata, basis)
        manifest = parse_handle(adata.uns[basis[2:]]["model"])
        stated = {**manifest.params, **manifest.placement}
        found[basis] = (stated.get("a"), stated.get("b"), stated["n_steps"])
    recorded = adata.uns["umap"]["params"]
    assert found == {
        "X_umap": (pytest.approx(recorded["a"]), pytest.approx(recorded["b"]), N_STEPS),
        "X_tsne": (1.0, 1.0, PLACEMENT["n_steps"]),
        "X_other": (None, None, N_STEPS),
    }
