"""Optimizers that own their loop: what is recorded, who ends it, and how it goes on."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest
import trainer_for_tests
from trainer_for_tests import Listener, Trainer, TrainerParams

import vicinal as vc
from vicinal.api import Capabilities, InputError, ModelError, StageError


@pytest.fixture
def trainings():
    with trainer_for_tests.installed() as started:
        yield started


@pytest.fixture
def cells() -> ad.AnnData:
    """Return cells whose order of names is not the order they are stored in."""
    rng = np.random.default_rng(0)
    made = ad.AnnData(np.zeros((60, 1), dtype=np.float32))
    made.obs_names = [f"cell{n:02d}" for n in rng.permutation(60)]
    made.obsm["X_pca"] = rng.normal(size=(60, 5)).astype(np.float32)
    return made


def embed(cells: ad.AnnData, **options: Any) -> dict[str, Any]:
    vc.tl.embed(cells, **{"optimizer": "trainer", "init": "random", "key_added": "map", **options})
    return cells.uns["map"]


class TestLosses:
    def test_its_own_are_recorded_after_each_epoch(self, cells, trainings):
        entry = embed(cells)
        assert entry["loss_epoch"].tolist() == list(range(13))
        np.testing.assert_array_equal(entry["loss"], 100 - np.arange(13))
        assert set(entry["loss_parts"]) == {"attraction", "repulsion", "validation"}
        np.testing.assert_array_equal(entry["loss_parts"]["repulsion"], 40 - np.arange(13))

    def test_parts_that_are_not_there_are_nan(self, cells, trainings):
        parts = embed(cells)["loss_parts"]
        expected = np.where(np.arange(13) % 2, np.nan, 7 + np.arange(13))
        np.testing.assert_array_equal(parts["validation"], expected)
        assert all(len(part) == 13 for part in parts.values())

    def test_without_its_own_the_hosts_are_taken_at_some_epochs(self, cells, trainings, monkeypatch):
        monkeypatch.delattr(trainer_for_tests.Training, "losses")
        entry = embed(cells, n_epochs=100)
        assert len(entry["loss_epoch"]) == 21 and entry["loss_epoch"][-1] == 100
        assert set(entry["loss_parts"]) == {"attraction", "repulsion"}
        np.testing.assert_allclose(entry["loss"], sum(entry["loss_parts"].values()))


class TestPauses:
    def test_once_an_epoch_and_never_to_end_it(self, cells, trainings):
        embed(cells)
        (training,) = trainings
        assert training.answers == [False] * 12

    def test_callbacks_hear_of_every_epoch(self, cells, trainings):
        heard: list[Any] = []
        entry = embed(cells, callbacks=lambda *given: heard.append(given))
        epochs, layouts, losses = zip(*heard, strict=True)
        assert list(epochs) == list(range(13)) and all(type(loss) is float for loss in losses)
        np.testing.assert_array_equal(losses, entry["loss"])
        np.testing.assert_array_equal(layouts[-1], cells.obsm["map"])

    @pytest.mark.parametrize("at", [0, 5, 12])
    def test_a_callback_ends_it(self, cells, trainings, at):
        def enough(epoch, layout, loss):
            return epoch == at

        entry = embed(cells, callbacks=enough)
        (training,) = trainings
        assert training.epoch == at and entry["loss_epoch"][-1] == at
        assert training.answers == ([False] * (at - 1) + [True] if at else [])
        if at < 12:
            used = entry["params"]
            assert (used["n_epochs"], used["n_epochs_planned"], used["stopped_by"]) == (at, 12, "enough")

    def test_it_may_end_itself_and_says_who_did(self, cells, trainings):
        used = embed(cells, ends_at=4)["params"]
        assert (used["n_epochs"], used["n_epochs_planned"], used["stopped_by"]) == (4, 12, "Patience")
        assert cells.uns["map"]["loss_epoch"].tolist() == [0, 1, 2, 3, 4]

    def test_snapshots(self, cells, trainings):
        entry = embed(cells, n_epochs=[0, 3, 12])
        assert entry["snapshot_epochs"].tolist() == [0, 3, 12]
        embed(cells, n_epochs=3, key_added="short")
        np.testing.assert_array_equal(entry["snapshots"][1], cells.obsm["short"])
        np.testing.assert_array_equal(entry["snapshots"][2], cells.obsm["map"])

    def test_what_happens_in_a_pause_is_not_its_time(self, cells, trainings):
        timings = embed(cells, n_epochs=2, callbacks=lambda *_: time.sleep(0.3))["timings"]
        assert timings["optimizer"] < 0.2


class TestFailures:
    def test_of_a_callback_are_passed_on_as_they_are(self, cells, trainings):
        def fail(epoch, layout, loss):
            if epoch == 3:
                raise LookupError("of the user's own")

        with pytest.raises(LookupError, match="of the user's own"):
            embed(cells, callbacks=fail)
        (training,) = trainings
        assert training.answers == [False, False, True]
        assert "map" not in cells.uns and "map" not in cells.obsm

    def test_of_the_optimizer_bear_its_name(self, cells, trainings):
        with pytest.raises(StageError, match="trainer@plugin.*ZeroDivisionError: of the trainer's own"):
            embed(cells, fails_at=3)
        assert "map" not in cells.uns

    def test_an_interrupt_in_a_callback_is_one(self, cells, trainings, tmp_path):
        def interrupt(epoch, layout, loss):
            if epoch == 7:
                raise KeyboardInterrupt

        path = tmp_path / "run"
        with pytest.raises(KeyboardInterrupt, match="interrupted at epoch 7 of 12; to go on from there"):
            embed(cells, callbacks=interrupt, checkpoint=path)
        embed(cells, checkpoint=path)
        assert not path.exists()
        embed(cells, key_added="whole")
        np.testing.assert_array_equal(cells.obsm["map"], cells.obsm["whole"])


class TestCheckpoints:
    @pytest.mark.parametrize(("every", "kept"), [(1, 7), (5, 5)])
    def test_goes_on_with_the_same_bits_and_losses(self, cells, trainings, tmp_path, every, kept):
        def fail(epoch, layout, loss):
            if epoch == 8:
                raise LookupError

        path = tmp_path / "run"
        options = {"checkpoint": path, "checkpoint_every": every, "n_epochs": [2, 12]}
        with pytest.raises(LookupError):
            embed(cells, callbacks=fail, **options)
        entry = embed(cells, **options)
        assert len(trainings[1].answers) == 12 - kept
        whole = embed(cells, n_epochs=[2, 12], key_added="whole")
        np.testing.assert_array_equal(cells.obsm["map"], cells.obsm["whole"])
        for name in ("loss", "loss_epoch", "snapshots"):
            np.testing.assert_array_equal(entry[name], whole[name])
        np.testing.assert_array_equal(entry["loss_parts"]["validation"], whole["loss_parts"]["validation"])

    def test_of_other_data_for_the_training_is_refused(self, cells, trainings, tmp_path):
        run = vc.tl.start(cells, optimizer="trainer", landmark_positions=np.ones((60, 2)))
        run.step(3).save(tmp_path / "run")
        other = vc.tl.start(cells, optimizer="trainer", landmark_positions=np.zeros((60, 2)))
        with pytest.raises(ModelError, match="belongs to other data or arguments"):
            other.resume(tmp_path / "run")


class TestByHand:
    def test_steps_and_overrides(self, cells, trainings):
        run = vc.tl.start(cells, optimizer="trainer", init="random", key_added="map")
        run.step(0)
        assert run.step(3, learning_rate=0.5).epoch == 3
        assert run.loss.epochs.tolist() == [0, 1, 2, 3]
        with pytest.raises(InputError, match="n_epochs=10 is not allowed: 9 of 12 epochs are left"):
            run.step(10)
        run.finish()
        assert trainings[0].overrides == [{"learning_rate": 0.5}, {}]
        embed(cells, key_added="whole")
        np.testing.assert_array_equal(cells.obsm["map"], cells.obsm["whole"])

    def test_it_goes_on_after_a_stop(self, cells, trainings):
        run = vc.tl.start(cells, optimizer="trainer", callbacks=lambda epoch, *_: epoch == 5)
        assert run.step(12).epoch == 5
        assert run.step(7).epoch == 12


class TestCallbacksHandedOn:
    def test_it_gets_its_own_and_the_host_calls_the_others(self, cells, trainings):
        heard: list[int] = []
        listener = Listener()
        embed(cells, callbacks=[listener, lambda epoch, *_: heard.append(epoch)])
        assert trainings[0].request.callbacks == (listener,)
        assert heard == list(range(13))

    def test_what_it_takes_need_not_be_callable_and_may_be(self, cells, trainings):
        class Both(Listener):
            def __call__(self, *_):
                raise AssertionError("it is the trainer's to call")

        both = Both()
        embed(cells, callbacks=both)
        assert trainings[0].request.callbacks == (both,)

    @pytest.mark.parametrize("callbacks", [[Listener(), "print"], object()])
    def test_what_neither_takes_is_refused(self, cells, trainings, callbacks):
        with pytest.raises(InputError, match=r"callbacks holds .*, which cannot be called"):
            embed(cells, callbacks=callbacks)
        assert not trainings

    def test_an_optimizer_that_takes_none_gets_none(self, cells, trainings):
        with pytest.raises(InputError, match="callbacks holds a Listener, which cannot be called"):
            vc.tl.plan(cells, callbacks=Listener())


class Never:
    """Neighbours that nobody should ask for."""

    capabilities = Capabilities(inputs=("representation",))

    def build(self, request):
        raise AssertionError("work was begun")


class TestBeforeAnyWork:
    @pytest.mark.parametrize("function", [vc.tl.embed, vc.tl.plan, vc.tl.start])
    def test_it_is_asked_whether_all_fits(self, cells, trainings, function):
        cells.obsm["X_pca"] = cells.obsm["X_pca"][:, :3]
        with pytest.raises(InputError, match="dims: 3 features are not a row"):
            function(cells, optimizer="trainer", knn=Never())

    def test_with_all_that_is_known(self, cells, trainings):
        positions = np.full((60, 3), np.nan)
        positions[4] = 1
        mask = np.arange(60) % 2 == 0
        options = {"landmark_positions": positions, "optimizer__validation": mask, "fixed": mask, "n_components": 3}
        plan = vc.tl.plan(cells, optimizer="trainer", **options)
        sizes = plan.stages["optimizer"].backend.sizes
        assert (sizes["n_obs"], sizes["n_components"], sizes["n_features"], sizes["has_fixed"]) == (60, 3, 5, True)
        assert set(sizes["arrays"]) == {"landmark_positions", "validation"}

    def test_of_an_object_too(self, cells):
        trainer = Trainer(TrainerParams(n_epochs=3))
        vc.tl.plan(cells, optimizer=trainer)
        assert trainer.sizes["n_obs"] == 60


class TestNetworks:
    def test_are_built_by_name_and_recorded(self, cells, trainings):
        plan = vc.tl.plan(cells, optimizer="trainer", encoder="wide", encoder_params={"width": 9})
        assert plan.to_dict()["networks"] == {"encoder": {"backend": "wide@plugin", "params": {"width": 9}}}
        assert "encoder" in str(plan) and "wide@plugin" in str(plan) and "width=9" in str(plan)
        used = embed(cells, encoder="wide", encoder_params={"width": 9})["params"]
        assert used["encoder__width"] == 9 and used["encoder"] == "wide"
        (builder,) = trainings[0].request.networks.values()
        assert list(trainings[0].request.networks) == ["encoder"] and builder.params.width == 9

    @pytest.mark.parametrize("function", [vc.tl.embed, vc.tl.plan])
    def test_unknown_ones(self, cells, trainings, function):
        with pytest.raises(InputError, match="network='wid' is unknown; allowed are .*'wide'.*Did you mean 'wide'"):
            function(cells, optimizer="trainer", knn=Never(), encoder="wid")

    def test_unknown_parameters(self, cells, trainings):
        says = "encoder_params holds 'widht'; the network 'wide' takes 'width'. Did you mean 'width'"
        with pytest.raises(InputError, match=says):
            vc.tl.embed(cells, optimizer="trainer", knn=Never(), encoder="wide", encoder_params={"widht": 3})

    def test_a_map_is_a_model_that_maps(self, cells, trainings, tmp_path):
        entry = embed(cells, model=True)
        assert set(entry["model"]) == {"manifest", "arrays"}
        vc.models.save(cells, tmp_path / "model", key="map")
        model = vc.models.load(tmp_path / "model")
        assert model.manifest.kind == "network" and model.manifest.backends["optimizer"] == "trainer@plugin"
        placed = vc.tl.project(cells, model, key_added="placed", copy=True)
        by_handle = vc.tl.project(cells, cells, key="map", key_added="placed", copy=True)
        np.testing.assert_array_equal(placed.obsm["placed"], by_handle.obsm["placed"])
        cells.write_h5ad(tmp_path / "a.h5ad")
        again = vc.tl.project(ad.read_h5ad(tmp_path / "a.h5ad"), model, key_added="placed", copy=True)
        np.testing.assert_array_equal(again.obsm["placed"], placed.obsm["placed"])


class TestTrainingArrays:
    def test_rows_of_cells_come_in_the_order_of_their_names_and_of_others_as_given(self, cells, trainings):
        positions = cells.obsm["X_pca"][:, :2].astype(np.float64)
        cells.obsm["X_goal"] = positions
        validation = np.random.default_rng(1).normal(size=(60, 5)).astype(np.float32)
        embed(cells, landmark_positions="goal", validation=validation)
        request = trainings[0].request
        np.testing.assert_array_equal(request.arrays["landmark_positions"], request.representation[:, :2])
        np.testing.assert_array_equal(request.arrays["validation_rows"], validation)
        embed(cells, validation=cells.obsm["X_pca"][:, 0] > 0)
        request = trainings[1].request
        np.testing.assert_array_equal(request.arrays["validation"], request.representation[:, 0] > 0)


class TestContinueFrom:
    @pytest.mark.parametrize("given", ["path", "text", "model", "adata"])
    @pytest.mark.parametrize("name", ["continue_from", "optimizer__continue_from"])
    def test_a_model_in_any_form(self, cells, trainings, tmp_path: Path, given, name):
        embed(cells, model=True)
        path = tmp_path / "model"
        vc.models.save(cells, path, key="map")
        forms = {"path": path, "text": str(path), "model": vc.models.load(path), "adata": cells.copy()}
        for function in (vc.tl.embed, vc.tl.start):
            function(cells, optimizer="trainer", key_added="next", **{name: forms[given]})
            taken = trainings[-1].params.continue_from
            assert isinstance(taken, vc.models.Model) and taken.fitted is not None

    @pytest.mark.parametrize("function", [vc.tl.embed, vc.tl.plan, vc.tl.start])
    def test_what_is_no_model(self, cells, trainings, tmp_path, function):
        options = {"optimizer": "trainer", "knn": Never()}
        with pytest.raises(ModelError, match="there is no such file"):
            function(cells, continue_from=tmp_path / "gone", **options)
        with pytest.raises(ModelError, match="there is no model in adata.uns"):
            function(cells, continue_from=cells, **options)
        with pytest.raises(InputError, match="model is a int; expected a Model"):
            function(cells, continue_from=3, **options)

    def test_where_no_backend_has_it(self, cells, trainings, tmp_path):
        embed(cells, model=True)
        with pytest.raises(InputError, match="unknown parameter 'continue_from'"):
            vc.tl.embed(cells, continue_from=cells.copy())
