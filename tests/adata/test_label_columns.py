"""Columns of measurements, and of names that no two cells share, are no labels."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import vicinal as vc
from vicinal.adata.labels import MOST_FRACTIONS, MOST_INTEGERS
from vicinal.api import InputError

N = 400
RNG = np.random.default_rng(0)
UNIFORM = RNG.uniform(size=N)
MEASURED = {
    "pseudotime": UNIFORM,
    "rounded": UNIFORM.round(2),
    "float32": UNIFORM.astype(np.float32),
    "some_missing": np.where(UNIFORM < 0.5, np.nan, UNIFORM),
    "n_counts": RNG.integers(500, 5000, N),
    "row": np.arange(N),
    "nullable": pd.array(UNIFORM, dtype="Float64"),
    "objects": UNIFORM.astype(object),
    "dates": pd.Timestamp("2020-01-01") + pd.to_timedelta(np.arange(N), unit="h"),
}
SINGLE = {
    "barcodes": [f"cell{i}" for i in range(N)],
    "categories": pd.Categorical(UNIFORM),
    "all_but_missing": [f"cell{i}" if i % 2 else None for i in range(N)],
}
SHARED = {
    "types": ["a", "b"] * (N // 2),
    "clusters": np.arange(N) % 40,
    "clusters_as_floats": np.where(np.arange(N) % 7, np.arange(N) % 12, np.nan),
    "doses": np.array([0.1, 0.5, 1.0, 2.5])[np.arange(N) % 4],
    "flags": UNIFORM < 0.5,
    "clones": [f"c{i // 2 if i < 100 else i}" for i in range(N)],
    "binned": pd.cut(UNIFORM, 10),
    "nullable_clusters": pd.array(np.arange(N) % 9, dtype="Int64"),
}


@pytest.fixture
def adata() -> ad.AnnData:
    obs = pd.DataFrame({**MEASURED, **SINGLE, **SHARED}, index=[f"c{i}" for i in range(N)])
    made = ad.AnnData(np.zeros((N, 0), np.float32), obs=obs)
    made.obsm["X_pca"] = RNG.normal(size=(N, 4)).astype(np.float32)
    return made


@pytest.mark.parametrize("column", MEASURED)
def test_numbers_are_refused_with_a_remedy(adata, column):
    text = rf"labels='{column}' holds numbers, .* in \d+ cells.*pandas.cut\(adata.obs\['{column}'\], 10\)"
    with pytest.raises(InputError, match=text):
        vc.tl.plan(adata, labels=column)


@pytest.mark.parametrize("column", SINGLE)
def test_what_no_two_cells_share_is_refused(adata, column):
    with pytest.raises(InputError, match=f"labels='{column}' has .* no two cells share one"):
        vc.tl.plan(adata, labels=column)


@pytest.mark.parametrize("column", SHARED)
def test_labels_are_taken(adata, column):
    assert vc.tl.plan(adata, labels=column).labels == column


def test_nor_are_they_labels_of_a_score_or_groups_to_sample(adata):
    adata.obsm["X_map"] = adata.obsm["X_pca"][:, :2].copy()
    with pytest.raises(InputError, match="labels='pseudotime' holds numbers"):
        vc.tl.score(adata, "map", labels="pseudotime")
    with pytest.raises(InputError, match="sample_by='pseudotime' holds numbers"):
        vc.tl.plan(adata, init="sample_place", n_sample=50, sample_by="pseudotime")


def test_the_remedy_works(adata):
    adata.obs["pseudotime_group"] = pd.cut(adata.obs["pseudotime"], 10)
    assert "10 labels" in str(vc.tl.plan(adata, labels="pseudotime_group"))


@pytest.mark.parametrize(("values", "most"), [(np.arange(N) / 2, MOST_FRACTIONS), (np.arange(N), MOST_INTEGERS)])
def test_up_to_some_numbers_they_are_labels(adata, values, most):
    adata.obs["at_most"], adata.obs["more"] = values[np.arange(N) % most], values[np.arange(N) % (most + 1)]
    vc.tl.plan(adata, labels="at_most")
    with pytest.raises(InputError, match=f"{most + 1} different values"):
        vc.tl.plan(adata, labels="more")
