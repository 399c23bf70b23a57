"""Positions of PAGA's groups are taken only where they are still those of the groups."""

from __future__ import annotations

import anndata as ad
import numpy as np
import pandas as pd
import pytest
import scanpy as sc

import vicinal as vc
from vicinal.adata.paga import links_between
from vicinal.api import InputError

ORDER = ["a", "b", "c", "d", "e"]


def cells(sizes: list[int]) -> ad.AnnData:
    """Return groups along a line, each touching the next, with PAGA's record of them."""
    group = np.repeat(np.arange(len(sizes)), sizes)
    rng = np.random.default_rng(0)
    made = ad.AnnData(np.zeros((len(group), 0), np.float32))
    made.obsm["X_pca"] = (rng.normal(size=(len(group), 4)) + np.c_[group * 2.0, group**2, 0 * group, 0 * group]).astype(
        np.float32
    )
    made.obs["group"] = pd.Categorical.from_codes(group, ORDER)
    sc.pp.neighbors(made, use_rep="X_pca")
    sc.tl.paga(made, groups="group")
    made.uns["paga"]["pos"] = np.c_[np.arange(5.0), np.zeros(5)]
    return made


@pytest.fixture(scope="module", params=[[40, 50, 60, 45, 55], [50] * 5], ids=["own sizes", "one size"])
def linked(request) -> ad.AnnData:
    return cells(request.param)


def planned(adata: ad.AnnData):
    return vc.tl.plan(adata, init="paga")


def reordered(adata: ad.AnnData, order: list[str]) -> ad.AnnData:
    made = adata.copy()
    made.obs["group"] = made.obs["group"].cat.reorder_categories(order)
    return made


def test_links_are_those_of_paga(linked):
    codes = linked.obs["group"].cat.codes.to_numpy()
    found = links_between(codes, 5, linked.obsp["distances"])
    assert np.allclose(found, linked.uns["paga"]["connectivities"].toarray())


def test_groups_as_they_were(linked):
    assert planned(linked).stages["init"].name == "paga"
    alone = linked.copy()
    alone.obs["group"] = alone.obs["group"].cat.rename_categories(list("vwxyz"))
    planned(alone)


@pytest.mark.parametrize("order", [list("bacde"), list("edcba"), list("abced"), list("cabde")], ids="".join)
def test_reordered_groups_are_refused(linked, order):
    with pytest.raises(InputError, match=r"obs\['group'\] have changed .*sc.tl.paga"):
        planned(reordered(linked, order))


def test_so_they_are_in_a_part_of_the_cells(linked):
    part = linked[::2].copy()
    planned(part)
    with pytest.raises(InputError, match="links in the stored graph"):
        planned(reordered(part, list("bacde")))


def test_a_group_that_is_gone_is_refused(linked):
    part = linked[linked.obs["group"] != "b"].copy()
    with pytest.raises(InputError, match=r"positions of 5 groups, and obs\['group'\] has 4 now"):
        planned(part)
    with pytest.raises(InputError, match="positions of 5 groups"):
        planned(linked[linked.obs["group"] != "b"])


def test_other_groups_of_the_same_number_are_refused(linked):
    other = linked.copy()
    other.obs["group"] = pd.Categorical.from_codes(np.arange(other.n_obs) % 5, ORDER)
    with pytest.raises(InputError, match="have changed"):
        planned(other)


def test_without_a_graph_sizes_must_tell():
    adata = cells([40, 50, 60, 45, 55])
    del adata.obsp["distances"], adata.obsp["connectivities"], adata.uns["neighbors"]
    planned(adata)
    with pytest.raises(InputError, match="had 40, 50, 60, 45, … cells and have 50, 40, 60, 45"):
        planned(reordered(adata, list("bacde")))
    with pytest.raises(InputError, match="cells are missing, and no stored graph shows"):
        planned(adata[::2].copy())


def test_what_only_has_positions_is_taken_as_it_is():
    adata = cells([40, 50, 60, 45, 55])
    adata.uns["paga"] = {"pos": adata.uns["paga"]["pos"], "groups": "group"}
    del adata.uns["group_sizes"]
    planned(adata)


def test_nothing_is_written(linked):
    other = reordered(linked, list("edcba"))
    with pytest.raises(InputError):
        vc.tl.embed(other, init="paga", n_epochs=1)
    assert "X_umap" not in other.obsm


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pos", [[1.0, 2.0], [3.0]]),
        ("pos", np.full((4, 2), np.nan)),
        ("pos", "text"),
        ("groups", ["group"]),
        ("connectivities", "text"),
        ("connectivities", np.full((4, 4), np.nan)),
        ("connectivities", np.array([{}], dtype=object)),
    ],
)
def test_what_is_no_record_of_paga(linked, field, value):
    adata = linked.copy()
    adata.uns["paga"] = {**adata.uns["paga"], field: value}
    with pytest.raises(InputError, match=f"uns.*{field}"):
        planned(adata)
