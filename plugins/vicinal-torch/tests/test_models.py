from tempfile import TemporaryDirectory

import anndata as ad
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import vicinal as vc  # noqa: E402
from vicinal.api import ModelError  # noqa: E402

KEY = "parametric_umap"
OBSM = f"X_{KEY}"


def model_from_adata(adata, key=None):
    """Return the model of a map, by way of a file."""
    with TemporaryDirectory() as folder:
        vc.models.save(adata, f"{folder}/model.zip", key=key)
        return vc.models.load(f"{folder}/model.zip")


def noisy(width=16):
    return torch.nn.Sequential(
        torch.nn.Linear(8, width),
        torch.nn.BatchNorm1d(width),
        torch.nn.ReLU(),
        torch.nn.Dropout(0.3),
        torch.nn.Linear(width, 2),
    )


def projected(rows, model, **params):
    new = ad.AnnData(np.array(rows, dtype=np.float32))
    vc.tl.project(new, model, n_jobs=1, **params)
    return new.obsm[OBSM]


@pytest.fixture(params=["mlp", "residual", "bf16", "decoder", "images"], scope="module")
def made(request, cells, embed):
    params = {
        "mlp": {},
        "residual": {"encoder": "residual", "encoder_params": {"width": 24, "depth": 2}},
        "bf16": {"precision": "bf16-mixed"},
        "decoder": {"reconstruction": True, "decoder": "residual", "decoder_params": {"width": 16}},
        "images": {"dims": (2, 4)},
    }[request.param]
    return embed(cells(), **params)


class TestBuiltIn:
    def test_cells_of_the_map_land_on_their_places(self, made):
        np.testing.assert_array_equal(projected(made.X, made), made.obsm[OBSM])

    def test_one_by_one_in_any_order_on_any_number_of_threads(self, made):
        order = np.random.default_rng(0).permutation(120)
        alone = np.concatenate([projected(made.X[i : i + 1], made) for i in order[:30]])
        np.testing.assert_array_equal(alone, made.obsm[OBSM][order[:30]])
        np.testing.assert_array_equal(projected(made.X[order], made), made.obsm[OBSM][order])
        two = ad.AnnData(made.X[order])
        vc.tl.project(two, made, n_jobs=2)
        np.testing.assert_array_equal(two.obsm[OBSM], made.obsm[OBSM][order])

    def test_through_files(self, made, tmp_path):
        model = model_from_adata(made)
        vc.models.save(made, tmp_path / "model")
        made.write_h5ad(tmp_path / "made.h5ad")
        for read in (vc.models.load(tmp_path / "model"), ad.read_h5ad(tmp_path / "made.h5ad")):
            np.testing.assert_array_equal(projected(made.X, read), made.obsm[OBSM])
            found = read if isinstance(read, vc.models.Model) else model_from_adata(read)
            assert found.fitted.networks.keys() == model.fitted.networks.keys()
            for name, array in model.arrays.items():
                np.testing.assert_array_equal(found.arrays[name], array)
                assert found.arrays[name].dtype == array.dtype

    def test_new_cells_are_among_their_kind(self, cells, embed):
        adata, new = embed(cells(), warm_start_steps=200, n_training_epochs=10), cells(n=60, seed=11)
        places = projected(new.X, adata)
        centers = {g: adata.obsm[OBSM][adata.obs["group"] == g].mean(axis=0) for g in "abc"}
        nearest = [min(centers, key=lambda g: np.linalg.norm(place - centers[g])) for place in places]
        assert (np.array(nearest) == new.obs["group"].to_numpy()).mean() > 0.95


class TestUsersOwn:
    def test_one_by_one_or_in_a_batch(self, cells, embed):
        adata, module = embed(cells(), encoder=noisy()), noisy()
        together = projected(adata.X, adata, encoder=module)
        np.testing.assert_allclose(together, adata.obsm[OBSM], atol=1e-6)
        alone = np.concatenate([projected(row[None], adata, encoder=module) for row in adata.X[:25]])
        np.testing.assert_allclose(alone, together[:25], atol=1e-6)

    def test_is_evaluated_not_trained(self, cells, embed):
        """Dropout and batch normalisation as they are applied, whatever the mode of the module that is given."""
        adata, module = embed(cells(), encoder=noisy()), noisy().train()
        first, second = (projected(adata.X, adata, encoder=module) for _ in range(2))
        np.testing.assert_array_equal(first, second)
        assert all(part.training for part in module.modules())
        with torch.no_grad():
            np.testing.assert_allclose(module.eval()(torch.tensor(adata.X)), adata.obsm[OBSM], atol=1e-5)

    def test_through_files(self, cells, embed, tmp_path):
        """Batch normalisation counts its batches in an array of no dimension."""
        adata = embed(cells(), encoder=noisy())
        vc.models.save(adata, tmp_path / "model")
        adata.write_h5ad(tmp_path / "made.h5ad")
        adata.write_zarr(tmp_path / "made.zarr")
        for read in (tmp_path / "model", ad.read_h5ad(tmp_path / "made.h5ad"), ad.read_zarr(tmp_path / "made.zarr")):
            np.testing.assert_array_equal(projected(adata.X, read, encoder=noisy()), adata.obsm[OBSM])

    def test_more_rows_than_a_tile(self, cells, embed):
        adata, module = embed(cells(), encoder=noisy()), noisy()
        rows = np.random.default_rng(0).normal(size=(2500, 8)).astype(np.float32)
        found = projected(rows, adata, encoder=module)
        with torch.no_grad():
            np.testing.assert_allclose(found, module.eval()(torch.tensor(rows)).numpy(), atol=1e-4, rtol=1e-4)

    def test_a_lazy_one(self, cells, embed):
        def lazy(width=16):
            return torch.nn.Sequential(torch.nn.LazyLinear(width), torch.nn.ReLU(), torch.nn.LazyLinear(2))

        adata = embed(cells(), encoder=lazy())
        for module in (lazy(), lazy(17)):  # of which nothing is known yet
            np.testing.assert_allclose(projected(adata.X, adata, encoder=module), adata.obsm[OBSM], atol=1e-6)
        with pytest.raises(ModelError, match="does not fit the weights"):
            projected(adata.X, adata, encoder=torch.nn.LazyLinear(2))

    def test_images(self, cells, embed):
        module = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 2), torch.nn.Flatten(), torch.nn.Linear(9, 2))
        adata = embed(cells(), encoder=module, dims=(1, 2, 4))
        np.testing.assert_allclose(projected(adata.X, adata, encoder=module), adata.obsm[OBSM], atol=1e-6)

    def test_bad_ones(self, cells, embed):
        own, named = embed(cells(), encoder=noisy()), embed(cells())
        with pytest.raises(ModelError, match="give it again: encoder=module"):
            projected(own.X, own)
        for module in (noisy(17), torch.nn.Linear(8, 2)):
            with pytest.raises(ModelError, match="does not fit the weights"):
                projected(own.X, own, encoder=module)
        for module in (torch.nn.Linear, 3):
            with pytest.raises(ModelError, match="network is"):
                projected(own.X, own, encoder=module)
        with pytest.raises(ModelError, match="does not fit the weights"):
            projected(named.X, named, encoder=noisy())


class TestHistory:
    def test_every_part_by_name(self, cells, embed):
        adata = embed(
            cells(),
            validation=0.2,
            reconstruction=True,
            global_correlation_loss_weight=0.1,
            landmark_positions=np.zeros((120, 2)),
            extra_losses=[lambda b: b.places.square().mean()],
            n_training_epochs=3,
        )
        entry = adata.uns[KEY]
        own = ["attraction", "repulsion", "reconstruction", "global_correlation", "landmarks", "extra"]
        of_others = ["validation", "validation_attraction", "validation_repulsion", "validation_reconstruction"]
        assert set(entry["loss_parts"]) == {*own, *of_others}
        assert all(parts.shape == (7,) and np.isfinite(parts).all() for parts in entry["loss_parts"].values())
        np.testing.assert_array_equal(entry["loss_epoch"], np.arange(7))
        np.testing.assert_allclose(entry["loss"], sum(entry["loss_parts"][name] for name in own), rtol=1e-5)
        assert entry["backends"]["optimizer"] == "torch@vicinal-torch"
        assert {"torch", "lightning"} <= set(entry["versions"]) or "vicinal-torch" in entry["versions"]

    def test_means_of_what_was_trained_on(self, cells, embed):
        """The loss of an epoch is the mean of its batches, not of the last one."""
        before, trained = [], []

        def own(batch):
            value = batch.places.square().mean()
            (trained if value.requires_grad else before).append(float(value.detach()))
            return value

        parts = embed(cells(), extra_losses=[own], warm_start_steps=0).uns[KEY]["loss_parts"]["own"]
        assert parts[0] == pytest.approx(np.mean(before), rel=1e-5)
        expected = np.reshape(trained, (4, -1)).mean(axis=1)
        np.testing.assert_allclose(parts[1:], expected, rtol=1e-5)
