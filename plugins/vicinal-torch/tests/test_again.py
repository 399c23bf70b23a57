"""Parametric maps made again from their records, and cells added to them."""

import anndata as ad
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import vicinal as vc  # noqa: E402
from vicinal.api import InputError  # noqa: E402

KEY = "parametric_umap"
OBSM = f"X_{KEY}"


class TestRerun:
    @pytest.mark.parametrize(
        "params",
        [
            {},
            {"encoder": "residual", "encoder_params": {"width": 16, "depth": 1}, "dims": (2, 4)},
            {"reconstruction": True, "decoder_params": {"width": 16}, "validation": 0.2, "init": "random"},
            {"parametric": False, "warm_start_steps": 0, "learning_rate": 0.1},
            {"landmark_positions": "places", "trainer_params": {"log_every_n_steps": 7}},
        ],
        ids=["plain", "residual", "decoder", "table", "landmarks"],
    )
    def test_to_the_bit_through_a_file(self, cells, embed, tmp_path, params):
        adata = cells()
        adata.obsm["places"] = np.full((120, 2), np.nan)
        adata.obsm["places"][:5] = 1.0
        embed(adata, **params).write_h5ad(tmp_path / "made.h5ad")
        back = ad.read_h5ad(tmp_path / "made.h5ad")
        vc.tl.rerun(back, KEY, n_jobs=1)
        assert back.uns[f"{KEY}_rerun"]["rerun_of"]["equal"]
        made, again = back.uns[KEY]["params"], back.uns[f"{KEY}_rerun"]["params"]
        assert again == {name: value for name, value in made.items() if name != "trainer_params"}

    def test_options_of_the_trainer_are_not_taken_from_a_file(self, cells, embed):
        adata = embed(cells(), trainer_params={"log_every_n_steps": 7})
        vc.tl.rerun(adata, KEY, n_jobs=1)
        assert "trainer_params" not in adata.uns[f"{KEY}_rerun"]["params"]

    def test_from_a_model_that_a_path_names(self, cells, embed, tmp_path):
        vc.models.save(embed(cells(seed=3)), tmp_path / "first.zip")
        adata = embed(cells(), continue_from=tmp_path / "first.zip", init="random")
        with pytest.raises(InputError, match="continue_from was"):  # a path is not taken from a record
            vc.tl.rerun(adata, KEY)
        vc.tl.rerun(adata, KEY, n_jobs=1, continue_from=tmp_path / "first.zip")
        assert adata.uns[f"{KEY}_rerun"]["rerun_of"]["equal"]

    def test_what_is_the_users_own_is_asked_for(self, cells, embed):
        torch.manual_seed(0)
        module = torch.nn.Sequential(torch.nn.Linear(8, 6), torch.nn.ReLU(), torch.nn.Linear(6, 2))
        adata = embed(cells(), encoder=module, extra_losses=[lambda batch: batch.places.square().mean()])
        with pytest.raises(InputError, match="encoder was Sequential; extra_losses was list"):
            vc.tl.rerun(adata, KEY)
        losses = [lambda batch: batch.places.square().mean()]
        vc.tl.rerun(adata, KEY, n_jobs=1, encoder=module, extra_losses=losses)
        assert adata.uns[f"{KEY}_rerun"]["rerun_of"]["largest_difference"] < 1e-3

    def test_callbacks_of_lightning_are_asked_for(self, cells, embed):
        from lightning.pytorch.callbacks import EarlyStopping

        def stopping():
            return EarlyStopping("loss", patience=1, min_delta=1e9)

        adata = embed(cells(), n_training_epochs=5, callbacks=stopping())
        with pytest.raises(InputError, match="callbacks was EarlyStopping"):
            vc.tl.rerun(adata, KEY)
        vc.tl.rerun(adata, KEY, n_jobs=1, callbacks=stopping())
        assert adata.uns[f"{KEY}_rerun"]["rerun_of"]["equal"]


class TestUpdate:
    def test_the_network_maps_new_cells_and_old_ones_stay(self, cells, embed, tmp_path):
        adata = cells()
        old, more = embed(adata[:80].copy()), adata.copy()
        vc.tl.update(more, old)
        np.testing.assert_array_equal(more[old.obs_names].obsm[OBSM], old.obsm[OBSM])
        placed = vc.tl.project(adata[80:].copy(), old, key_added="placed", copy=True)
        np.testing.assert_array_equal(more.obsm[OBSM][80:], placed.obsm["placed"])
        record = more.uns[KEY]["update"]
        assert (record["n_old"], record["n_new"], record["drift_max"]) == (80, 40, 0.0)
        more.write_h5ad(tmp_path / "more.h5ad")
        again = vc.tl.project(adata.copy(), ad.read_h5ad(tmp_path / "more.h5ad"), copy=True)
        np.testing.assert_array_equal(again.obsm[OBSM], more.obsm[OBSM])

    def test_what_a_network_cannot_do(self, cells, embed, tmp_path):
        adata = cells()
        old = embed(adata[:80].copy())
        with pytest.raises(InputError, match="n_epochs is given, but the map is a network's"):
            vc.tl.update(adata.copy(), old, n_epochs=5)
        vc.models.save(old, tmp_path / "map.zip")
        with pytest.raises(InputError, match="a network, which holds no cells"):
            vc.tl.update(adata.copy(), tmp_path / "map.zip")

    def test_other_rows_under_a_name_are_found_out(self, cells, embed):
        adata = cells()
        old = embed(adata[:80].copy())
        adata.X[0] += 5
        with pytest.raises(InputError, match="1 of 80 cells with names of the map have other rows"):
            vc.tl.update(adata.copy(), old)
