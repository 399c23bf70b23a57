import anndata as ad
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from scipy import sparse  # noqa: E402

import vicinal as vc  # noqa: E402
from vicinal.api import InputError, StageError  # noqa: E402

KEY = "parametric_umap"
OBSM = f"X_{KEY}"
WAYS = {
    "network": {},
    "table": {"parametric": False, "warm_start_steps": None},
    "all": {
        "reconstruction": True,
        "autoencoder_loss": True,
        "global_correlation_loss_weight": 1.0,
        "negatives": "uniform",
        "validation": 0.2,
    },
    "normalised": {"encoder": torch.nn.Sequential(torch.nn.BatchNorm1d(5), torch.nn.Linear(5, 2))},
}


def of_rows(rows):
    return ad.AnnData(np.array(rows, dtype=np.float32))


def unless_refused(embed, adata, **params):
    """Return the map, finite with its losses, or None where it was refused in so many words."""
    try:
        embed(adata, **params)
    except InputError as error:
        assert str(error)
        assert not adata.obsm and not adata.uns
        return None
    entry = adata.uns[KEY]
    assert adata.obsm[OBSM].shape == (adata.n_obs, 2)
    assert np.isfinite(adata.obsm[OBSM]).all()
    assert np.isfinite(entry["loss"]).all()
    assert all(np.isfinite(parts).all() for parts in entry["loss_parts"].values())
    return adata.obsm[OBSM]


@pytest.fixture(params=WAYS)
def way(request):
    return WAYS[request.param]


class TestFewCells:
    @pytest.mark.parametrize("n", [1, 2, 3, 4, 7, 16])
    def test_a_map_or_a_word(self, embed, rng, n, way):
        adata = of_rows(rng.normal(size=(n, 5)))
        found = unless_refused(embed, adata, n_training_epochs=1, **way)
        assert found is not None or (way is WAYS["all"] and n < 3), "only a share of so few is none"
        if found is not None and way is WAYS["network"]:
            new = of_rows(rng.normal(size=(3, 5)))
            vc.tl.project(new, adata, n_jobs=1)
            assert np.isfinite(new.obsm[OBSM]).all()

    @pytest.mark.slow
    @pytest.mark.parametrize("n", range(1, 41))
    def test_every_number_up_to_forty(self, embed, rng, n, way):
        found = unless_refused(embed, of_rows(rng.normal(size=(n, 5))), n_training_epochs=1, **way)
        assert found is not None or n < 3

    def test_one_cell_with_everything_left_open(self, embed, rng):
        params = dict.fromkeys(("n_training_epochs", "loss_report_frequency", "batch_size"))
        found = unless_refused(embed, of_rows(rng.normal(size=(1, 5))), **params)
        assert found is not None

    @pytest.mark.parametrize("n_components", [1, 3, 10])
    def test_dimensions(self, embed, rng, n_components):
        for parametric in (True, False):
            adata = of_rows(rng.normal(size=(30, 5)))
            embed(adata, n_components=n_components, **WAYS["network" if parametric else "table"])
            assert adata.obsm[OBSM].shape == (30, n_components)
            assert np.ptp(adata.obsm[OBSM], axis=0).all()


class TestRows:
    def test_a_third_are_duplicates(self, embed, rng, way):
        rows = rng.normal(size=(100, 5))
        rows[:30] = rows[30:60]
        found = unless_refused(embed, of_rows(rows), **way)
        if way is WAYS["network"]:
            np.testing.assert_array_equal(found[:30], found[30:60])

    def test_constant_columns(self, embed, rng, way):
        rows = rng.normal(size=(80, 5))
        rows[:, 1:4] = [0, 7, 1e6]
        assert unless_refused(embed, of_rows(rows), **way) is not None

    def test_all_equal(self, embed, way):
        for value in (0, 3.5):
            assert unless_refused(embed, of_rows(np.full((40, 5), value)), **way) is not None

    @pytest.mark.parametrize("scale", [1e-12, 1e-6, 1e6, 1e12])
    def test_of_any_scale(self, embed, rng, scale):
        found = unless_refused(embed, of_rows(rng.normal(size=(60, 5)) * scale), reconstruction=True)
        assert found is not None
        assert 1 < np.ptp(found) < 100

    def test_far_from_the_origin(self, embed, rng):
        assert unless_refused(embed, of_rows(1e4 + rng.normal(size=(60, 5)))) is not None

    def test_one_column(self, embed, rng):
        for way in ("network", "table", "all"):
            assert unless_refused(embed, of_rows(rng.normal(size=(60, 1))), **WAYS[way]) is not None

    @pytest.mark.parametrize("value", [np.nan, np.inf])
    def test_that_are_not_finite(self, refused, rng, way, value):
        rows = rng.normal(size=(40, 5))
        rows[7, 2] = value
        assert "X" in refused(of_rows(rows), **way)

    def test_one_label(self, embed, rng):
        for labels in (["a"] * 60, [None] * 59 + ["a"]):
            adata = of_rows(rng.normal(size=(60, 5)))
            adata.obs["t"] = np.array(labels, dtype=object)
            adata.obs["t"] = adata.obs["t"].astype("category")
            assert unless_refused(embed, adata, labels="t", extra_losses=[by_label]) is not None

    def test_all_held_out_but_one(self, embed, rng):
        for trained in (1, 2):
            adata = of_rows(rng.normal(size=(30, 5)))
            assert unless_refused(embed, adata, validation=np.arange(30) >= trained) is not None

    def test_none_of_them_has_a_neighbour(self, embed, rng):
        for parametric in (True, False):
            way = WAYS["network" if parametric else "table"]
            adata = of_rows(rng.normal(size=(20, 5)))
            graph = sparse.csr_matrix((20, 20), dtype=np.float32)
            found = unless_refused(embed, adata, graph=graph, init=rng.normal(size=(20, 2)), **way)
            assert found is not None
            assert adata.uns[KEY]["params"]["n_epochs"] == 4

    def test_some_have_no_neighbour(self, embed, rng):
        weights = sparse.random(30, 30, 0.1, random_state=1, dtype=np.float32, format="lil")
        weights[:10], weights[:, :10] = 0, 0
        graph = sparse.csr_matrix(weights)
        for way in ("network", "table", "all"):
            assert (
                unless_refused(embed, of_rows(rng.normal(size=(30, 5))), graph=graph.maximum(graph.T), **WAYS[way])
                is not None
            )


def by_label(batch):
    known = batch.labels >= 0
    return (batch.places * known[:, None]).square().mean()


class TestPlaces:
    def test_that_coincide_at_the_start(self, embed, rng, way):
        init = np.zeros((40, 2), dtype=np.float32)
        assert unless_refused(embed, of_rows(rng.normal(size=(40, 5))), init=init, **way) is not None

    def test_that_coincide_all_along(self, embed, rng):
        """A network that makes one place of all: every slope is finite."""

        class Constant(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.place = torch.nn.Parameter(torch.zeros(2))

            def forward(self, rows):
                return self.place.expand(len(rows), 2) + rows.sum() * 0

        params = {"landmark_positions": np.zeros((40, 2)), "global_correlation_loss_weight": 1.0}
        found = unless_refused(embed, of_rows(rng.normal(size=(40, 5))), encoder=Constant(), **params)
        assert found is not None
        assert not np.ptp(found, axis=0).any()

    def test_a_network_that_breaks_is_told(self, embed, rng):
        adata = of_rows(rng.normal(size=(40, 5)))
        with pytest.raises(StageError, match="NaN|infinite|finite"):
            embed(adata, learning_rate=1e30, torch_optimizer=torch.optim.SGD)
        assert not adata.obsm and not adata.uns
