import anndata as ad
import numpy as np
import pytest
import scanpy as sc

pytest.importorskip("torch")

import vicinal as vc
from vicinal.api import InputError, ModelError

KEY, OBSM = "parametric_umap", "X_parametric_umap"


@pytest.fixture(scope="module")
def blood():
    """Cells with principal components that were made from their `.X`, and a map with a decoder."""
    adata = vc.datasets.pbmc68k_reduced()
    adata = ad.AnnData(adata.X[:, :200].copy(), obs=adata.obs[["bulk_labels"]], var=adata.var.iloc[:200][[]])
    sc.pp.pca(adata, n_comps=10)
    vc.tl.embed(
        adata, method=KEY, reconstruction=True, autoencoder_loss=True, n_jobs=1, n_training_epochs=12, n_neighbors=10
    )
    return adata


def share_lost(made, wanted):
    return np.square(made - wanted).sum() / np.square(wanted - wanted.mean(axis=0)).sum()


def test_places_lead_back_to_the_representation(blood):
    adata = blood.copy()
    assert vc.tl.reconstruct(adata) is None
    made = adata.obsm["X_pca_reconstructed"]
    assert made.dtype == np.float32
    assert share_lost(made, adata.obsm["X_pca"]) < 0.45
    reported = adata.uns[KEY]["loss_parts"]["reconstruction"][-1]
    assert share_lost(made, adata.obsm["X_pca"]) == pytest.approx(reported, rel=0.35)


def test_genes_follow_from_the_components(blood):
    adata = blood.copy()
    vc.tl.reconstruct(adata, genes=True)
    vc.tl.reconstruct(adata)
    genes, components = adata.layers["genes_reconstructed"], adata.obsm["X_pca_reconstructed"]
    expected = components @ adata.varm["PCs"].T + adata.X.mean(axis=0)
    np.testing.assert_allclose(genes, expected, atol=1e-4)
    known = adata.obsm["X_pca"] @ adata.varm["PCs"].T + adata.X.mean(axis=0)
    assert share_lost(genes, known) < 0.45


def test_places_may_be_anywhere_and_nothing_is_written(blood):
    adata = blood.copy()
    before = set(adata.obsm), set(adata.layers)
    places = adata.obsm[OBSM][:3].tolist()
    made = vc.tl.reconstruct(adata, places=places)
    vc.tl.reconstruct(blood_two := blood.copy())
    np.testing.assert_array_equal(made, blood_two.obsm["X_pca_reconstructed"][:3])
    assert vc.tl.reconstruct(adata, places=places, genes=True).shape == (3, 200)
    assert (set(adata.obsm), set(adata.layers)) == before


def test_a_copy_and_a_key_of_its_own(blood):
    adata = blood.copy()
    made = vc.tl.reconstruct(adata, key_added="back", copy=True)
    assert "back" in made.obsm and "back" not in adata.obsm


def test_a_saved_model_does_it_for_other_cells(blood, tmp_path):
    vc.models.save(blood, tmp_path / "model.zip")
    others = blood[:50].copy()
    del others.uns[KEY], others.obsm[OBSM]
    vc.tl.project(others, tmp_path / "model.zip", use_rep="X_pca")
    vc.tl.reconstruct(others, tmp_path / "model.zip")
    vc.tl.reconstruct(whole := blood.copy())
    np.testing.assert_array_equal(others.obsm["X_pca_reconstructed"], whole.obsm["X_pca_reconstructed"][:50])


def test_cells_between_0_and_1_come_back_between_0_and_1(cells, embed):
    adata = cells()
    adata.X = (adata.X - adata.X.min(axis=0)) / np.ptp(adata.X, axis=0)
    embed(adata, reconstruction=True, reconstruction_loss="bce", n_training_epochs=30)
    vc.tl.reconstruct(adata, key_added="back")
    made = adata.obsm["back"]
    assert made.min() > 0 and made.max() < 1
    assert share_lost(made, adata.X) < 0.6


def test_what_cannot_be_done_is_said_and_changes_nothing(blood):
    plain = blood.copy()
    vc.tl.embed(plain, method=KEY, n_jobs=1, n_training_epochs=1, warm_start_steps=1, key_added="plain")
    other = blood.copy()
    other.obsm["X_pca"] = other.obsm["X_pca"][::-1].copy()
    without = blood.copy()
    del without.varm["PCs"]
    cases = [
        (plain, {"key": "plain"}, ModelError, "no decoder"),
        (blood.copy(), {"basis": "nowhere"}, InputError, "nowhere"),
        (blood.copy(), {"places": [[1.0, 2.0, 3.0]]}, InputError, "places has"),
        (blood.copy(), {"places": [[np.nan, 2.0]]}, InputError, "places holds NaN"),
        (blood.copy(), {"key_added": "X_pca"}, InputError, "key_added='X_pca' would overwrite"),
        (other, {"genes": True}, InputError, "not those that are stored"),
        (without, {"genes": True}, InputError, "varm"),
    ]
    for adata, arguments, error, words in cases:
        before = set(adata.obsm), set(adata.layers)
        with pytest.raises(error, match=words):
            vc.tl.reconstruct(adata, **arguments)
        assert (set(adata.obsm), set(adata.layers)) == before


def test_a_network_reads_a_backed_file_as_it_reads_memory(cells, embed, tmp_path):
    adata = cells()
    adata.write_h5ad(tmp_path / "cells.h5ad")
    backed = ad.read_h5ad(tmp_path / "cells.h5ad", backed="r")
    embed(adata, use_rep="X")
    embed(backed, use_rep="X")
    np.testing.assert_array_equal(backed.obsm[OBSM], adata.obsm[OBSM])


def test_columns_keep_their_names_when_the_genes_are_put_in_another_order(cells, embed):
    adata = embed(cells(), use_rep="X")
    new = cells(40, seed=3)
    vc.tl.project(new, adata)
    turned = adata[:, ::-1].copy()
    again = cells(40, seed=3)
    vc.tl.project(again, turned)
    np.testing.assert_array_equal(again.obsm[OBSM], new.obsm[OBSM])


def test_the_loss_is_drawn_without_naming_the_only_map(cells, embed):
    import matplotlib.pyplot as plt

    axes = vc.pl.loss(embed(cells(), validation=0.2))
    drawn = {line.get_label() for line in axes.get_lines()}
    assert {"attraction", "repulsion", "validation", "validation attraction", "total"} <= drawn
    plt.close("all")


def test_new_cells_may_be_given_as_genes(blood, tmp_path):
    vc.models.save(blood, tmp_path / "model.zip")
    others = blood[:50, ::-1].copy()
    del others.uns[KEY], others.obsm
    vc.tl.project(others, tmp_path / "model.zip")
    np.testing.assert_allclose(others.obsm[OBSM], blood.obsm[OBSM][:50], atol=1e-3)


def test_a_network_takes_no_genes_by_a_pca_that_came_later(blood, tmp_path):
    changed = blood.copy()
    changed.obsm["X_pca"], changed.varm["PCs"] = -changed.obsm["X_pca"], -changed.varm["PCs"]
    vc.models.save(changed, tmp_path / "model.zip")
    model = vc.models.load(tmp_path / "model.zip")
    assert model.genes is None
    assert "the network makes other places of it than are stored" in model.manifest.extra["genes"]["absent"]
    assert "fingerprint" not in model.manifest.representation
