from __future__ import annotations

import anndata as ad
import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest

from vicinal import pl
from vicinal.contract.errors import InputError


@pytest.fixture(autouse=True)
def _agg():
    before = matplotlib.get_backend()
    matplotlib.use("Agg")
    yield
    plt.close("all")
    matplotlib.use(before)


@pytest.fixture
def adata(rng):
    obs = pd.DataFrame(
        {"cell_type": pd.Categorical(["T", "B", "NK"] * 10), "depth": np.arange(30.0)},
        index=[f"c{i}" for i in range(30)],
    )
    var = pd.DataFrame({"symbol": ["CD3E", "MS4A1", "NKG7", "LYZ"]}, index=[f"ENSG{i}" for i in range(4)])
    made = ad.AnnData(rng.random((30, 4), dtype=np.float32), obs=obs, var=var)
    made.obsm["X_umap"] = rng.normal(size=(30, 2)).astype(np.float32)
    made.obsm["wide"] = rng.normal(size=(30, 3)).astype(np.float32)
    made.obsm["line"] = rng.normal(size=(30, 1)).astype(np.float32)
    made.uns["umap"] = {
        "loss_epoch": np.array([0, 10, 20]),
        "loss": np.array([3.0, 2.0, 1.5]),
        "loss_parts": {"attraction": np.array([2.0, 1.2, 1.0]), "repulsion": np.array([1.0, 0.8, 0.5])},
    }
    return made


@pytest.fixture
def spectrum(adata, rng):
    """Return cells with three maps, the first before any move."""
    maps = rng.normal(size=(3, 30, 2)).astype(np.float32)
    adata.uns["spectrum"] = {"snapshots": maps, "exaggerations": np.array([np.inf, 4.0, 1.0])}
    return adata


def drawn_points(ax):
    return np.sort(
        np.concatenate([np.asarray(c.get_offsets()) for c in ax.collections if len(c.get_offsets())]), axis=0
    )


@pytest.mark.parametrize("basis", ["X_umap", "umap"])
def test_every_cell_is_drawn_at_its_place(adata, basis):
    ax = pl.embedding(adata, basis, show=False)
    np.testing.assert_allclose(drawn_points(ax), np.sort(adata.obsm["X_umap"], axis=0))
    assert ax.get_title() == "X_umap, 30 cells"
    assert not ax.axison


def test_a_category_gets_a_legend_and_its_name_as_title(adata):
    ax = pl.embedding(adata, color="cell_type", show=False)
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["B", "NK", "T"]
    assert ax.get_title() == "cell type"
    colors = np.unique(
        np.concatenate([c.get_facecolors() for c in ax.collections if len(c.get_offsets()) == 30]), axis=0
    )
    assert len(colors) == 3


def test_several_colours_give_a_panel_each(adata):
    axes = pl.embedding(adata, color=["cell_type", "depth", "ENSG2"], show=False)
    assert [ax.get_title() for ax in axes] == ["cell type", "depth", "ENSG2"]


def test_arguments_of_scanpy_are_passed_on_and_win(adata):
    _, ax = plt.subplots()
    given = pl.embedding(adata, color="CD3E", gene_symbols="symbol", title="T cells", frameon=True, ax=ax, show=False)
    assert given is ax
    assert ax.get_title() == "T cells"
    assert ax.axison


def test_a_map_of_three_dimensions_shows_the_two_asked_for(adata):
    ax = pl.embedding(adata, "wide", dimensions=(1, 2), show=False)
    np.testing.assert_allclose(drawn_points(ax), np.sort(adata.obsm["wide"][:, 1:], axis=0))


def test_the_map_itself_is_left_alone(adata):
    before = adata.copy()
    pl.embedding(adata, color="depth", show=False)
    np.testing.assert_array_equal(adata.obsm["X_umap"], before.obsm["X_umap"])
    assert set(adata.uns) == set(before.uns)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"basis": "X_tsne"}, "X_umap"),
        ({"basis": "line"}, "at least 2"),
        ({"color": "cell_typ"}, "Did you mean 'cell_type'"),
        ({"color": ["depth", "CD3E"]}, "'CD3E'"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(adata, arguments, said):
    with pytest.raises(InputError, match=said):
        pl.embedding(adata, **arguments, show=False)
    assert plt.get_fignums() == []


def test_genes_of_raw_can_be_colours_unless_it_is_switched_off(adata):
    adata.raw = adata
    small = adata[:, :1].copy()
    assert pl.embedding(small, color="ENSG3", show=False).get_title() == "ENSG3"
    with pytest.raises(InputError, match="ENSG3"):
        pl.embedding(small, color="ENSG3", use_raw=False, show=False)


def test_loss_draws_the_total_and_its_parts(adata):
    ax = pl.loss(adata)
    lines = {line.get_label(): line.get_xydata() for line in ax.get_lines()}
    assert set(lines) == {"attraction", "repulsion", "total"}
    np.testing.assert_allclose(lines["total"], [[0, 3.0], [10, 2.0], [20, 1.5]])
    np.testing.assert_allclose(lines["attraction"][:, 1] + lines["repulsion"][:, 1], lines["total"][:, 1])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["attraction", "repulsion", "total"]
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("epoch", "loss", "umap")


def test_loss_draws_into_the_axes_it_is_given(adata):
    _, ax = plt.subplots()
    assert pl.loss(adata, ax=ax) is ax
    assert len(plt.get_fignums()) == 1


def test_show_is_asked_for(adata, monkeypatch):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(1))
    pl.loss(adata)
    assert shown == []
    pl.loss(adata, show=True)
    assert shown == [1]


@pytest.mark.parametrize(
    ("key", "said"), [("umpa", "not in adata.uns.*Did you mean 'umap'"), ("other", "no loss history.*'umap'")]
)
def test_a_map_without_history_is_told_from_one_that_is_not_there(adata, key, said):
    adata.uns["other"] = {"params": {"a": 0.58, "b": 1.33}}
    with pytest.raises(InputError, match=said):
        pl.loss(adata, key)


@pytest.mark.parametrize("color", [None, "cell_type", "depth", "ENSG2"])
def test_maps_of_a_spectrum_side_by_side(spectrum, color):
    before = set(spectrum.uns)
    axes = pl.spectrum(spectrum, color=color)
    assert [ax.get_title() for ax in axes] == ["Laplacian eigenmaps", "exaggeration 4", "exaggeration 1, t-SNE"]
    for ax, places in zip(axes, spectrum.uns["spectrum"]["snapshots"], strict=True):
        np.testing.assert_allclose(drawn_points(ax), np.sort(places, axis=0))
    lefts = [ax.get_position().x0 for ax in axes]
    assert lefts == sorted(lefts) and len({ax.get_position().y0 for ax in axes}) == 1
    assert set(spectrum.uns) == before


def test_one_legend_of_a_spectrum_in_the_colours_that_are_stored(spectrum):
    spectrum.uns["cell_type_colors"] = ["#ff0000", "#00ff00", "#0000ff"]
    first, second, last = pl.spectrum(spectrum, color="cell_type")
    assert first.get_legend() is None and second.get_legend() is None
    assert [text.get_text() for text in last.get_legend().get_texts()] == ["B", "NK", "T"]
    for ax in (first, second, last):
        drawn = np.concatenate([c.get_facecolors() for c in ax.collections if len(c.get_offsets()) == 30])
        assert {tuple(color[:3]) for color in drawn} == {(1, 0, 0), (0, 1, 0), (0, 0, 1)}


def test_a_gene_of_a_spectrum_by_its_symbol(spectrum):
    by_symbol, by_name = (
        pl.spectrum(spectrum, color=color, gene_symbols=symbols)[0]
        for color, symbols in [("LYZ", "symbol"), ("ENSG3", None)]
    )
    values = [np.asarray(ax.collections[0].get_array()) for ax in (by_symbol, by_name)]
    np.testing.assert_array_equal(*values)


@pytest.mark.parametrize(
    ("key", "color", "said"),
    [
        ("umap", None, "key='umap' holds no spectrum in adata.uns; those with one are 'spectrum'. Make one"),
        ("spectrom", None, "Did you mean 'spectrum'"),
        ("spectrum", "cel_type", "Did you mean 'cell_type'"),
        ("spectrum", ["cell_type", "depth"], "give one column"),
        ("line", None, "the maps under 'line' have 1 dimension"),
    ],
)
def test_a_spectrum_that_cannot_be_drawn(spectrum, key, color, said):
    spectrum.uns["line"] = {"snapshots": np.zeros((1, 30, 1)), "exaggerations": np.array([1.0])}
    said = said.replace("are 'spectrum'.", "are 'line', 'spectrum'.")
    with pytest.raises(InputError, match=said):
        pl.spectrum(spectrum, key, color=color)
    assert not plt.get_fignums()
