"""What the training of networks reads besides the cells."""

from __future__ import annotations

from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from vicinal.adata.read import read_representation
from vicinal.adata.training import read_training_arrays
from vicinal.api import InputError
from vicinal.contract.options import EmbedOptions, param_of

NAN = np.nan


def cells(n: int = 6, seed: int = 0, n_genes: int = 4) -> ad.AnnData:
    rng = np.random.default_rng(seed)
    made = ad.AnnData(rng.normal(size=(n, n_genes)).astype(np.float32))
    made.obs_names = [f"cell{i}" for i in range(n)]
    made.var_names = [f"gene{i}" for i in range(n_genes)]
    made.obsm["X_pca"] = rng.normal(size=(n, 3)).astype(np.float32)
    return made


def arrays_of(adata: ad.AnnData, *, use_rep: str | None = None, n_pcs: int | None = None, **params: Any):
    options = EmbedOptions(use_rep=use_rep, n_pcs=n_pcs, params=params)
    representation, _ = read_representation(adata, options, None)
    return read_training_arrays(adata, options, representation)


def places() -> np.ndarray:
    made = np.arange(12.0).reshape(6, 2)
    made[2] = NAN
    return made


class TestLandmarkPositions:
    @pytest.mark.parametrize("form", ["array", "list", "frame", "float32", "key", "short key"])
    def test_in_every_form(self, form):
        adata = cells()
        adata.obsm["X_goal"] = places()
        forms = {
            "array": places(),
            "list": places().tolist(),
            "frame": pd.DataFrame(places(), index=adata.obs_names),
            "float32": places().astype(np.float32),
            "key": "X_goal",
            "short key": "goal",
        }
        read = arrays_of(adata, landmark_positions=forms[form])
        assert list(read) == ["landmark_positions"]
        np.testing.assert_array_equal(read["landmark_positions"], places().astype(np.float32), strict=True)

    def test_whole_numbers_are_places(self):
        read = arrays_of(cells(), landmark_positions=np.ones((6, 2), int))["landmark_positions"]
        assert read.dtype == np.float32 and (read == 1).all()

    def test_nothing_given_is_nothing_read(self):
        assert arrays_of(cells()) == arrays_of(cells(), landmark_positions=None, validation=None) == {}

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            ("gaol", "landmark_positions='gaol' is not in adata.obsm; it has 'X_pca', 'goal'. Did you mean 'goal'"),
            (np.ones((6, 3)), r"landmark_positions is float64 \(6, 3\); expected numbers \(6, 2\)"),
            (np.ones((5, 2)), r"landmark_positions is float64 \(5, 2\)"),
            (np.ones(6), r"landmark_positions is float64 \(6,\)"),
            (np.full((6, 2), "a"), "landmark_positions is <U1"),
            (np.ones((6, 2), bool), "landmark_positions is bool"),
            ([[1, 2], [3]], "landmark_positions is object"),
            (sparse.csr_matrix(np.ones((6, 2))), "landmark_positions is object"),
            (3, r"landmark_positions is int64 \(\)"),
            (np.full((6, 2), NAN), "landmark_positions: all are NaN; give each cell"),
            (np.where(np.eye(6, 2), NAN, 1), "landmark_positions: 2 cells have a place that is infinite, or NaN in"),
            (np.where(np.eye(6, 2), np.inf, 1), "landmark_positions: 2 cells have a place that is infinite"),
            (np.where(np.eye(6, 2)[:, :1], np.inf, np.full((6, 2), NAN)), "1 cells have a place that is infinite"),
            (np.full((6, 2), 1e300), "landmark_positions: 6 cells have a place that is infinite"),
        ],
    )
    def test_what_cannot_be(self, given, says):
        adata = cells()
        adata.obsm["goal"] = places()
        with pytest.raises(InputError, match=says):
            arrays_of(adata, landmark_positions=given)


class TestValidation:
    @pytest.mark.parametrize("form", [np.array, list, pd.Series])
    def test_a_mask(self, form):
        mask = np.arange(6) % 2 == 0
        read = arrays_of(cells(), validation=form(mask))
        assert list(read) == ["validation"]
        np.testing.assert_array_equal(read["validation"], mask, strict=True)

    @pytest.mark.parametrize("given", [0.1, 1, np.float64(0.2), "a_column"])
    def test_shares_and_names_are_left_to_the_optimizer(self, given):
        assert arrays_of(cells(), validation=given) == {}

    @pytest.mark.parametrize("form", [np.array, np.asfortranarray, sparse.csr_matrix, lambda rows: rows.tolist()])
    def test_rows_of_other_cells(self, form):
        rows = np.random.default_rng(1).normal(size=(9, 3)).astype(np.float32)
        read = arrays_of(cells(), validation=form(rows))
        np.testing.assert_array_equal(read["validation_rows"], rows, strict=True)

    def test_other_cells(self):
        others = cells(9, 1)
        read = arrays_of(cells(), validation=others)
        np.testing.assert_array_equal(read["validation_rows"], others.obsm["X_pca"])

    def test_other_cells_with_more_columns_where_some_are_taken(self):
        others = cells(9, 1)
        read = arrays_of(cells(), n_pcs=2, validation=others)
        np.testing.assert_array_equal(read["validation_rows"], others.obsm["X_pca"][:, :2])

    def test_genes_of_other_cells_are_matched_by_name(self):
        others = cells(9, 1)
        shuffled = others[:, ["gene2", "gene0", "gene3", "gene1"]].copy()
        read = arrays_of(cells(), use_rep="X", validation=shuffled)
        np.testing.assert_array_equal(read["validation_rows"], others.X)

    @pytest.mark.parametrize(
        ("given", "says"),
        [
            (np.ones(6), r"validation is float64 \(6,\); expected a boolean mask \(6,\), rows"),
            (np.ones(5, bool), r"validation is bool \(5,\); expected a boolean mask \(6,\)"),
            (np.ones((6, 1, 1), bool), r"validation is bool \(6, 1, 1\)"),
            ([[True], [True, False]], r"validation is object \(2,\)"),
            (object(), r"validation is object \(\)"),
            (np.ones((2, 4)), r"validation has shape \(2, 4\); the map is made from rows of 3 columns"),
            (np.ones((0, 3)), r"validation has shape \(0, 3\)"),
            (np.full((2, 3), NAN), "'validation' holds 6 NaN"),
            (np.full((2, 3), "a"), "'validation' has dtype <U1"),
        ],
    )
    def test_what_cannot_be(self, given, says):
        with pytest.raises(InputError, match=says):
            arrays_of(cells(), validation=given)

    def test_other_cells_that_cannot_be(self):
        others = cells(9, 1)
        with pytest.raises(InputError, match="validation has no cells"):
            arrays_of(cells(), validation=others[:0].copy())
        others.obsm["X_pca"] = others.obsm["X_pca"][:, :2]
        with pytest.raises(InputError, match="validation: 'X_pca' has 2 columns here.* 3"):
            arrays_of(cells(), validation=others)
        others.obsm["X_other"] = others.obsm.pop("X_pca")
        with pytest.raises(InputError, match="validation has no 'X_pca', which the map is made from; .*'X_other'"):
            arrays_of(cells(), validation=others)
        with pytest.raises(InputError, match="validation: 2 of the model's 4 features are not in var_names"):
            arrays_of(cells(), use_rep="X", validation=others[:, :2].copy())

    @pytest.mark.parametrize("given", [cells(9, 1), np.ones((2, 3))])
    def test_without_a_representation(self, given):
        with pytest.raises(InputError, match="validation: there is no representation"):
            read_training_arrays(cells(), EmbedOptions(params={"validation": given}), None)


@pytest.mark.parametrize("name", ["validation", "optimizer__validation", "torch__validation"])
def test_parameters_may_name_their_stage(name):
    mask = np.ones(6, bool)
    assert param_of({name: mask, "other": 3}, "validation") is mask
    assert list(arrays_of(cells(), **{name: mask})) == ["validation"]


def test_parameters_that_only_end_alike_are_others():
    assert param_of({"my_validation": 3, "validation__rows": 4, "validation": None}, "validation") is None
