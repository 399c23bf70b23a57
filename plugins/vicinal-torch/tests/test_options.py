import json
from tempfile import TemporaryDirectory

import anndata as ad
import numpy as np
import pytest

torch = pytest.importorskip("torch")

import vicinal as vc  # noqa: E402
from vicinal.api import InputError  # noqa: E402
from vicinal_torch.optimization import FEWEST_UPDATES, FEWEST_UPDATES_AN_EPOCH, WARM_START_STEPS  # noqa: E402
from vicinal_torch.sampling import WALK  # noqa: E402
from vicinal_torch.updates import LEARNING_RATES  # noqa: E402

KEY = "parametric_umap"
OBSM = f"X_{KEY}"


def model_from_adata(adata, key=None):
    """Return the model of a map, by way of a file."""
    with TemporaryDirectory() as folder:
        vc.models.save(adata, f"{folder}/model.zip", key=key)
        return vc.models.load(f"{folder}/model.zip")


def losses(adata):
    return adata.uns[KEY]["loss_parts"]


def spread(layout):
    return float(np.asarray(layout).std())


def mean_distance(one, two):
    return float(np.linalg.norm(one - two, axis=1).mean())


class Conv(torch.nn.Module):
    """A convolutional network that remembers in which shapes it was called."""

    shapes: list = []

    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(4 * 4 * 2, 2)
        )

    def forward(self, images):
        Conv.shapes.append(tuple(images.shape[1:]))
        return self.body(images)


class Deconv(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.second = torch.nn.Linear(2, 4 * 4 * 2), torch.nn.ConvTranspose2d(4, 1, 3)

    def forward(self, places):
        return self.second(self.first(places).view(-1, 4, 4, 2))


class Stateful(torch.nn.Linear):
    """A module with a state that is no array."""

    def __init__(self):
        super().__init__(8, 2)

    def get_extra_state(self):
        return {"a": 1}

    def set_extra_state(self, state):
        pass


class Recorder(torch.nn.Module):
    """A linear map that keeps the rows it is trained on, and those it is evaluated on."""

    trained: list = []
    evaluated: list = []

    def __init__(self, n_features=8):
        super().__init__()
        self.linear = torch.nn.Linear(n_features, 2)

    def forward(self, rows):
        (Recorder.trained if self.training else Recorder.evaluated).append(rows.detach().clone())
        return self.linear(rows)


class TestEncoder:
    @pytest.mark.parametrize("name", ["mlp", "residual"])
    def test_by_name_with_parameters(self, cells, embed, name):
        adata = embed(cells(), encoder=name, encoder_params={"width": 12, "depth": 2})
        params = adata.uns[KEY]["params"]
        assert (params["encoder"], params["encoder__width"], params["encoder__depth"]) == (name, 12, 2)
        model = model_from_adata(adata)
        weights = [a.shape for n, a in model.fitted.encoder.arrays.items() if n.endswith("weight")]
        assert model.fitted.encoder.builder == f"{name}@vicinal-torch"
        assert weights[0] == (12, 8)
        assert weights[-1] == (2, 12)
        assert len(weights) == (3 if name == "mlp" else 2 + 2 * 2)

    def test_a_module_in_other_shapes(self, cells, embed):
        Conv.shapes.clear()
        adata = embed(cells(n_features=24), encoder=Conv(), dims=(1, 6, 4))
        assert set(Conv.shapes) == {(1, 6, 4)}
        assert adata.uns[KEY]["params"]["encoder"] == "Conv"
        assert adata.uns[KEY]["params"]["dims"] == "(1, 6, 4)"

    @pytest.mark.slow
    def test_a_convolutional_network_learns(self, cells, embed):
        """Neighbours of images stay together, wherever it starts: in the mean of three starts."""
        gains = []
        for seed in range(3):
            torch.manual_seed(seed)
            encoder, adata = Conv(), cells(n=200, n_features=24)
            first, last = (
                embed(adata.copy(), encoder=encoder, dims=(1, 6, 4), warm_start_steps=0, n_training_epochs=n).uns[KEY]
                for n in (0, 40)
            )
            gains.append(
                {name: last["score"][name] - first["score"][name] for name in ("trustworthiness", "knn_recall_15")}
            )
            assert last["loss"][-1] < 0.8 * last["loss"][0]
        assert np.mean([gain["trustworthiness"] for gain in gains]) > 0.02
        assert np.mean([gain["knn_recall_15"] for gain in gains]) > 0.03

    def test_the_users_module_is_left_as_it_is(self, cells, embed):
        module = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.BatchNorm1d(16), torch.nn.Linear(16, 2))
        module[1].eval()
        before = {name: value.clone() for name, value in module.state_dict().items()}
        adata = embed(cells(), encoder=module)
        assert [m.training for m in module.modules()] == [True, True, False, True]
        assert all(torch.equal(before[name], value) for name, value in module.state_dict().items())
        assert all(p.grad is None and p.requires_grad for p in module.parameters())
        with torch.no_grad():
            untrained = module.eval()(torch.tensor(adata.X)).numpy()
        assert mean_distance(untrained, adata.obsm[OBSM]) > 0.01, "a copy was trained"

    def test_what_is_trained_is_what_maps(self, cells, embed):
        module = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.Tanh(), torch.nn.Linear(16, 2))
        adata = embed(cells(), encoder=module)
        vc.tl.project(adata, adata, encoder=module, key_added="again", n_jobs=1)
        np.testing.assert_array_equal(adata.obsm["again"], adata.obsm[OBSM])
        with torch.no_grad():
            np.testing.assert_allclose(module(torch.tensor(adata.X)).numpy(), adata.obsm[OBSM], atol=1e-5)

    def test_parts_that_are_frozen_stay(self, cells, embed):
        module = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 2))
        module[0].requires_grad_(False)
        before = module[0].weight.clone()
        adata = embed(cells(), encoder=module)
        vc.tl.project(adata, adata, encoder=module, key_added="again", n_jobs=1)
        assert torch.equal(module[0].weight, before)

    def test_bad_ones(self, cells, refused):
        linear = torch.nn.Linear
        no_copy = linear(8, 2)
        no_copy.register_forward_hook(lambda *a: None)
        no_copy.generator = (i for i in range(3))
        half = linear(8, 2)
        half.register_buffer("few_bits", torch.ones(2, dtype=torch.bfloat16))
        bad = [
            (half, "encoder holds 'few_bits' as torch.bfloat16"),
            (Stateful(), "encoder holds '_extra_state' as dict"),
            ("nope", "encoder: network='nope'"),
            (linear, "encoder is the class Linear"),
            (3, "encoder is a int"),
            (linear(7, 2), "encoder cannot take rows of shape (8,)"),
            (linear(8, 3), "encoder made (2, 3) of 2 rows; it must make (2, 2)"),
            (torch.nn.Identity(), "encoder made (2, 8)"),
            (torch.nn.Flatten(0), "encoder made"),
            (linear(8, 2).requires_grad_(False), "encoder has no parameters"),
            (no_copy, "encoder cannot be copied"),
        ]
        for given, message in bad:
            text = refused(cells(), encoder=given)
            assert text.startswith(message), text
        assert "encoder_params holds 'wide'" in refused(cells(), encoder_params={"wide": 3})
        assert "width=0" in refused(cells(), encoder_params={"width": 0})
        assert "encoder_params are for" in refused(cells(), encoder=linear(8, 2), encoder_params={"width": 3})
        assert "encoder_params is a list" in refused(cells(), encoder_params=[3])
        assert "encoder needs a network" in refused(cells(), encoder=linear(8, 2), parametric=False, warm_start_steps=0)


class TestDims:
    @pytest.mark.parametrize("dims", [(2, 5), (9,), (8, 0), (8.0,), "88", (), (2, 2, 3)])
    def test_bad_ones(self, cells, refused, dims):
        assert refused(cells(), dims=dims).startswith("dims=")

    def test_a_list_will_do_for_named_networks(self, cells, embed):
        one, two = embed(cells(), dims=[2, 4]), embed(cells())
        np.testing.assert_array_equal(one.obsm[OBSM], two.obsm[OBSM])


class TestEpochs:
    def test_as_many_reports_as_asked_for(self, cells, embed):
        adata = embed(cells(), n_training_epochs=3, loss_report_frequency=4)
        np.testing.assert_array_equal(adata.uns[KEY]["loss_epoch"], np.arange(13))
        assert len(adata.uns[KEY]["loss"]) == 13
        params = adata.uns[KEY]["params"]
        assert (params["n_training_epochs"], params["loss_report_frequency"], params["n_epochs"]) == (3, 4, 12)

    @pytest.mark.parametrize("batch_size", [64, 100, 16])
    def test_batches_are_of_the_size_asked_for(self, cells, embed, batch_size):
        seen = []

        def own(batch):
            seen.append(len(batch.cells))
            return batch.places.sum() * 0

        embed(cells(), batch_size=batch_size, extra_losses=[own])
        a_walk = WALK - 1
        assert {size * a_walk // WALK for size in seen} == {a_walk * -(-batch_size // a_walk)}

    def test_an_epoch_is_as_many_edges_as_there_are(self, cells, embed):
        adata, seen = cells(n=200), []
        vc.pp.neighbors(adata, n_neighbors=10, n_jobs=1)
        n_edges = adata.obsp["connectivities"].nnz

        def own(batch):
            seen.append(len(batch.cells) if torch.is_grad_enabled() and batch.places.requires_grad else 0)
            return batch.places.sum() * 0

        embed(adata, batch_size=30, n_training_epochs=1, loss_report_frequency=1, extra_losses=[own])
        drawn = sum(seen) * (WALK - 1) / WALK
        assert n_edges <= drawn < n_edges + 2 * 30

    def test_no_epoch(self, cells, embed):
        adata = embed(cells(), n_training_epochs=0)
        assert list(adata.uns[KEY]["loss_epoch"]) == [0]
        again = embed(cells(), n_training_epochs=0, warm_start_steps=0)
        assert mean_distance(adata.obsm[OBSM], again.obsm[OBSM]) > 0.1, "what the warm start has taught is all"

    def test_left_open(self, cells, start):
        adata = cells(n=40)
        start(adata, n_training_epochs=None, loss_report_frequency=None, batch_size=None).finish(remaining=False)
        params = adata.uns[KEY]["params"]
        assert params["batch_size"] == 256
        assert params["n_training_epochs"] == FEWEST_UPDATES // FEWEST_UPDATES_AN_EPOCH
        assert params["loss_report_frequency"] == 1
        assert params["learning_rate"] == LEARNING_RATES[True]

    def test_bad_ones(self, cells, refused):
        for name, low in (("batch_size", 1), ("n_training_epochs", 0), ("loss_report_frequency", 1)):
            for value in (low - 1, 1.5, "3", True):
                assert refused(cells(), **{name: value}).startswith(f"{name}={value!r}")
        assert "n_training_epochs" in refused(cells(), n_epochs=3), "says what to give instead"


class TestTorchOptimizer:
    def test_is_the_one_that_trains(self, cells, embed):
        made = []

        def own(parameters, lr):
            made.append((lr, torch.optim.SGD(parameters, lr=lr, momentum=0.5)))
            return made[-1][1]

        adata = embed(cells(), torch_optimizer=own, learning_rate=0.03)
        assert {lr for lr, _ in made} == {0.03}
        assert any(optimizer.state for _, optimizer in made)
        assert "own" in adata.uns[KEY]["params"]["torch_optimizer"]
        assert mean_distance(adata.obsm[OBSM], embed(cells(), learning_rate=0.03).obsm[OBSM]) > 1e-3

    @pytest.mark.parametrize(
        "name", ["AdamW", "NAdam", "RAdam", "Adamax", "Adagrad", "Adadelta", "RMSprop", "Rprop", "ASGD", "Adafactor"]
    )
    def test_those_of_torch_can_be_stopped_and_resumed(self, cells, start, tmp_path, name):
        params = {"torch_optimizer": getattr(torch.optim, name), "n_training_epochs": 2, "warm_start_steps": 0}
        whole, parted, resumed = (start(cells(n=40), **params) for _ in range(3))
        whole.step(4)
        parted.step(2).save(tmp_path / "kept")
        resumed.resume(tmp_path / "kept").step(2)
        np.testing.assert_array_equal(whole.layout, resumed.layout)
        assert whole.loss.total[-1] == resumed.loss.total[-1]

    def test_bad_ones(self, cells, refused):
        bad = [
            (3, "torch_optimizer=3 cannot be called"),
            (torch.optim.LBFGS, "torch_optimizer: LBFGS cannot take a step"),
            (torch.optim.SparseAdam, "torch_optimizer: SparseAdam cannot take a step"),
            (lambda parameters: None, "torch_optimizer cannot be called with"),
            (lambda parameters, lr: None, "torch_optimizer made a NoneType"),
        ]
        for given, message in bad:
            assert refused(cells(), torch_optimizer=given).startswith(message)


class TestLearningRate:
    @pytest.mark.parametrize("parametric", [True, False])
    def test_moves_farther_where_larger(self, cells, start, parametric):
        moved = []
        for rate in (1e-4, 1e-2):
            run = start(cells(), parametric=parametric, learning_rate=rate, warm_start_steps=20 if parametric else None)
            before = run.layout
            run.step(run.n_epochs)
            moved.append(mean_distance(before, run.layout))
        assert moved[1] > 3 * moved[0]

    def test_schedules(self, cells, embed):
        rates = {}
        for schedule in ("one_cycle", "constant"):
            seen = rates[schedule] = []

            class Sgd(torch.optim.SGD):
                def step(self, closure=None, seen=seen):
                    seen.append(self.param_groups[0]["lr"])
                    return super().step(closure)

            params = {"learning_rate": 0.02, "learning_rate_schedule": schedule, "n_training_epochs": 3}
            embed(cells(), torch_optimizer=Sgd, **params)
        assert set(rates["constant"]) == {0.02}
        cycle = rates["one_cycle"][1:]  # the first was the trial
        assert max(cycle) == pytest.approx(0.02, rel=0.01)
        peak = int(np.argmax(cycle))
        assert 0.05 < peak / len(cycle) < 0.15
        assert (np.diff(cycle[: peak + 1]) > 0).all()
        assert (np.diff(cycle[peak:]) < 0).all()
        assert cycle[0] == pytest.approx(0.02 / 25)

    def test_for_some_epochs_alone(self, cells, start):
        one, two, three = (start(cells()) for _ in range(3))
        one.step(2)
        two.step(2, learning_rate=0.05)
        assert mean_distance(one.layout, two.layout) > 1e-3
        three.step(2, learning_rate=LEARNING_RATES[True])
        np.testing.assert_array_equal(one.layout, three.layout)
        with pytest.raises(InputError, match="batch_size cannot be changed on the way"):
            one.step(1, batch_size=3)
        one.step(1, learning_rate=0.3)
        assert one.epoch == 3

    def test_bad_ones(self, cells, refused):
        for value in (0, -1, np.inf, "fast", True):
            assert refused(cells(), learning_rate=value).startswith("learning_rate=")
        assert "learning_rate_schedule='cosine'" in refused(cells(), learning_rate_schedule="cosine")


class TestFreeTable:
    def test_cells_move_by_themselves(self, cells, start):
        fixed = np.arange(120) % 2 == 0
        run = start(
            cells(),
            parametric=False,
            fixed=fixed,
            init=np.random.default_rng(0).normal(size=(120, 2)),
            warm_start_steps=None,
        )
        before = run.layout
        run.step(run.n_epochs)
        np.testing.assert_array_equal(run.layout[fixed], before[fixed])
        assert (run.layout[~fixed] != before[~fixed]).any(axis=1).all()

    @pytest.mark.parametrize("optimizer", [torch.optim.AdamW, torch.optim.SGD])
    def test_fixed_cells_stay_whatever_decays(self, cells, embed, optimizer):
        """Weight decay moves what has no slope."""
        init, fixed = np.random.default_rng(0).normal(size=(120, 2)).astype(np.float32), np.arange(120) < 30

        def decaying(parameters, lr):
            return optimizer(parameters, lr=lr, weight_decay=0.5)

        adata = embed(
            cells(), parametric=False, warm_start_steps=None, init=init, fixed=fixed, torch_optimizer=decaying
        )
        first = vc.tl.start(cells(), method=KEY, parametric=False, init=init, fixed=fixed, n_jobs=1).layout
        np.testing.assert_array_equal(adata.obsm[OBSM][fixed], first[fixed])

    def test_is_good(self, cells, embed):
        adata = embed(cells(n=200), parametric=False, warm_start_steps=None, n_training_epochs=20, init="random")
        assert adata.uns[KEY]["score"]["trustworthiness"] > 0.85
        assert adata.uns[KEY]["params"]["learning_rate"] == 0.2

    def test_has_no_network(self, cells, embed):
        adata = embed(cells(), parametric=False, warm_start_steps=None)
        new = cells(n=30, seed=1)
        vc.tl.project(new, adata)
        assert np.isfinite(new.obsm[OBSM]).all(), "new cells go among their neighbours"

    def test_works_with_losses_on_places(self, cells, embed):
        params = {"parametric": False, "warm_start_steps": None}
        adata = embed(cells(), **params, global_correlation_loss_weight=1.0, extra_losses=[lambda b: b.places.mean()])
        for name in ("global_correlation", "extra"):
            assert np.isfinite(losses(adata)[name]).all()
        assert np.ptp(losses(adata)["global_correlation"]) > 0

    def test_bad_ones(self, cells, refused):
        for name, value in (
            ("reconstruction", True),
            ("validation", 0.1),
            ("warm_start_steps", 3),
        ):
            assert refused(cells(), parametric=False, **{"warm_start_steps": None, name: value}).startswith(name)
        assert refused(cells(), parametric=1).startswith("parametric=1")
        assert refused(cells(), fixed=np.arange(120) < 3).startswith("fixed: a network moves all cells")


class TestGlobalCorrelation:
    def test_is_raised(self, cells, embed):
        """Groups along a line: their order says where they are, which the objective alone forgets."""
        found = {}
        for weight in (0.0, 5.0):
            adata = embed(
                cells(n=200, n_groups=5),
                init="random",
                warm_start_steps=0,
                n_training_epochs=15,
                global_correlation_loss_weight=weight,
            )
            found[weight] = adata.uns[KEY]["score"]["global_correlation"]
        assert found[5.0] > found[0.0] + 0.05
        assert "global_correlation" not in losses(embed(cells()))
        assert adata.uns[KEY]["params"]["global_correlation_loss_weight"] == 5.0

    @pytest.mark.parametrize("value", [-1, np.nan, "1", True])
    def test_bad_ones(self, cells, refused, value):
        assert refused(cells(), global_correlation_loss_weight=value).startswith("global_correlation_loss_weight=")


class TestReconstruction:
    @pytest.mark.parametrize("decoder", ["mlp", "residual", "module"])
    def test_the_decoder_learns(self, cells, embed, decoder):
        given = torch.nn.Sequential(torch.nn.Linear(2, 32), torch.nn.ReLU(), torch.nn.Linear(32, 8))
        adata = embed(
            cells(),
            reconstruction=True,
            decoder=given if decoder == "module" else decoder,
            n_training_epochs=10,
            warm_start_steps=100,
        )
        history = losses(adata)["reconstruction"]
        assert history[-1] < 0.5 * history[0]
        assert "reconstruction" not in losses(embed(cells()))

    def test_does_not_touch_the_map_unless_asked(self, cells, embed):
        without, beside = embed(cells()), embed(cells(), reconstruction=True)
        together = embed(cells(), reconstruction=True, autoencoder_loss=True)
        np.testing.assert_allclose(beside.obsm[OBSM], without.obsm[OBSM], atol=1e-6)
        assert mean_distance(together.obsm[OBSM], without.obsm[OBSM]) > 1e-3

    def test_an_autoencoder_keeps_more(self, cells, embed):
        """Where the map is shaped by it as well, rows are made again better."""
        params = {
            "reconstruction": True,
            "n_training_epochs": 10,
            "reconstruction_loss_weight": 20.0,
            "n_components": 2,
        }
        last = [
            losses(embed(cells(n_groups=5), autoencoder_loss=both, **params))["reconstruction"][-1]
            for both in (False, True)
        ]
        assert last[1] < last[0]

    def test_weight(self, cells, embed):
        one, ten = (
            losses(embed(cells(), reconstruction=True, reconstruction_loss_weight=w, n_training_epochs=0))
            for w in (1.0, 10.0)
        )
        assert ten["reconstruction"][0] == pytest.approx(10 * one["reconstruction"][0], rel=1e-4)

    def test_images(self, cells, embed):
        adata = embed(
            cells(n_features=24),
            encoder=Conv(),
            decoder=Deconv(),
            dims=(1, 6, 4),
            reconstruction=True,
            n_training_epochs=5,
        )
        assert losses(adata)["reconstruction"][-1] < losses(adata)["reconstruction"][0]

    def test_shares(self, cells, embed, refused):
        adata = cells()
        adata.X = 1 / (1 + np.exp(-adata.X))
        history = losses(embed(adata, reconstruction=True, reconstruction_loss="bce", n_training_epochs=10))
        assert history["reconstruction"][0] == pytest.approx(np.log(2), abs=0.1), "of an untrained one"
        assert history["reconstruction"][-1] < 0.9 * history["reconstruction"][0]
        with pytest.raises(InputError, match="reconstruction_loss='bce' needs rows between 0 and 1"):
            embed(cells(), reconstruction=True, reconstruction_loss="bce")

    def test_a_function(self, cells, embed):
        seen = []

        def absolute(made, rows):
            seen.append((made.shape, rows.shape))
            return (made - rows).abs().mean()

        adata = embed(cells(), dims=(2, 4), reconstruction=True, reconstruction_loss=absolute)
        assert all(a == b == (len(a) and b) and a[1:] == (2, 4) for a, b in seen)
        assert adata.uns[KEY]["params"]["reconstruction_loss"].endswith("absolute")
        assert losses(adata)["reconstruction"][0] > 0

    def test_bad_ones(self, cells, refused):
        assert "reconstruction=1 " in refused(cells(), reconstruction=1)
        assert "reconstruction_loss='mae'" in refused(cells(), reconstruction=True, reconstruction_loss="mae")
        assert "reconstruction_loss_weight=-1" in refused(cells(), reconstruction_loss_weight=-1)
        assert "autoencoder_loss=True needs a decoder" in refused(cells(), autoencoder_loss=True)
        assert "decoder needs reconstruction=True" in refused(cells(), decoder=torch.nn.Linear(2, 8))
        for given, message in (
            ("nope", "decoder: network='nope'"),
            (torch.nn.Linear(2, 7), "decoder made (2, 7)"),
            (torch.nn.Linear(3, 8), "decoder cannot take rows of shape (2,)"),
            (torch.nn.Linear, "decoder is the class Linear"),
            (torch.nn.Identity(), "decoder made (2, 2)"),
        ):
            assert message in refused(cells(), reconstruction=True, decoder=given)
        assert "decoder_params holds 'x'" in refused(cells(), reconstruction=True, decoder_params={"x": 1})


class TestValidation:
    def test_cells_of_a_mask_are_never_trained_on(self, cells, embed):
        adata, mask = cells(), np.arange(120) % 5 == 0
        Recorder.trained.clear()
        Recorder.evaluated.clear()
        adata = embed(adata, encoder=Recorder(), validation=mask, warm_start_steps=10)
        trained = {row.tobytes() for part in Recorder.trained for row in part.numpy()}
        assert not trained & {row.tobytes() for row in adata.X[mask]}
        assert trained >= {row.tobytes() for row in adata.X[~mask]}
        evaluated = {row.tobytes() for part in Recorder.evaluated for row in part.numpy()}
        assert {row.tobytes() for row in adata.X[mask]} <= evaluated
        for name in ("validation", "validation_attraction", "validation_repulsion"):
            assert len(losses(adata)[name]) == 5
            assert np.isfinite(losses(adata)[name]).all()
        assert np.isfinite(adata.obsm[OBSM][mask]).all(), "they are in the map all the same"

    def test_a_share(self, cells, embed):
        found = []
        for _ in range(2):
            Recorder.trained.clear()
            adata = embed(cells(), encoder=Recorder(), validation=0.25)
            trained = {row.tobytes() for part in Recorder.trained for row in part.numpy()}
            found.append(frozenset(trained))
        assert len(found[0]) == 90
        assert found[0] == found[1], "the same each time"
        assert adata.uns[KEY]["params"]["validation"] == 0.25

    @pytest.mark.parametrize("kind", ["rows", "adata"])
    def test_other_cells(self, cells, embed, kind):
        others, plain = cells(n=40, seed=5), embed(cells())
        given = others.X if kind == "rows" else others[:, ::-1].copy()  # genes in another order
        adata = embed(cells(), validation=given)
        np.testing.assert_array_equal(adata.obsm[OBSM], plain.obsm[OBSM])
        history = losses(adata)
        assert np.isfinite(history["validation"]).all()
        np.testing.assert_allclose(
            history["validation"], history["validation_attraction"] + history["validation_repulsion"], rtol=1e-5
        )
        np.testing.assert_allclose(adata.uns[KEY]["loss"], history["attraction"] + history["repulsion"], rtol=1e-5)

    def test_rows_and_adata_are_alike(self, cells, embed):
        others = cells(n=40, seed=5)
        rows, adata = (losses(embed(cells(), validation=given)) for given in (others.X, others))
        np.testing.assert_array_equal(rows["validation"], adata["validation"])

    def test_falls_where_cells_are_alike_and_not_where_they_are_noise(self, cells, embed):
        params = {"n_training_epochs": 10, "init": "random"}
        alike = losses(embed(cells(), validation=cells(n=60, seed=5).X, **params))["validation"]
        assert alike[-1] < 0.8 * alike[0]

    def test_reconstruction_of_cells_that_are_not_trained_on(self, cells, embed):
        for given in (0.2, cells(n=60, seed=5).X):
            history = losses(embed(cells(), validation=given, reconstruction=True, n_training_epochs=10))
            found = history["validation_reconstruction"]
            assert found[-1] < found[0]
            total = history["validation_attraction"] + history["validation_repulsion"] + found
            np.testing.assert_allclose(history["validation"], total, rtol=1e-5)

    def test_bad_ones(self, cells, refused):
        none, every = np.zeros(120, bool), np.ones(120, bool)
        for value in (0.0, 1.0, 1, -0.5, True, "some", np.nan, 0.001):
            assert refused(cells(), validation=value).startswith("validation")
        for value in (none, every, np.ones(119, bool), np.arange(120), np.ones((3, 7)), np.ones((0, 8)), [[1, 2], [3]]):
            assert refused(cells(), validation=value).startswith("validation"), value
        assert "NaN" in refused(cells(), validation=np.full((3, 8), np.nan))
        assert "validation" in refused(cells(), validation=np.ones((2, 2, 8)))
        other = ad.AnnData(np.ones((4, 3), np.float32))
        assert refused(cells(), validation=other)
        with_pca = cells()
        with_pca.obsm["X_pca"] = with_pca.X[:, :4].copy()
        assert "validation has no 'X_pca'" in refused(with_pca, validation=cells(n=20))


class TestLandmarks:
    def positions(self, adata, share=2):
        wanted = np.full((adata.n_obs, 2), np.nan, dtype=np.float32)
        group = adata.obs["group"].cat.codes.to_numpy()
        chosen = np.arange(adata.n_obs) % share == 0
        wanted[chosen] = np.float32([[0, 0], [30, 0], [0, 30]])[group[chosen]]
        return wanted, chosen

    @pytest.mark.parametrize("parametric", [True, False])
    def test_draw_cells_to_their_places(self, cells, embed, parametric):
        adata = cells()
        wanted, chosen = self.positions(adata)
        found = {}
        for weight in (0.0, 0.2, 5.0):
            made = embed(
                adata.copy(),
                landmark_positions=wanted,
                landmark_loss_weight=weight,
                n_training_epochs=10,
                parametric=parametric,
                warm_start_steps=50 if parametric else None,
            )
            found[weight] = mean_distance(made.obsm[OBSM][chosen], wanted[chosen])
            followed = mean_distance(
                made.obsm[OBSM][~chosen],
                np.float32([[0, 0], [30, 0], [0, 30]])[adata.obs["group"].cat.codes.to_numpy()[~chosen]],
            )
        assert found[5.0] < found[0.2] < found[0.0]
        assert found[5.0] < 5
        assert followed < 8 or not parametric, "a network takes the others along"
        np.testing.assert_allclose(
            made.uns[KEY]["loss"], sum(losses(made)[n] for n in ("attraction", "landmarks", "repulsion")), rtol=1e-5
        )

    def test_a_key_of_obsm(self, cells, embed):
        adata = cells()
        wanted, _ = self.positions(adata)
        given = embed(adata.copy(), landmark_positions=wanted)
        adata.obsm["X_wanted"] = wanted
        for key in ("X_wanted", "wanted"):
            named = embed(adata.copy(), landmark_positions=key)
            np.testing.assert_array_equal(named.obsm[OBSM], given.obsm[OBSM])

    def test_another_loss(self, cells, embed):
        adata, seen = cells(), []
        wanted, _ = self.positions(adata)

        def squared(places, positions):
            seen.append(bool(positions.isfinite().all()) and places.shape == positions.shape)
            return (places - positions).square().mean()

        made = embed(adata, landmark_positions=wanted, landmark_loss=squared, landmark_loss_weight=0.5)
        assert seen and all(seen), "only cells that have a place"
        assert made.uns[KEY]["params"]["landmark_loss"].endswith("squared")

    def test_old_cells_hold_their_places_while_new_ones_come(self, cells, embed):
        """The use they were made for: training goes on with new data, the map stays where it was."""
        params = {"n_training_epochs": 10, "warm_start_steps": 100}
        old, new = cells(), cells(n=120, seed=3)
        new.X = new.X + np.float32(4)
        new.obs_names = [f"new{i}" for i in range(120)]
        embed(old, **params)
        both = ad.concat([new, old])
        kept = both.obs_names.isin(old.obs_names)
        wanted = np.full((240, 2), np.nan, dtype=np.float32)
        wanted[kept] = old[both.obs_names[kept]].obsm[OBSM]
        moved = {}
        for weight in (None, 1.0):
            landmarks = {} if weight is None else {"landmark_positions": wanted, "landmark_loss_weight": weight}
            made = embed(both.copy(), continue_from=old, **landmarks, **params)
            moved[weight] = mean_distance(made.obsm[OBSM][kept], wanted[kept])
        assert moved[1.0] < 0.5 * moved[None]
        assert moved[1.0] < 0.1 * spread(wanted[kept])
        assert made.uns[KEY]["score"]["trustworthiness"] > 0.8

    def test_bad_ones(self, cells, refused):
        partly = np.ones((120, 2))
        partly[3, 0] = np.nan
        infinite = np.ones((120, 2))
        infinite[3] = np.inf
        for value in (np.ones((119, 2)), np.ones((120, 3)), "nowhere", np.full((120, 2), np.nan), partly, infinite, 3):
            assert refused(cells(), landmark_positions=value).startswith("landmark_positions")
        assert "landmark_loss='manhattan'" in refused(cells(), landmark_loss="manhattan")
        assert "landmark_loss_weight=-1" in refused(cells(), landmark_loss_weight=-1)


class TestLabelsAndExtraLosses:
    def test_labels_by_cell_with_unknown_ones(self, cells, embed):
        adata, seen = cells(), {}
        adata.obs["known"] = adata.obs["group"].astype(object)
        adata.obs.loc[adata.obs_names[::3], "known"] = None
        adata.obs["known"] = adata.obs["known"].astype("category")
        names = np.sort(adata.obs_names.to_numpy())

        def own(batch):
            for cell, label in zip(batch.cells.tolist(), batch.labels.tolist(), strict=True):
                seen.setdefault(cell, set()).add(label)
            return batch.places.sum() * 0

        embed(adata, labels="known", extra_losses=[own], n_training_epochs=4)
        codes = dict(zip(adata.obs_names, adata.obs["known"].cat.codes, strict=True))
        assert len(seen) > 100
        assert all(labels == {codes[names[cell]]} for cell, labels in seen.items()), "cells in the order of their names"
        assert -1 in {codes[names[cell]] for cell in seen}

    def test_no_labels(self, cells, embed):
        def own(batch):
            assert batch.labels is None
            assert batch.landmarks is None
            return batch.places.sum() * 0

        embed(cells(), extra_losses=[own])

    def test_a_loss_by_labels_parts_them(self, cells, embed):
        """Labels at random: only a loss of its own can part them."""
        adata = cells()
        adata.X = np.random.default_rng(0).normal(size=adata.shape).astype(np.float32)
        adata.obs["half"] = np.where(adata.X[:, 0] > 0, "x", "y")

        def parted(batch):
            there = batch.labels >= 0
            signs = batch.labels[there].float() * 2 - 1
            return torch.nn.functional.softplus(5 - signs * batch.places[there, 0]).mean()

        def apart(made):
            half = made.obs["half"].to_numpy() == "y"
            return made.obsm[OBSM][half, 0].mean() - made.obsm[OBSM][~half, 0].mean()

        params = {"labels": "half", "n_training_epochs": 10, "target_weight": 0.0}
        without, given = embed(adata.copy(), **params), embed(adata.copy(), extra_losses=[parted], **params)
        assert apart(given) > abs(apart(without)) + 2
        assert losses(given)["parted"][-1] < losses(given)["parted"][0]

    def test_several_of_one_name_all_count(self, cells, embed):
        one = embed(cells(), extra_losses=[lambda b: 2 * b.places.square().mean()])
        two = embed(cells(), extra_losses=[lambda b: b.places.square().mean(), lambda b: b.places.square().mean()])
        assert {"extra", "extra_2"} <= set(losses(two))
        np.testing.assert_allclose(one.obsm[OBSM], two.obsm[OBSM], rtol=1e-3, atol=1e-3)
        np.testing.assert_allclose(two.uns[KEY]["loss"], one.uns[KEY]["loss"], rtol=1e-3)

    @pytest.mark.parametrize("value", [3, "loss", [3], lambda b: b, None])
    def test_bad_ones(self, cells, refused, value):
        assert refused(cells(), extra_losses=value).startswith("extra_losses")

    def test_a_plan_is_plain_data(self, cells):
        plan = vc.tl.plan(cells(), method=KEY, extra_losses=(lambda b: b.places.mean(),), dims=(2, 4))
        assert "extra_losses" not in json.dumps(plan.to_dict())

    def test_what_gives_no_number(self, cells, embed):
        for given in (1.0, torch.ones(3), None):
            adata = cells()
            with pytest.raises(InputError, match="extra_losses: 'extra' gave"):
                embed(adata, extra_losses=[lambda b, given=given: given])
            assert not adata.obsm and not adata.uns


class TestNegatives:
    def test_uniform_ones_are_other_cells(self, cells, embed):
        one, two = embed(cells()), embed(cells(), negatives="uniform")
        assert mean_distance(one.obsm[OBSM], two.obsm[OBSM]) > 1e-3
        assert two.uns[KEY]["params"]["negatives"] == "uniform"

    def test_uniform_ones_do_as_well(self, cells, embed):
        adata = embed(cells(n=200), negatives="uniform", n_training_epochs=15, warm_start_steps=100)
        assert adata.uns[KEY]["score"]["trustworthiness"] > 0.85

    def test_bad_ones(self, cells, refused):
        assert refused(cells(), negatives="all").startswith("negatives='all' is not allowed; give one of 'batch'")


class TestWarmStart:
    def test_learns_the_first_layout(self, cells, embed, start):
        init = np.random.default_rng(0).normal(size=(120, 2)).astype(np.float32)
        first = vc.tl.start(cells(), method="umap", init=init, n_jobs=1).layout
        far = {
            steps: mean_distance(start(cells(), init=init, warm_start_steps=steps).layout, first)
            for steps in (0, 50, None)
        }
        assert far[None] < far[50] < far[0]
        assert far[None] < 0.5 * mean_distance(first, first.mean(axis=0))

    def test_is_recorded(self, cells, embed):
        for given, expected in ((0, 0), (None, WARM_START_STEPS), (7, 7)):
            adata = embed(cells(), warm_start_steps=given, n_training_epochs=0)
            assert adata.uns[KEY]["params"]["warm_start_steps"] == expected

    @pytest.mark.parametrize("value", [-1, 1.5, "3", True])
    def test_bad_ones(self, cells, refused, value):
        assert refused(cells(), warm_start_steps=value).startswith("warm_start_steps=")


class TestGraphs:
    def test_precomputed(self, cells, embed):
        adata = cells()
        fresh = embed(adata.copy())
        vc.pp.neighbors(adata, n_neighbors=15, n_jobs=1)
        stored = embed(adata)
        assert stored.uns[KEY]["backends"]["graph"].startswith("precomputed")
        np.testing.assert_allclose(stored.obsm[OBSM], fresh.obsm[OBSM], atol=1e-3)
        given = embed(cells(), graph=adata.obsp["connectivities"])
        np.testing.assert_array_equal(given.obsm[OBSM], stored.obsm[OBSM])

    def test_directed(self, cells, embed):
        adata = embed(cells(), symmetrize=False, n_training_epochs=15, warm_start_steps=100)
        assert adata.uns[KEY]["params"]["symmetrize"] is False
        assert adata.uns[KEY]["score"]["trustworthiness"] > 0.85
        assert adata.uns[KEY]["loss"][-1] < adata.uns[KEY]["loss"][0]

    def test_order_of_rows_does_not_matter(self, cells, embed):
        adata, mask = cells(), np.arange(120) % 4 == 0
        wanted = np.where(mask[:, None], adata.X[:, :2], np.nan)
        order = np.random.default_rng(0).permutation(120)
        params = {"labels": "group", "reconstruction": True}
        one = embed(adata.copy(), validation=mask, landmark_positions=wanted, **params)
        two = embed(adata[order].copy(), validation=mask[order], landmark_positions=wanted[order], **params)
        np.testing.assert_array_equal(one.obsm[OBSM][order], two.obsm[OBSM])
        np.testing.assert_array_equal(one.uns[KEY]["loss"], two.uns[KEY]["loss"])


class TestOfTheTrainer:
    def test_half_precision(self, cells, embed):
        adata = embed(cells(), precision="bf16-mixed", reconstruction=True, validation=0.2, n_training_epochs=10)
        assert adata.obsm[OBSM].dtype == np.float32
        assert adata.uns[KEY]["loss"][-1] < adata.uns[KEY]["loss"][0]
        whole = embed(cells(), reconstruction=True, validation=0.2, n_training_epochs=10)
        assert mean_distance(adata.obsm[OBSM], whole.obsm[OBSM]) > 0, "fewer bits are others"

    def test_fewer_batches_give_means_of_fewer(self, cells, embed):
        seen = []

        def own(batch):
            if batch.places.requires_grad:
                seen.append(float(batch.places.detach().square().mean()))
            return batch.places.square().mean()

        adata = embed(
            cells(),
            trainer_params={"limit_train_batches": 1},
            n_training_epochs=1,
            loss_report_frequency=1,
            extra_losses=[own],
        )
        assert len(seen) == 8
        assert losses(adata)["own"][1] == pytest.approx(np.mean(seen), rel=1e-5)
        assert adata.uns[KEY]["params"]["trainer_params"] == "limit_train_batches=1"

    def test_bad_ones(self, cells, refused):
        assert refused(cells(), precision="16-mixed").startswith("precision='16-mixed' is not allowed")
        assert refused(cells(), accelerator="tpu").startswith("accelerator='tpu' is not allowed")
        if not torch.cuda.is_available():
            assert refused(cells(), accelerator="cuda").startswith("accelerator='cuda' is not available")
        assert "devices" in refused(cells(), devices="many")
        assert refused(cells(), logger="csv").startswith("logger='csv'")
        assert refused(cells(), logger=[1]).startswith("logger=[1]")
        for name in ("callbacks", "max_epochs", "gradient_clip_val", "accumulate_grad_batches", "strategy"):
            assert refused(cells(), trainer_params={name: 1}).startswith(f"trainer_params holds {name!r}")
        assert "trainer_params" in refused(cells(), trainer_params={"nonsense": 1})
        assert "nonsense" in refused(cells(), trainer_params={"nonsense": 1})
        assert refused(cells(), trainer_params=3).startswith("trainer_params is a int")
        assert "unknown parameter 'epochs'" in refused(cells(), epochs=3)
