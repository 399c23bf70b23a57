import csv
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import warnings

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pl = pytest.importorskip("lightning.pytorch")

from lightning.pytorch.callbacks import (  # noqa: E402
    EarlyStopping,
    LambdaCallback,
    LearningRateMonitor,
    ModelCheckpoint,
    Timer,
    TQDMProgressBar,
)
from lightning.pytorch.loggers import CSVLogger  # noqa: E402

import vicinal as vc  # noqa: E402
from vicinal.api import StageError  # noqa: E402

KEY = "parametric_umap"
OBSM = f"X_{KEY}"


def is_empty(adata):
    return not (len(adata.obsm) or len(adata.uns) or len(adata.obsp))


class Teller(pl.Callback):
    """Tells which of Lightning's hooks were called."""

    def __init__(self):
        self.hooks, self.metrics, self.epochs, self.val = [], [], [], []

    def on_fit_start(self, trainer, module):
        self.hooks.append("fit_start")

    def on_train_epoch_start(self, trainer, module):
        self.hooks.append("epoch_start")

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        self.hooks.append("batch_end")

    def on_validation_end(self, trainer, module):
        self.val.append({name: float(value) for name, value in trainer.callback_metrics.items()})

    def on_train_epoch_end(self, trainer, module):
        self.hooks.append("epoch_end")
        self.epochs.append(trainer.current_epoch)

    def on_fit_end(self, trainer, module):
        self.hooks.append("fit_end")
        self.metrics.append({name: float(value) for name, value in trainer.callback_metrics.items()})


class TestCallbacks:
    def test_hooks_are_called(self, cells, embed):
        teller = Teller()
        adata = embed(cells(), callbacks=[teller])
        assert teller.hooks[:2] == ["fit_start", "epoch_start"]
        assert teller.hooks[-2:] == ["epoch_end", "fit_end"]
        assert teller.epochs == [0, 1, 2, 3]
        assert teller.hooks.count("batch_end") >= 4
        (metrics,) = teller.metrics
        assert metrics["loss"] == pytest.approx(adata.uns[KEY]["loss"][-1], rel=1e-5)
        for name, history in adata.uns[KEY]["loss_parts"].items():
            assert metrics[name] == pytest.approx(history[-1], rel=1e-5)

    def test_one_alone_and_beside_functions(self, cells, embed):
        teller, seen = Teller(), []
        embed(cells(), callbacks=teller)
        assert len(teller.epochs) == 4
        adata = embed(cells(), callbacks=[Teller(), lambda epoch, layout, loss: seen.append((epoch, layout, loss))])
        assert [epoch for epoch, _, _ in seen] == [0, 1, 2, 3, 4]
        np.testing.assert_array_equal([loss for _, _, loss in seen], adata.uns[KEY]["loss"])
        np.testing.assert_array_equal(seen[-1][1], adata.obsm[OBSM])
        assert not np.array_equal(seen[1][1], seen[2][1])

    def test_change_nothing(self, cells, embed):
        plain = embed(cells())
        told = embed(cells(), callbacks=[Teller(), lambda *a: None], validation=cells(n=20, seed=3).X)
        np.testing.assert_array_equal(plain.obsm[OBSM], told.obsm[OBSM])

    def test_know_losses_of_validation(self, cells, embed):
        teller = Teller()
        adata = embed(cells(), callbacks=[teller], validation=0.25, reconstruction=True)
        parts = adata.uns[KEY]["loss_parts"]
        for name, ours in (
            ("val_loss", "validation"),
            ("val_attraction", "validation_attraction"),
            ("val_reconstruction", "validation_reconstruction"),
        ):
            np.testing.assert_allclose([seen[name] for seen in teller.val], parts[ours][1:], rtol=1e-5)

    def test_early_stopping(self, cells, embed):
        stop = EarlyStopping(monitor="val_loss", patience=1, min_delta=1e9)
        adata = embed(cells(), callbacks=[stop], validation=0.25, n_training_epochs=10)
        params = adata.uns[KEY]["params"]
        assert params["stopped_by"] == "EarlyStopping"
        assert (params["n_epochs"], params["n_epochs_planned"]) == (2, 20)
        np.testing.assert_array_equal(adata.uns[KEY]["loss_epoch"], [0, 1, 2])

    def test_early_stopping_that_has_no_reason(self, cells, embed):
        stop = EarlyStopping(monitor="loss", patience=1000)
        params = embed(cells(), callbacks=[stop]).uns[KEY]["params"]
        assert "stopped_by" not in params
        assert params["n_epochs"] == 4

    def test_early_stopping_after_the_first_epoch(self, cells, embed):
        stop = EarlyStopping(monitor="loss", stopping_threshold=1e9)
        params = embed(cells(), callbacks=[stop]).uns[KEY]["params"]
        assert params["stopped_by"] == "EarlyStopping"
        assert params["n_epochs"] == 1

    def test_one_that_asks_the_trainer_to_stop(self, cells, embed):
        class Enough(pl.Callback):
            def on_train_epoch_end(self, trainer, module):
                trainer.should_stop = trainer.current_epoch == 1

        params = embed(cells(), callbacks=[Enough()]).uns[KEY]["params"]
        assert (params["stopped_by"], params["n_epochs"]) == ("Enough", 2)

    def test_a_function_that_stops(self, cells, embed):
        def enough(epoch, layout, loss):
            return epoch == 3

        params = embed(cells(), callbacks=[Teller(), enough]).uns[KEY]["params"]
        assert (params["stopped_by"], params["n_epochs"]) == ("enough", 3)

    def test_a_run_that_was_stopped_can_be_finished(self, cells, start):
        adata = cells()
        run = start(adata, callbacks=[EarlyStopping(monitor="loss", patience=1, min_delta=1e9)])
        run.step(4)
        assert run.epoch == 2
        run.finish(remaining=False)
        assert adata.uns[KEY]["params"]["stopped_by"] == "EarlyStopping"

    def test_learning_rates_are_monitored(self, cells, embed, tmp_path):
        logger = CSVLogger(tmp_path)
        embed(
            cells(),
            callbacks=[LearningRateMonitor(logging_interval="epoch")],
            logger=logger,
            learning_rate_schedule="constant",
            learning_rate=0.02,
        )
        rates = [float(v) for row in rows_of(logger) for name, v in row.items() if name.startswith("lr-Muon") and v]
        assert rates == pytest.approx([0.02] * 4 * 2), "of the hidden layers and of the rest"

    def test_timer_checkpoint_and_lambda(self, cells, embed, tmp_path):
        seen = []
        keep = ModelCheckpoint(dirpath=tmp_path, monitor="loss", save_top_k=1)
        adata = embed(
            cells(),
            callbacks=[
                Timer("00:01:00:00"),
                keep,
                LambdaCallback(on_train_epoch_end=lambda trainer, module: seen.append(trainer.current_epoch)),
            ],
        )
        assert seen == [0, 1, 2, 3]
        assert float(keep.best_model_score) == pytest.approx(adata.uns[KEY]["loss"][1:].min(), rel=1e-5)
        state = torch.load(keep.best_model_path, weights_only=False)["state_dict"]
        assert all(name.startswith("networks.encoder") for name in state)

    def test_a_progress_bar(self, cells, embed, capfd):
        embed(cells(), callbacks=[TQDMProgressBar(refresh_rate=1)])
        written = "".join(capfd.readouterr())
        assert "Epoch 3" in written

    def test_one_that_fails(self, cells, embed):
        class Failing(pl.Callback):
            def on_train_epoch_end(self, trainer, module):
                raise ZeroDivisionError("on purpose")

        adata, handler = cells(), signal.getsignal(signal.SIGINT)
        with pytest.raises(StageError, match="ZeroDivisionError: on purpose"):
            embed(adata, callbacks=[Failing()])
        assert is_empty(adata)
        assert signal.getsignal(signal.SIGINT) is handler

    def test_what_is_no_callback(self, cells, refused):
        assert refused(cells(), callbacks=[3]).startswith("callbacks holds 3")
        assert refused(cells(), callbacks=3).startswith("callbacks holds 3")

    def test_one_of_the_other_distribution(self, cells, refused):
        other = pytest.importorskip("pytorch_lightning.callbacks")
        text = refused(cells(), callbacks=[other.EarlyStopping(monitor="val_loss")])
        assert text.startswith("callbacks holds a EarlyStopping of pytorch_lightning; take it from lightning.pytorch")


def rows_of(logger):
    with open(os.path.join(logger.log_dir, "metrics.csv"), newline="") as file:
        return list(csv.DictReader(file))


class TestLoggers:
    def test_a_table(self, cells, embed, tmp_path):
        logger = CSVLogger(tmp_path)
        adata = embed(cells(), logger=logger, validation=0.25, extra_losses=[lambda b: b.places.square().mean()])
        rows = rows_of(logger)
        parts = adata.uns[KEY]["loss_parts"]
        for name in ("attraction", "repulsion", "extra"):
            np.testing.assert_allclose([float(r[name]) for r in rows if r.get(name)], parts[name][1:], rtol=1e-4)
        found = [float(row["val_loss"]) for row in rows if row.get("val_loss")]
        np.testing.assert_allclose(found, parts["validation"][1:], rtol=1e-4)
        np.testing.assert_allclose(
            [float(r["loss"]) for r in rows if r.get("loss")], adata.uns[KEY]["loss"][1:], rtol=1e-4
        )

    def test_several(self, cells, embed, tmp_path):
        loggers = [CSVLogger(tmp_path, name=name) for name in "ab"]
        embed(cells(), logger=loggers)
        assert rows_of(loggers[0]) == rows_of(loggers[1])

    def test_lightnings_own(self, cells, embed, tmp_path):
        embed(cells(), logger=True, trainer_params={"default_root_dir": str(tmp_path)})
        assert list(tmp_path.rglob("*")), "it writes where it is told to"

    def test_nothing_is_written_unasked(self, cells, embed, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        embed(cells(), validation=0.25, callbacks=[Teller()])
        assert not list(tmp_path.iterdir())


class TestSurroundings:
    def states(self):
        return (
            torch.get_rng_state().numpy().tobytes(),
            np.random.get_state()[1].tobytes(),
            np.random.get_state()[2],
            random.getstate(),
            torch.get_num_threads(),
            torch.get_default_dtype(),
            torch.is_grad_enabled(),
            torch.is_inference_mode_enabled(),
            [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
            [logging.getLogger(name).level for name in ("lightning.pytorch", "lightning.fabric", "vicinal", None)],
            warnings.filters[:],
            dict(os.environ),
        )

    @pytest.mark.parametrize("parametric", [True, False])
    def test_are_as_before(self, cells, embed, parametric):
        params = {} if parametric else {"warm_start_steps": None}
        embed(cells(), parametric=parametric, **params)  # what is imported stays so
        module = torch.nn.Sequential(torch.nn.Linear(8, 9), torch.nn.Dropout(0.5), torch.nn.Linear(9, 2))
        if parametric:
            params |= {"encoder": module, "validation": 0.2, "callbacks": [Teller()]}
        torch.manual_seed(3)
        np.random.seed(3)
        random.seed(3)
        torch.set_num_threads(2)
        try:
            before = self.states()
            adata = embed(cells(), parametric=parametric, **params)
            assert before == self.states()
            if parametric:
                vc.tl.project(cells(n=5, seed=2), adata, encoder=module, n_jobs=1)
            assert before == self.states()
        finally:
            torch.set_num_threads(1)

    def test_are_as_before_where_it_fails(self, cells, embed):
        def fail(batch):
            if batch.places.requires_grad:
                raise ZeroDivisionError("on purpose")
            return batch.places.mean()

        before = self.states()
        with pytest.raises(StageError, match="on purpose"):
            embed(cells(), extra_losses=[fail])
        assert before == self.states()

    def test_nothing_on_stdout_and_no_warnings(self, cells, embed, capfd):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            embed(cells(), validation=0.2, reconstruction=True)
            embed(cells(), parametric=False, warm_start_steps=None)
        assert capfd.readouterr().out == ""

    @pytest.mark.slow
    def test_nothing_on_stdout_nor_stderr_of_a_process(self):
        """Where nothing was imported before, with warnings and loggers as they are by default."""
        code = (
            "import numpy as np, anndata as ad, vicinal as vc\n"
            "adata = ad.AnnData(np.random.default_rng(0).normal(size=(60, 5)).astype('f4'))\n"
            "vc.tl.embed(adata, method='parametric_umap', n_jobs=1, n_training_epochs=1, warm_start_steps=3)\n"
            "assert np.isfinite(adata.obsm['X_parametric_umap']).all()\n"
        )
        for _ in range(2):  # the first process may have kernels to compile, and says so
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")

    def test_whatever_the_caller_has_chosen(self, cells, embed):
        plain = embed(cells())
        module = torch.nn.Linear(8, 2)
        of_module = embed(cells(), encoder=module)
        with torch.no_grad():
            np.testing.assert_array_equal(embed(cells()).obsm[OBSM], plain.obsm[OBSM])
            assert not torch.is_grad_enabled()
        with torch.inference_mode():
            np.testing.assert_array_equal(embed(cells()).obsm[OBSM], plain.obsm[OBSM])
            np.testing.assert_array_equal(embed(cells(), encoder=module).obsm[OBSM], of_module.obsm[OBSM])
        torch.set_default_dtype(torch.float64)
        try:
            np.testing.assert_array_equal(embed(cells()).obsm[OBSM], plain.obsm[OBSM])
        finally:
            torch.set_default_dtype(torch.float32)

    def test_in_a_thread(self, cells, embed):
        plain, found = embed(cells()), []
        thread = threading.Thread(target=lambda: found.append(embed(cells())))
        thread.start()
        thread.join()
        np.testing.assert_array_equal(found[0].obsm[OBSM], plain.obsm[OBSM])


class Interrupting(pl.Callback):
    """Interrupts like a user's Ctrl-C, in the middle of an epoch."""

    def __init__(self, epoch, how="raise"):
        self.epoch, self.how = epoch, how

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if module.epoch == self.epoch:
            if self.how == "signal":
                signal.raise_signal(signal.SIGINT)
            raise KeyboardInterrupt


class TestInterrupt:
    @pytest.mark.parametrize("how", ["raise", "signal"])
    def test_is_one(self, cells, embed, how):
        adata, handler = cells(), signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt, match="interrupted at epoch 2 of 4; nothing was kept"):
            embed(adata, callbacks=[Interrupting(2, how)])
        assert is_empty(adata)
        assert signal.getsignal(signal.SIGINT) is handler

    def test_in_a_function(self, cells, embed):
        def interrupt(epoch, layout, loss):
            if epoch == 1:
                raise KeyboardInterrupt

        adata = cells()
        with pytest.raises(KeyboardInterrupt, match="interrupted at epoch 1 of 4"):
            embed(adata, callbacks=interrupt)
        assert is_empty(adata)

    def test_while_it_learns_the_first_layout(self, cells, embed):
        class Interrupted(torch.nn.Linear):
            def forward(self, rows):
                if self.training:
                    raise KeyboardInterrupt
                return super().forward(rows)

        adata, handler = cells(), signal.getsignal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt, match="interrupted before the optimisation"):
            embed(adata, encoder=Interrupted(8, 2))
        assert is_empty(adata)
        assert signal.getsignal(signal.SIGINT) is handler

    @pytest.mark.parametrize("params", [{}, {"parametric": False, "warm_start_steps": None}])
    def test_keeps_the_run(self, cells, embed, tmp_path, params):
        path, adata = tmp_path / "kept", cells()
        with pytest.raises(KeyboardInterrupt, match="to go on from there"):
            embed(adata, callbacks=[Interrupting(2)], checkpoint=path, **params)
        assert path.exists()
        embed(adata, checkpoint=path, **params)
        assert not path.exists()
        whole = embed(cells(), **params)
        np.testing.assert_array_equal(adata.obsm[OBSM], whole.obsm[OBSM])
        np.testing.assert_array_equal(adata.uns[KEY]["loss"], whole.uns[KEY]["loss"])

    def test_by_hand(self, cells, start):
        interrupting = Interrupting(2)
        run, whole = start(cells(), callbacks=[interrupting]), start(cells())
        with pytest.raises(KeyboardInterrupt, match="interrupted at epoch 2 of 4; the run can go on from there"):
            run.step(4)
        whole.step(2)
        assert run.epoch == 2
        np.testing.assert_array_equal(run.layout, whole.layout)
        interrupting.epoch = None
        run.step(2)
        whole.step(2)
        np.testing.assert_array_equal(run.layout, whole.layout)

    def test_exit_is_no_interrupt(self, cells, embed):
        class Leaving(pl.Callback):
            def on_train_epoch_end(self, trainer, module):
                raise SystemExit(3)

        with pytest.raises(StageError, match="SystemExit"):
            embed(cells(), callbacks=[Leaving()])
