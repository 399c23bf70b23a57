import os
from tempfile import TemporaryDirectory

import anndata as ad
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pl = pytest.importorskip("lightning.pytorch")

import vicinal as vc  # noqa: E402
from vicinal.api import ModelError, StageError  # noqa: E402
from vicinal_torch.updates import LEARNING_RATES  # noqa: E402

KEY = "parametric_umap"
OBSM = f"X_{KEY}"


def model_from_adata(adata, key=None):
    """Return the model of a map, by way of a file."""
    with TemporaryDirectory() as folder:
        vc.models.save(adata, f"{folder}/model.zip", key=key)
        return vc.models.load(f"{folder}/model.zip")


def noisy():
    """A module that draws numbers as it trains, and keeps means of what it has seen."""
    return torch.nn.Sequential(
        torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.ReLU(), torch.nn.Dropout(0.3), torch.nn.Linear(16, 2)
    )


def arrays_of(adata):
    return adata.uns[KEY]["model"]["arrays"]


def assert_same(one, two):
    np.testing.assert_array_equal(one.obsm[OBSM], two.obsm[OBSM])
    np.testing.assert_array_equal(one.uns[KEY]["loss"], two.uns[KEY]["loss"])
    np.testing.assert_array_equal(one.uns[KEY]["loss_epoch"], two.uns[KEY]["loss_epoch"])
    for name, parts in one.uns[KEY]["loss_parts"].items():
        np.testing.assert_array_equal(parts, two.uns[KEY]["loss_parts"][name])
    if "arrays" in one.uns[KEY]["model"]:
        assert arrays_of(one).keys() == arrays_of(two).keys()
        for name, array in arrays_of(one).items():
            np.testing.assert_array_equal(array, arrays_of(two)[name])


class Killed(BaseException):
    """As if the process had ended."""


class Kill(pl.Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if module.epoch == self.epoch:
            raise Killed


WAYS = {
    "network": {},
    "residual": {
        **{"encoder": "residual", "encoder_params": {"width": 16, "depth": 1}},
        "torch_optimizer": lambda p, lr: torch.optim.SGD(p, lr=lr, momentum=0.9),
    },
    "table": {"parametric": False, "warm_start_steps": None, "fixed": np.arange(120) < 20},
    "decoder": {
        **{"reconstruction": True, "autoencoder_loss": True, "validation": 0.2},
        **{"negatives": "uniform", "global_correlation_loss_weight": 0.5},
    },
    "directed": {"symmetrize": False, "precision": "bf16-mixed", "learning_rate_schedule": "constant"},
    "module": {"encoder": noisy, "validation": 0.2},
}


def prepared(name):
    """Return the parameters; the module is drawn anew, always the same."""
    params = dict(WAYS[name])
    if params.get("encoder") is noisy:
        with torch.random.fork_rng():
            torch.manual_seed(5)
            params["encoder"] = noisy()
    return params


@pytest.mark.parametrize("name", WAYS)
class TestInterruptedOrNot:
    def test_by_hand(self, cells, start, tmp_path, name):
        whole, parted = cells(), cells()
        start(whole, **prepared(name)).finish()
        first = start(parted, **prepared(name)).step(1)
        first.save(tmp_path / "kept")
        second = start(parted, **prepared(name)).resume(tmp_path / "kept")
        np.testing.assert_array_equal(second.layout, first.layout)
        assert second.epoch == 1
        second.step(1).save(tmp_path / "kept")
        third = start(parted, **prepared(name)).resume(tmp_path / "kept")
        third.finish()
        assert_same(whole, parted)

    def test_killed(self, cells, embed, tmp_path, name):
        adata, path = cells(), tmp_path / "kept"
        with pytest.raises(StageError, match="Killed"):
            embed(adata, checkpoint=path, checkpoint_every=1, callbacks=[Kill(3)], **prepared(name))
        assert not adata.obsm and not adata.uns
        embed(adata, checkpoint=path, checkpoint_every=1, **prepared(name))
        assert not path.exists()
        assert_same(embed(cells(), **prepared(name)), adata)

    def test_the_same_seed_gives_the_same_bits(self, cells, embed, name):
        torch.manual_seed(1)
        one = embed(cells(), **prepared(name))
        torch.manual_seed(2)
        np.random.seed(2)
        assert_same(one, embed(cells(), **prepared(name)))
        other = embed(cells(), random_state=1, **prepared(name))
        assert not np.array_equal(one.obsm[OBSM], other.obsm[OBSM])


class TestCheckpoints:
    def test_steps_add_up(self, cells, start):
        whole, parted = start(cells(), n_training_epochs=3), start(cells(), n_training_epochs=3)
        whole.step(6)
        for n_epochs in (1, 0, 2, 3):
            parted.step(n_epochs)
        np.testing.assert_array_equal(whole.layout, parted.layout)
        assert list(whole.loss.epochs) == list(parted.loss.epochs)

    def test_resumes_where_it_was_from_anywhere(self, cells, start, tmp_path):
        run = start(cells())
        run.step(1).save(tmp_path / "one")
        there = run.layout
        run.step(3)
        run.resume(tmp_path / "one")
        assert run.epoch == 1
        np.testing.assert_array_equal(run.layout, there)
        again = start(cells())
        again.step(2)
        np.testing.assert_array_equal(run.step(1).layout, again.layout)

    def test_of_the_untrained_run(self, cells, start, tmp_path):
        run = start(cells())
        run.save(tmp_path / "none")
        np.testing.assert_array_equal(start(cells()).resume(tmp_path / "none").step(4).layout, run.step(4).layout)

    @pytest.mark.parametrize(
        ("then", "now", "named"),
        [
            ({}, {"encoder_params": {"width": 50}}, "encoder__width was 100, is 50"),
            ({}, {"learning_rate": 0.5}, f"learning_rate was {LEARNING_RATES[True]}, is 0.5"),
            ({}, {"batch_size": 32}, "batch_size"),
            ({}, {"torch_optimizer": torch.optim.SGD}, "torch_optimizer was None, is 'SGD'"),
            ({}, {"extra_losses": [lambda b: b.places.mean()]}, "extra_losses"),
            ({}, {"validation": 0.2}, "validation"),
            ({}, {"dims": (2, 4)}, "dims"),
            ({"validation": np.arange(120) < 20}, {"validation": np.arange(120) < 30}, "other data or arguments"),
            (
                {"landmark_positions": np.zeros((120, 2))},
                {"landmark_positions": np.ones((120, 2))},
                "other data or arguments",
            ),
        ],
    )
    def test_belong_to_their_arguments(self, cells, start, tmp_path, then, now, named):
        start(cells(), **then).step(1).save(tmp_path / "kept")
        with pytest.raises(ModelError, match=named):
            start(cells(), **now).resume(tmp_path / "kept")

    def test_belong_to_what_was_gone_on_from(self, cells, embed, start, tmp_path):
        one, other = embed(cells()), embed(cells(), random_state=3)
        start(cells(), continue_from=one).step(1).save(tmp_path / "kept")
        with pytest.raises(ModelError, match="continue_from"):
            start(cells(), continue_from=other).resume(tmp_path / "kept")
        start(cells(), continue_from=one).resume(tmp_path / "kept")

    def test_that_are_damaged(self, cells, embed, tmp_path):
        path = tmp_path / "kept"
        path.write_bytes(os.urandom(300))
        adata = cells()
        with pytest.raises(ModelError, match="checkpoint"):
            embed(adata, checkpoint=path)
        assert not adata.obsm


class TestContinueFrom:
    LONG = {"n_training_epochs": 10, "warm_start_steps": 100}

    @pytest.fixture(scope="class")
    def trained(self, cells, embed):
        return embed(cells(), learning_rate_schedule="constant", **self.LONG)

    @pytest.mark.parametrize("given", ["adata", "model", "path", "file"])
    def test_goes_on_from_the_weights(self, cells, embed, trained, tmp_path, given):
        model = {"adata": trained, "model": model_from_adata(trained)}.get(given)
        if given == "path":
            model = tmp_path / "model"
            vc.models.save(trained, model)
        if given == "file":
            trained.write_h5ad(tmp_path / "trained.h5ad")
            model = ad.read_h5ad(tmp_path / "trained.h5ad")
        again = embed(cells(), continue_from=model, n_training_epochs=0)
        np.testing.assert_array_equal(again.obsm[OBSM], trained.obsm[OBSM])
        assert again.uns[KEY]["params"]["warm_start_steps"] == 0

    def test_first_loss_is_near_the_last(self, cells, embed, trained):
        history, anew = trained.uns[KEY]["loss"], embed(cells(), **self.LONG).uns[KEY]["loss"]
        slowly = {"learning_rate_schedule": "constant", "learning_rate": 1e-3}
        again = embed(cells(), continue_from=trained, **slowly).uns[KEY]["loss"]
        assert history[-1] < history[0] - 0.1
        reached = history[-5:].mean()
        assert abs(again[0] - reached) < 0.3 * (history[0] - reached)
        assert abs(again[1:].mean() - reached) < 0.3 * (history[0] - reached)
        assert abs(anew[0] - reached) > 2 * abs(again[0] - reached)

    def test_goes_on_from_the_optimisers_state(self, cells, embed):
        """Adam has taken so many steps, and has so large means of squares; a new one has not."""
        seen = []

        class Adam(torch.optim.Adam):
            def step(self, closure=None):
                state = next(iter(self.state.values()), None)
                seen.append(None if state is None else int(state["step"]))
                return super().step(closure)

        trained = embed(cells(), torch_optimizer=torch.optim.Adam, n_training_epochs=12)
        steps = [int(a.item()) for n, a in arrays_of(trained).items() if n.endswith("_step_scalar")]
        assert len(set(steps)) == 1
        assert steps[0] >= 200
        embed(cells(), continue_from=trained, torch_optimizer=Adam)
        first = next(step for step in seen if step is not None)
        assert first == steps[0]

    def test_the_state_of_another_kind_is_left_out(self, cells, embed, trained):
        again = embed(cells(), continue_from=trained, torch_optimizer=torch.optim.RMSprop)
        assert np.isfinite(again.obsm[OBSM]).all()
        none = embed(cells(), continue_from=trained, torch_optimizer=torch.optim.RMSprop, n_training_epochs=0)
        np.testing.assert_array_equal(none.obsm[OBSM], trained.obsm[OBSM])

    def test_a_decoder_may_come_new(self, cells, embed, trained):
        again = embed(cells(), continue_from=trained, reconstruction=True, n_training_epochs=0)
        np.testing.assert_array_equal(again.obsm[OBSM], trained.obsm[OBSM])
        third = embed(cells(), continue_from=again, reconstruction=True, n_training_epochs=0)
        np.testing.assert_array_equal(
            third.uns[KEY]["loss_parts"]["reconstruction"], again.uns[KEY]["loss_parts"]["reconstruction"]
        )

    def test_a_module_of_the_users(self, cells, embed):
        one = embed(cells(), encoder=noisy())
        again = embed(cells(), encoder=noisy(), continue_from=one, n_training_epochs=0)
        np.testing.assert_array_equal(again.obsm[OBSM], one.obsm[OBSM])

    def test_other_cells(self, cells, embed, trained):
        again = embed(cells(n=150, seed=4), continue_from=trained, **self.LONG)
        assert again.uns[KEY]["loss"][0] < trained.uns[KEY]["loss"][0]

    def test_is_left_as_it_is(self, cells, embed, trained):
        before = {name: array.copy() for name, array in arrays_of(trained).items()}
        embed(cells(), continue_from=trained)
        assert all(np.array_equal(before[name], array) for name, array in arrays_of(trained).items())

    def test_bad_ones(self, cells, refused, trained, tmp_path):
        (tmp_path / "no_model").write_text("none")
        umap = cells()
        vc.tl.embed(umap, n_epochs=5, n_jobs=1)
        for given in (3, "nowhere", tmp_path / "no_model", cells(), umap):
            assert refused(cells(), continue_from=given).startswith("continue_from"), given
        assert refused(cells(n_features=7), continue_from=trained).startswith("continue_from: its network maps 8")
        assert "3 are wanted" in refused(cells(), continue_from=trained, n_components=3)
        for other in (
            {"encoder": "residual"},
            {"encoder_params": {"width": 20}},
            {"encoder": torch.nn.Linear(8, 2)},
        ):
            text = refused(cells(), continue_from=trained, **other)
            assert "encoder of continue_from does not fit" in text
        text = refused(cells(), continue_from=trained, parametric=False, warm_start_steps=None)
        assert text.startswith("continue_from needs a network")
