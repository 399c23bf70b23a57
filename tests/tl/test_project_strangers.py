"""Flags of cells unlike a map's own, written beside their places."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from networks_for_tests import a_fitted_model

import vicinal as vc
from vicinal.adata import write
from vicinal.api import InputError, ModelError
from vicinal.kernels import parallel
from vicinal.models import strangers
from vicinal.models.manifest import parse_handle
from vicinal.models.store import from_handle, handle_of

COLUMNS = ["umap_stranger_score", "umap_stranger_p", "umap_is_stranger"]


def cells(n, seed=0, offset=0.0):
    rng = np.random.default_rng(seed)
    adata = ad.AnnData(np.zeros((n, 1), np.float32), obs=pd.DataFrame(index=[f"cell{seed}_{i}" for i in range(n)]))
    adata.obsm["X_pca"] = (rng.normal(size=(n, 5)) + offset).astype(np.float32)
    return adata


def reusable(**changes):
    return {
        "kind": "landmarks",
        "method": "umap",
        "backends": {},
        "versions": {"vicinal": "0.1.0"},
        "params": {},
        "representation": {"name": "X_pca", "n_features": 5, "n_pcs": None},
        "metric": "euclidean",
        "n_neighbors": 6,
        **changes,
    }


def mapped(n):
    adata = cells(n)
    adata.obsm["X_umap"] = adata.obsm["X_pca"][:, :2].copy()
    adata.uns["umap"] = {"params": {"min_dist": 0.5}, "model": handle_of(reusable(), "X_umap")}
    return adata


@pytest.fixture
def reference():
    return mapped(400)


@pytest.fixture
def new():
    """Eighty cells like the reference, then twenty far from it."""
    adata = ad.concat([cells(80, seed=1), cells(20, seed=2, offset=8.0)])
    adata.obs["donor"] = "a"
    return adata


def untouched(adata):
    assert list(adata.obs) == ["donor"] and list(adata.obsm) == ["X_pca"] and not adata.uns


def test_scores_p_values_and_flags(reference, new):
    vc.tl.project(new, reference)
    assert list(new.obs) == ["donor", *COLUMNS]
    score, p, flags = (new.obs[name].to_numpy() for name in COLUMNS)
    assert (score.dtype, p.dtype, flags.dtype) == (np.float32, np.float64, bool)
    np.testing.assert_array_equal(flags, p <= 0.05)
    assert flags[80:].all() and flags[:80].mean() < 0.15 and score[80:].min() > score[:80].max()
    assert new.uns["umap"]["strangers"] == {
        "level": 0.05,
        "n_strangers": flags.sum(),
        "n_reference": 400,
        "parked": False,
    }
    assert np.isfinite(new.obsm["X_umap"]).all()


def test_pure_function_of_the_row(reference, new, tmp_path):
    vc.models.save(reference, tmp_path / "model")
    model = vc.models.load(tmp_path / "model")
    expected = vc.tl.project(new, model, n_jobs=1, copy=True).obs[COLUMNS]
    order = np.random.default_rng(0).permutation(new.n_obs)
    for n_jobs in (2, 3):
        shuffled = vc.tl.project(new[order].copy(), reference, n_jobs=n_jobs, copy=True).obs[COLUMNS]
        pd.testing.assert_frame_equal(shuffled.loc[new.obs_names], expected)
    alone = pd.concat([vc.tl.project(new[[i]].copy(), model, copy=True).obs[COLUMNS] for i in range(70, 90)])
    pd.testing.assert_frame_equal(alone, expected.iloc[70:90])


def test_one_thread_is_one_thread(reference, new, monkeypatch):
    strangers._remembered.cache_clear()
    monkeypatch.setattr(parallel, "ThreadPoolExecutor", None)
    vc.tl.project(new, reference, n_jobs=1)
    assert new.obs["umap_is_stranger"].any()
    with pytest.raises(TypeError):
        vc.tl.project(new, mapped(5000), n_jobs=2)


def test_what_is_learned_of_one_map_is_not_told_of_another(new, tmp_path):
    """A process remembers references by what they hold: not by the file's name, the cells' or their number."""
    path, found = tmp_path / "model", []
    for offset in (0.0, 4.0, 0.0, 8.0):
        adata = mapped(400)
        adata.obsm["X_pca"] += np.float32(offset)
        vc.models.save(adata, path)
        found.append(vc.tl.project(new, path, copy=True).obs["umap_stranger_score"].to_numpy())
        strangers._remembered.cache_clear()
        np.testing.assert_array_equal(vc.tl.project(new, path, copy=True).obs["umap_stranger_score"], found[-1])
    np.testing.assert_array_equal(found[0], found[2])
    assert (found[0] != found[1]).all() and (found[0] != found[3]).all()


def test_what_is_learned_is_asked_for_once(reference, new, monkeypatch):
    vc.tl.project(new, reference, copy=True)
    monkeypatch.setattr(strangers, "learn", None)
    vc.tl.project(new, reference)
    assert new.obs["umap_is_stranger"].any()


def test_reference_cells_are_no_strangers_to_themselves(reference):
    again = vc.tl.project(cells(400), reference, copy=True)
    assert again.obs["umap_is_stranger"].mean() < 0.05


def test_parking(reference, new):
    kept = vc.tl.project(new, reference, copy=True)
    vc.tl.project(new, reference, park_strangers=True)
    flags = new.obs["umap_is_stranger"].to_numpy()
    assert np.isnan(new.obsm["X_umap"][flags]).all() and flags.sum() >= 20
    np.testing.assert_array_equal(new.obsm["X_umap"][~flags], kept.obsm["X_umap"][~flags])
    assert new.uns["umap"]["strangers"]["parked"] is True


def test_the_level_sets_the_flags_alone(reference, new):
    strict, loose = (vc.tl.project(new, reference, stranger_level=level, copy=True) for level in (0.01, 0.5))
    pd.testing.assert_frame_equal(strict.obs[COLUMNS[:2]], loose.obs[COLUMNS[:2]])
    assert strict.obs["umap_is_stranger"].sum() < loose.obs["umap_is_stranger"].sum()
    np.testing.assert_array_equal(loose.obs["umap_is_stranger"], loose.obs["umap_stranger_p"] <= 0.5)


def test_key_added_names_the_columns(reference, new):
    vc.tl.project(new, reference, key_added="mapped")
    assert list(new.obs) == ["donor", *(name.replace("umap", "mapped") for name in COLUMNS)]


def test_copy_and_view(reference, new):
    copied = vc.tl.project(new, reference, copy=True)
    untouched(new)
    view = new[:50]
    vc.tl.project(view, reference)
    pd.testing.assert_frame_equal(view.obs[COLUMNS], copied.obs[COLUMNS].iloc[:50])
    untouched(new)


@pytest.mark.parametrize("form", ["h5ad", "zarr"])
def test_survives_files(reference, new, tmp_path, form):
    vc.tl.project(new, reference)
    getattr(new, f"write_{form}")(tmp_path / "new")
    back = getattr(ad, f"read_{form}")(tmp_path / "new")
    pd.testing.assert_frame_equal(back.obs[COLUMNS], new.obs[COLUMNS])
    assert dict(back.uns["umap"]["strangers"]) == new.uns["umap"]["strangers"]
    vc.tl.project(back, reference)  # what an earlier projection wrote may be written again, from a file too
    pd.testing.assert_frame_equal(back.obs[COLUMNS], new.obs[COLUMNS])


class TestOwnColumns:
    def test_flags_of_an_earlier_projection_go_where_there_are_none(self, reference, new):
        vc.tl.project(new, reference)
        vc.tl.project(new, reference, stranger_level=None)
        assert list(new.obs) == ["donor"] and "strangers" not in new.uns["umap"]
        vc.tl.project(new, reference)
        vc.tl.project(new, mapped(12))
        assert list(new.obs) == ["donor"]
        assert "12 reference cells; at least 20 are needed" in new.uns["umap"]["strangers"]["unavailable"]

    def test_those_of_the_user_are_not_overwritten(self, reference, new):
        new.obs["umap_stranger_p"] = 0.5
        with pytest.raises(InputError, match="obs has 'umap_stranger_p', which are no flags .* another key_added"):
            vc.tl.project(new, reference)
        assert list(new.obs) == ["donor", "umap_stranger_p"] and not new.uns
        vc.tl.project(new, reference, stranger_level=None)
        assert (new.obs["umap_stranger_p"] == 0.5).all()

    def test_all_or_nothing(self, reference, new, monkeypatch):
        def fail(*args, **kwargs):
            raise KeyboardInterrupt

        monkeypatch.setattr(write, "put_map", fail)
        with pytest.raises(KeyboardInterrupt):
            vc.tl.project(new, reference)
        untouched(new)


class TestRefuses:
    @pytest.mark.parametrize("level", [0, 1, -0.1, 5, "0.05", True, float("nan")])
    def test_levels_that_are_none(self, reference, new, level):
        with pytest.raises(InputError, match="stranger_level=.* a number between 0 and 1, or None for no flags"):
            vc.tl.project(new, reference, stranger_level=level)
        untouched(new)

    def test_parking_without_flags(self, reference, new):
        with pytest.raises(InputError, match="park_strangers=True needs flags"):
            vc.tl.project(new, reference, stranger_level=None, park_strangers=True)
        with pytest.raises(InputError, match="park_strangers='yes' is not allowed; give True or False"):
            vc.tl.project(new, reference, park_strangers="yes")
        with pytest.raises(ModelError, match="park_strangers=True: .* holds 12 reference cells"):
            vc.tl.project(new, mapped(12), park_strangers=True)
        untouched(new)


class TestNetworks:
    def model(self, **changes):
        fitted = a_fitted_model(5)
        kept = handle_of(reusable(kind="network", fitted=fitted, **changes), "X_umap")
        return from_handle(parse_handle(kept), kept["arrays"])

    def test_tell_strangers_by_the_cells_they_keep(self, reference, new, tmp_path):
        model = self.model(rows=reference.obsm["X_pca"])
        by_network = vc.tl.project(new, model, copy=True)
        by_landmarks = vc.tl.project(new, reference, copy=True)
        pd.testing.assert_frame_equal(by_network.obs[COLUMNS], by_landmarks.obs[COLUMNS])
        vc.models.save(model, tmp_path / "model")
        again = vc.tl.project(new, tmp_path / "model", copy=True)
        pd.testing.assert_frame_equal(again.obs[COLUMNS], by_network.obs[COLUMNS])

    def test_say_so_where_they_keep_none(self, new):
        vc.tl.project(new, self.model())
        assert list(new.obs) == ["donor"]
        says = "the model holds none of the cells it was made from"
        assert says in new.uns["umap"]["strangers"]["unavailable"]
        with pytest.raises(ModelError, match=says):
            vc.tl.project(new, self.model(), park_strangers=True)
