"""Known cells scored by PCAs that have not seen them, and what new cells' scores are ranked among."""

from __future__ import annotations

import dataclasses
import logging

import anndata as ad
import numpy as np
import pytest

import vicinal as vc
from vicinal.adata.model import model_from_adata, read_new_cells
from vicinal.api import ModelError
from vicinal.models import novelty
from vicinal.models.inference import find_strangers
from vicinal.models.store import Model, describe

sc = pytest.importorskip("scanpy")

N_GENES, N_PCS = 100, 12


def cells(n, seed, kinds=(0, 1, 2), shift=0.0):
    """Return cells of kinds that differ in a few genes each, in noise that fills all components."""
    rng = np.random.default_rng(seed)
    means = np.random.default_rng(7).normal(2.0, 1.0, size=(4, N_GENES))
    values = means[rng.choice(kinds, size=n)] + rng.normal(size=(n, N_GENES))
    values[:, -20:] += shift * rng.choice([-1, 1], size=(n, 20))
    adata = ad.AnnData(values.astype(np.float32))
    adata.obs_names = [f"cell{seed}_{i}" for i in range(n)]
    return adata


def adopted(adata):
    sc.pp.pca(adata, n_comps=N_PCS)
    adata.obsm["X_umap"] = adata.obsm["X_pca"][:, :2].copy()
    vc.models.adopt(adata, use_rep="X_pca")
    return adata


@pytest.fixture(scope="module")
def reference():
    return adopted(cells(1200, 0))


@pytest.fixture(scope="module")
def model(reference):
    return model_from_adata(reference)


def flagged(adata, model, level=0.05, **options):
    read = read_new_cells(adata, model, **options)
    return find_strangers(model, read.rows, level, off=read.off).flags.mean()


def without(model, name="novelty"):
    arrays = {key: array for key, array in model.arrays.items() if not key.startswith(name)}
    return Model(dataclasses.replace(model.manifest, arrays=describe(arrays)), arrays)


class TestCalibration:
    """What a model keeps, and what it makes of new cells."""

    def test_known_cells_are_flagged_at_the_level(self, model):
        known = cells(2000, 1)
        for level in (0.05, 0.2):
            assert abs(flagged(known, model, level) - level) < 0.5 * level

    def test_few_reference_cells_are_warned_of(self, model, caplog):
        few = model_from_adata(adopted(cells(300, 0)))
        with caplog.at_level(logging.WARNING, "vicinal"):
            flagged(cells(10, 1), model)
            find_strangers(few, few.reference, None)
            assert not caplog.messages
            flagged(cells(10, 1), few, 0.05)
            flagged(cells(10, 1), few, 0.6)
        said = "300 reference cells tell which cells are strangers; below 1,000, up to"
        assert caplog.messages == [
            f"{said} 0.1 of known cells may be flagged at stranger_level=0.05",
            f"{said} 1 of known cells may be flagged at stranger_level=0.6",
        ]

    def test_components_of_the_reference_alone_are_not_trusted(self, model):
        """Ranks among the reference by its own PCA flag far fewer than the level."""
        assert flagged(cells(2000, 1), without(model)) < 0.5 * flagged(cells(2000, 1), model)

    def test_what_lies_off_the_components_counts(self, model):
        off = cells(300, 2, shift=1.5)
        assert flagged(off, model) > 0.5 > flagged(off, without(model)) + 0.2

    def test_rows_alone_are_ranked_among_cross_fitted_scores(self, reference, model):
        known = cells(2000, 1)
        vc.tl.represent(known, model)
        assert abs(flagged(known, model, use_rep="X_pca") - 0.05) < 0.025

    def test_a_new_cell_is_a_function_of_itself(self, model):
        new = cells(30, 3)
        whole = read_new_cells(new, model)
        one = [read_new_cells(new[[i], ::-1].copy(), model, n_jobs=2).off for i in range(30)]
        np.testing.assert_array_equal(np.vstack(one), whole.off)

    def test_p_values_are_ranks(self):
        scores = np.random.default_rng(0).random((99, 3)).astype(np.float32)
        known = novelty.Calibration(scores, np.ones(3, np.float32))
        p = known.p_values(np.array([2, -1], np.float32), np.array([[2, 2], [-1, -1]], np.float32))
        assert p[0] <= 0.02 and p[1] == 1
        own = known.p_values(scores[:, 0], scores[:, 1:])
        assert np.mean(own <= 0.1) == pytest.approx(0.1, abs=0.03)
        np.testing.assert_allclose(known.p_values(np.array([2, -1], np.float32), None), [0.01, 1])


class TestWhereItIsKept:
    """In the model that is made of an AnnData, and its file."""

    def test_the_file_says_the_same(self, reference, model, tmp_path):
        vc.models.save(reference, tmp_path / "model")
        loaded = vc.models.load(tmp_path / "model")
        assert loaded.manifest.fingerprint == model.manifest.fingerprint
        new = cells(30, 3)
        vc.tl.project(new, tmp_path / "model")
        again = vc.tl.project(cells(30, 3), reference, copy=True)
        assert new.obs["umap_stranger_p"].equals(again.obs["umap_stranger_p"])
        assert new.uns["umap"]["strangers"]["n_reference"] == 1200

    def test_not_where_the_pca_saw_other_cells_too(self):
        both = cells(1500, 0)
        sc.pp.pca(both, n_comps=N_PCS)
        part = both[:1200].copy()
        part.obsm["X_umap"] = part.obsm["X_pca"][:, :2].copy()
        vc.models.adopt(part, use_rep="X_pca")
        made = model_from_adata(part)
        assert made.genes is not None and made.novelty is None

    def test_not_where_cells_are_few(self):
        assert model_from_adata(adopted(cells(34, 0))).novelty is None

    @pytest.mark.parametrize(
        ("name", "change"),
        [
            ("novelty_scores", lambda a: a[:, :2]),
            ("novelty_scores", lambda a: a.astype(np.float64)),
            ("novelty_scores", lambda a: a[:0]),
            ("novelty_scores", lambda a: np.where(a > 0, np.float32(np.nan), a)),
            ("novelty_scores", lambda a: a[0, 0]),
            ("novelty_variances", lambda a: a[:-1]),
            ("novelty_variances", lambda a: 0 * a),
            ("novelty_variances", lambda a: np.inf * a),
            ("novelty_scores", None),
            ("genes", None),
        ],
    )
    def test_arrays_that_cannot_be_used_are_refused(self, model, name, change):
        if change is None:
            with pytest.raises(ModelError, match="novelty_"):
                without(model, name)
            return
        arrays = {**model.arrays, name: np.asarray(change(model.arrays[name]))}
        with pytest.raises(ModelError, match="novelty_"):
            Model(dataclasses.replace(model.manifest, arrays=describe(arrays)), arrays)

    def test_columns_of_a_csc_matrix_and_a_sample(self, reference, model, monkeypatch):
        from scipy import sparse

        other = reference.copy()
        other.X = sparse.csc_matrix(other.X)
        np.testing.assert_array_equal(model_from_adata(other).novelty.scores, model.novelty.scores)
        monkeypatch.setattr(novelty, "MOST_BYTES", 4 * N_GENES * 100)
        assert len(model_from_adata(other).novelty.scores) == 100
