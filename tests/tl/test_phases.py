"""Parts of an optimisation with parameters of their own: given, an optimizer's own, or taken by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pytest
import trainer_for_tests

import vicinal as vc
from vicinal.api import InputError, ModelError, StageError
from vicinal.backends.optimizer.numba_sgd import NumbaSgd, NumbaSgdParams

STRONG = {"repulsion_strength": 2.0}
PHASES = [{"n": 20, **STRONG}, {"n": 10, **STRONG, "learning_rate": 0.5}, {"n": 15}]
DONE = [[0, 20, STRONG], [20, 30, {"learning_rate": 0.5, **STRONG}]]


@pytest.fixture
def cells() -> ad.AnnData:
    """Return cells whose order of names is not the order they are stored in."""
    rng = np.random.default_rng(0)
    made = ad.AnnData(np.zeros((120, 1), dtype=np.float32))
    made.obs_names = [f"cell{n}" for n in rng.permutation(120)]
    made.obsm["X_pca"] = rng.normal(size=(120, 5)).astype(np.float32)
    vc.pp.neighbors(made, n_neighbors=8)
    return made


def embed(cells: ad.AnnData, **options: Any) -> np.ndarray:
    vc.tl.embed(cells, **{"key_added": "map", **options})
    return cells.obsm["map"]


def done(cells: ad.AnnData, key: str = "map") -> list[Any]:
    return json.loads(cells.uns[key]["params"]["phases"])


def by_hand(cells: ad.AnnData, **options: Any) -> np.ndarray:
    run = vc.tl.start(cells, **(options or {"n_epochs": 45}))
    run.step(20, **STRONG).step(10, learning_rate=0.5, **STRONG).step(15)
    return run.layout


class Phased(NumbaSgd):
    """An optimizer with phases of its own."""

    def schedule(self, n_obs: int) -> list[dict[str, Any]]:
        return [{"n": n_obs // 4, **STRONG}, {"n": self.params.n_epochs - n_obs // 4}]


def sgd() -> NumbaSgd:
    return NumbaSgd(NumbaSgdParams(n_epochs=45))


def phased(n_epochs: int = 45) -> Phased:
    return Phased(NumbaSgdParams(n_epochs=n_epochs))


class TestGiven:
    def test_as_if_stepped_by_hand(self, cells: ad.AnnData) -> None:
        np.testing.assert_array_equal(embed(cells, phases=PHASES), by_hand(cells))
        params = cells.uns["map"]["params"]
        assert done(cells) == DONE and params["n_epochs"] == 45
        assert {20, 30, 45} <= set(cells.uns["map"]["loss_epoch"])

    def test_they_differ_from_none(self, cells: ad.AnnData) -> None:
        assert not np.array_equal(embed(cells, phases=PHASES), embed(cells, n_epochs=45))

    def test_without_overrides_they_change_nothing(self, cells: ad.AnnData) -> None:
        plain = embed(cells, n_epochs=45)
        np.testing.assert_array_equal(embed(cells, phases=[{"n": 40}, {"n": 5, "learning_rate": 1.0}]), plain)
        embed(cells, phases=[{"n": 40}, {"n": 5}])
        assert "phases" not in cells.uns["map"]["params"]

    def test_numbers_of_numpy_and_tuples(self, cells: ad.AnnData) -> None:
        phases = ({"n": np.int64(20), "repulsion_strength": np.float32(2)}, {"n": 25})
        embed(cells, phases=phases)
        assert done(cells) == [[0, 20, STRONG]]
        assert json.loads(cells.uns["map"]["arguments"])["kept"]["phases"] == [{"n": 20, **STRONG}, {"n": 25}]

    def test_neighbours_that_are_equal_are_one(self, cells: ad.AnnData) -> None:
        embed(cells, phases=[{"n": 20, **STRONG}, {"n": 5, **STRONG}, {"n": 5}, {"n": 5, **STRONG}])
        assert done(cells) == [[0, 25, STRONG], [30, 35, STRONG]]

    @pytest.mark.parametrize("n_epochs", [45, [0, 20, 33], np.array([20, 45])])
    def test_with_snapshots_in_any_of_them(self, cells: ad.AnnData, n_epochs: Any) -> None:
        layout = embed(cells, phases=PHASES, n_epochs=n_epochs)
        np.testing.assert_array_equal(layout, by_hand(cells))
        if not isinstance(n_epochs, int):
            run = vc.tl.start(cells, phases=PHASES)
            for epoch, snapshot in zip(n_epochs, cells.uns["map"]["snapshots"], strict=True):
                run.step(int(epoch) - run.epoch)
                np.testing.assert_array_equal(snapshot, run.layout)

    def test_the_plan_shows_them(self, cells: ad.AnnData) -> None:
        plan = vc.tl.plan(cells, phases=PHASES)
        first, second = (
            "20 epochs with repulsion_strength=2.0",
            "10 epochs with learning_rate=0.5, repulsion_strength=2.0",
        )
        assert f"phases    {first}, then {second}, then 15 epochs  (given)" in str(plan)
        assert plan.to_dict()["phases"] == PHASES
        assert "phases" not in str(vc.tl.plan(cells)) and "phases" not in vc.tl.plan(cells).to_dict()

    def test_of_a_map_on_the_way(self, cells: ad.AnnData) -> None:
        first = embed(cells, phases=PHASES).copy()
        layout = embed(cells, init="map", map_params={"phases": PHASES}, n_epochs=0)
        np.testing.assert_array_equal(layout, first)
        assert json.loads(cells.uns["map"]["params"]["sub_plans"])[0]["phases"] == PHASES


class TestOfItsOwn:
    def test_where_none_are_given(self, cells: ad.AnnData) -> None:
        layout = embed(cells, optimizer=phased())
        vc.tl.embed(cells, optimizer=sgd(), phases=[{"n": 30, **STRONG}, {"n": 15}], key_added="given")
        np.testing.assert_array_equal(layout, cells.obsm["given"])
        assert done(cells) == [[0, 30, STRONG]]
        assert "30 epochs with repulsion_strength=2.0, then 15 epochs  (Phased)" in str(
            vc.tl.plan(cells, optimizer=phased())
        )

    def test_given_ones_come_first(self, cells: ad.AnnData) -> None:
        layout = embed(cells, optimizer=phased(), phases=PHASES)
        np.testing.assert_array_equal(layout, by_hand(cells, optimizer=sgd()))
        assert done(cells) == DONE

    def test_of_as_many_epochs_as_it_takes(self, cells: ad.AnnData) -> None:
        class Short(Phased):
            def schedule(self, n_obs: int) -> list[dict[str, Any]]:
                return [{"n": 10}]

        with pytest.raises(StageError, match="takes 45 epochs, but its phases have 10 in all"):
            embed(cells, optimizer=Short(NumbaSgdParams(n_epochs=45)))
        assert "map" not in cells.obsm


class TestByHand:
    def test_steps_follow_the_phases(self, cells: ad.AnnData) -> None:
        run = vc.tl.start(cells, phases=PHASES)
        for n in (3, 20, 0, 22):
            run.step(n)
        np.testing.assert_array_equal(run.layout, by_hand(cells))

    def test_what_is_given_by_hand_wins(self, cells: ad.AnnData) -> None:
        run = vc.tl.start(cells, phases=PHASES, key_added="map")
        run.step(25, repulsion_strength=0.5)
        run.finish()
        weak = {"repulsion_strength": 0.5}
        assert done(cells) == [[0, 20, weak], [20, 25, {"learning_rate": 0.5, **weak}], [25, 30, DONE[1][2]]]
        other = vc.tl.start(cells, n_epochs=45)
        other.step(20, **weak).step(5, learning_rate=0.5, **weak).step(5, **DONE[1][2]).step(15)
        np.testing.assert_array_equal(cells.obsm["map"], other.layout)

    def test_an_optimizer_that_owns_its_loop_is_led_too(self, cells: ad.AnnData, monkeypatch: Any) -> None:
        monkeypatch.setattr(trainer_for_tests.Trainer, "overrides", ("learning_rate",), raising=False)
        rates = [{"learning_rate": 0.1}, {}, {"learning_rate": 0.2}]
        with trainer_for_tests.installed() as (started):
            embed(cells, optimizer="trainer", phases=[{"n": 4, **rates[0]}, {"n": 3}, {"n": 5, **rates[2]}])
        assert started[0].overrides == rates and started[0].epoch == 12
        assert done(cells) == [[0, 4, rates[0]], [7, 12, rates[2]]]


@pytest.mark.parametrize("at", [7, 20, 26, 40])
class TestInterrupted:
    def test_a_resumed_run_is_the_whole(self, cells: ad.AnnData, tmp_path: Path, at: int) -> None:
        whole = embed(cells, phases=PHASES, n_epochs=[10, 25]).copy()
        entry = cells.uns["map"]

        def interrupt(epoch: int, layout: np.ndarray, loss: float) -> None:
            if epoch >= at:
                raise KeyboardInterrupt

        options = {"phases": PHASES, "n_epochs": [10, 25], "checkpoint": tmp_path / "run.ckpt"}
        with pytest.raises(KeyboardInterrupt, match=f"epoch {at}|epoch {at + 1}"):
            embed(cells, callbacks=interrupt, **options)
        np.testing.assert_array_equal(embed(cells, **options), whole)
        assert done(cells) == DONE
        for name in ("snapshots", "loss", "loss_epoch"):
            np.testing.assert_array_equal(cells.uns["map"][name], entry[name])

    def test_a_file_written_within_a_step_knows_the_phase(self, cells: ad.AnnData, tmp_path: Path, at: int) -> None:
        path = tmp_path / "run.ckpt"
        vc.tl.start(cells, n_epochs=45, checkpoint=path, checkpoint_every=at).step(at + 2, **STRONG)
        run = vc.tl.start(cells, n_epochs=45, key_added="map").resume(path)
        run.finish()
        assert done(cells) == [[0, at, STRONG]]


def test_a_checkpoint_of_other_phases_is_refused(cells: ad.AnnData, tmp_path: Path) -> None:
    vc.tl.start(cells, phases=PHASES).step(5).save(tmp_path / "run.ckpt")
    for others in (None, [{"n": 45}], [{"n": 20, "repulsion_strength": 2.5}, *PHASES[1:]]):
        with pytest.raises(ModelError, match="other data or arguments"):
            vc.tl.start(cells, phases=others, n_epochs=45).resume(tmp_path / "run.ckpt")
    assert vc.tl.start(cells, phases=PHASES).resume(tmp_path / "run.ckpt").epoch == 5


def test_a_callback_ends_it_within_a_phase(cells: ad.AnnData) -> None:
    vc.tl.embed(cells, phases=PHASES, callbacks=lambda epoch, *_: epoch >= 22, key_added="map")
    (first, second), params = done(cells), cells.uns["map"]["params"]
    assert first == DONE[0] and second == [20, params["n_epochs"], DONE[1][2]]
    assert 22 <= params["n_epochs"] < 30 and params["n_epochs_planned"] == 45


class TestMadeAgain:
    def rerun(self, cells: ad.AnnData, **again: Any) -> ad.AnnData:
        vc.tl.rerun(cells, "map", **again)
        assert cells.uns["map_rerun"]["rerun_of"]["equal"]
        np.testing.assert_array_equal(cells.obsm["map_rerun"], cells.obsm["map"])
        assert done(cells, "map_rerun") == done(cells)
        return cells

    @pytest.mark.parametrize("suffix", ["h5ad", "zarr"])
    def test_from_a_file(self, cells: ad.AnnData, tmp_path: Path, suffix: str) -> None:
        embed(cells, phases=PHASES)
        path = tmp_path / f"map.{suffix}"
        getattr(cells, f"write_{suffix}")(path)
        read = getattr(ad, f"read_{suffix}")(path)
        again = self.rerun(read)
        assert json.loads(again.uns["map_rerun"]["arguments"])["kept"]["phases"] == PHASES

    def test_with_steps_by_hand(self, cells: ad.AnnData) -> None:
        run = vc.tl.start(cells, phases=PHASES, key_added="map")
        run.step(7).step(8, repulsion_strength=0.1).step(12, learning_rate=0.2)
        run.finish()
        assert len(done(cells)) == 4
        self.rerun(cells)

    def test_as_its_own_phases_were_then(self, cells: ad.AnnData, monkeypatch: Any) -> None:
        embed(cells, optimizer=phased())
        monkeypatch.setattr(Phased, "schedule", lambda self, n_obs: [{"n": 45, "learning_rate": 0.1}])
        self.rerun(cells, optimizer=phased())


class TestNotAllowed:
    @pytest.mark.parametrize(
        ("phases", "said"),
        [
            (5, "phases: a int is not allowed; give a list of dicts such as"),
            ("20", "phases='20' is not allowed"),
            ({"n": 5}, "phases: a dict is not allowed"),
            ([], r"phases=\[\] is not allowed"),
            ([{"n": 5}, 20], r"phases\[1\]=20 is not allowed; give a list of dicts"),
            ([{1: 5}], r"phases\[0\]={1: 5} is not allowed"),
            ([{"learning_rate": 1}], r"phases\[0\]=.* has no 'n', the number of its epochs"),
            *[
                ([{"n": n}], r"phases\[0\] has n=.*, which is not allowed; give a .* 1 or more")
                for n in (0, -1, 2.0, True)
            ],
            ([{"n": 5}, {"n": 5, "lerning_rate": 1}], r"phases\[1\] holds 'lerning_rate'; .* 'learning_rate', 'neg"),
            ([{"n": 5, "lerning_rate": 1}], "Did you mean 'learning_rate'"),
            ([{"n": 5, "learning_rate": -1}], r"phases\[0\]: learning_rate=-1 is not allowed"),
        ],
    )
    def test_said_before_any_work(self, cells: ad.AnnData, phases: Any, said: str, monkeypatch: Any) -> None:
        monkeypatch.setattr(sys.modules["vicinal.tl.embed"], "Keeper", None)
        with pytest.raises(InputError, match=said):
            embed(cells, phases=phases)

    @pytest.mark.parametrize("n_epochs", [44, 46, [0, 46], [60]])
    def test_another_number_of_epochs(self, cells: ad.AnnData, n_epochs: Any) -> None:
        with pytest.raises(InputError, match="n_epochs=.* is not allowed: the phases have 45 epochs in all; leave"):
            embed(cells, phases=PHASES, n_epochs=n_epochs)
        with pytest.raises(InputError, match="45 epochs in all, but the optimizer 'Phased' is to take n_epochs=30"):
            embed(cells, phases=PHASES, optimizer=phased(30))

    def test_what_the_form_of_the_objective_lacks(self, cells: ad.AnnData) -> None:
        with pytest.raises(
            InputError, match=r"holds 'repulsion_strength'; .* takes 'learning_rate', 'negative_[a-z_]*' on"
        ):
            embed(cells, phases=PHASES, output_metric="haversine")

    def test_an_optimizer_that_cannot_be_led(self, cells: ad.AnnData) -> None:
        with trainer_for_tests.installed(), pytest.raises(InputError, match="not allowed with optimizer='trainer'"):
            embed(cells, phases=[{"n": 12}], optimizer="trainer")


class TestLossPoints:
    def test_its_own_are_taken_at_as_many_epochs_as_it_says(self, cells: ad.AnnData, monkeypatch: Any) -> None:
        monkeypatch.setattr(trainer_for_tests.Training, "loss_points", 4, raising=False)
        with trainer_for_tests.installed():
            embed(cells, optimizer="trainer", n_epochs=100)
        assert cells.uns["map"]["loss_epoch"].tolist() == [0, 25, 50, 75, 100]
        np.testing.assert_array_equal(cells.uns["map"]["loss"], [100, 75, 50, 25, 0])


def test_of_an_update(cells: ad.AnnData) -> None:
    old = cells[np.arange(120) % 10 > 0].copy()
    vc.tl.embed(old, n_epochs=30, use_rep="X_pca")
    vc.tl.update(cells, old, phases=[{"n": 6, "learning_rate": 0.1}, {"n": 4}])
    assert done(cells, "umap") == [[0, 6, {"learning_rate": 0.1}]] and cells.uns["umap"]["params"]["n_epochs"] == 10
