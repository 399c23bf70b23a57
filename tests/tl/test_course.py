"""What goes on along an optimisation: callbacks, snapshots, cells that stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anndata as ad
import numpy as np
import pandas as pd
import pytest

import vicinal as vc
from vicinal.api import InputError, StageError


@pytest.fixture
def cells() -> ad.AnnData:
    """Return cells whose order of names is not the order they are stored in."""
    rng = np.random.default_rng(0)
    made = ad.AnnData(np.zeros((120, 1), dtype=np.float32))
    made.obs_names = [f"cell{n}" for n in rng.permutation(120)]
    made.obsm["X_pca"] = rng.normal(size=(120, 5)).astype(np.float32)
    made.obsm["X_first"] = rng.normal(scale=5, size=(120, 2)).astype(np.float32)
    made.obs["pinned"] = rng.random(120) < 0.3
    vc.pp.neighbors(made, n_neighbors=8)
    return made


class TestCallbacks:
    def test_called_with_what_is_recorded(self, cells: ad.AnnData) -> None:
        heard: list[tuple[int, np.ndarray, float]] = []
        vc.tl.embed(cells, n_epochs=60, callbacks=lambda *given: heard.append(given))
        epochs, layouts, losses = zip(*heard, strict=True)
        assert list(epochs) == cells.uns["umap"]["loss_epoch"].tolist() and epochs[0] == 0 and len(epochs) == 21
        assert all(type(loss) is float for loss in losses)
        np.testing.assert_array_equal(losses, cells.uns["umap"]["loss"])
        np.testing.assert_array_equal(layouts[-1], cells.obsm["X_umap"])
        assert layouts[0].dtype == np.float32 and not np.array_equal(layouts[0], layouts[1])

    def test_the_layout_is_theirs_to_change(self, cells: ad.AnnData) -> None:
        def spoil(epoch: int, layout: np.ndarray, loss: float) -> None:
            layout[:] = np.nan

        vc.tl.embed(cells, n_epochs=30, callbacks=[spoil, spoil], key_added="heard")
        vc.tl.embed(cells, n_epochs=30, key_added="unheard")
        np.testing.assert_array_equal(cells.obsm["heard"], cells.obsm["unheard"])

    def test_true_ends_it_and_the_map_is_written_as_it_is(self, cells: ad.AnnData) -> None:
        layouts: dict[int, np.ndarray] = {}

        def early_stop(epoch: int, layout: np.ndarray, loss: float) -> Any:
            layouts[epoch] = layout
            return np.bool_(epoch >= 30)

        vc.tl.embed(cells, n_epochs=60, callbacks=(early_stop, lambda *_: None))
        entry = cells.uns["umap"]
        assert max(layouts) == 30 == entry["params"]["n_epochs"] == entry["loss_epoch"][-1]
        assert (entry["params"]["stopped_by"], entry["params"]["n_epochs_planned"]) == ("early_stop", 60)
        assert "knn_recall_15" in entry["score"]
        np.testing.assert_array_equal(cells.obsm["X_umap"], layouts[30])
        run = vc.tl.start(cells, n_epochs=60).step(30)
        np.testing.assert_array_equal(run.layout, layouts[30])

    def test_it_can_end_before_it_begins(self, cells: ad.AnnData) -> None:
        vc.tl.embed(cells, n_epochs=60, init="X_first", callbacks=lambda *_: True)
        np.testing.assert_array_equal(cells.obsm["X_umap"], cells.obsm["X_first"])
        assert cells.uns["umap"]["params"]["n_epochs"] == 0

    @pytest.mark.parametrize("answer", [None, False, np.False_, "done", 1, np.ones(3)])
    def test_anything_else_does_not_end_it(self, cells: ad.AnnData, answer: Any) -> None:
        vc.tl.embed(cells, n_epochs=20, callbacks=lambda *_: answer)
        assert cells.uns["umap"]["params"]["n_epochs"] == 20
        assert not {"stopped_by", "n_epochs_planned"} & set(cells.uns["umap"]["params"])

    def test_an_exception_is_passed_on_and_nothing_is_written(self, cells: ad.AnnData) -> None:
        def fail(epoch: int, layout: np.ndarray, loss: float) -> None:
            if epoch > 5:
                raise ZeroDivisionError("of the user's own")

        with pytest.raises(ZeroDivisionError, match="of the user's own"):
            vc.tl.embed(cells, n_epochs=20, callbacks=fail)
        assert "X_umap" not in cells.obsm and "umap" not in cells.uns

    def test_a_stop_outlives_an_interrupt(self, cells: ad.AnnData, tmp_path: Path) -> None:
        run = vc.tl.start(cells, n_epochs=60, callbacks=lambda epoch, *_: epoch == 30, checkpoint=tmp_path / "run")
        run.step(60).save(tmp_path / "run")
        vc.tl.embed(cells, n_epochs=60, checkpoint=tmp_path / "run")
        assert cells.uns["umap"]["params"]["n_epochs"] == 30
        np.testing.assert_array_equal(cells.obsm["X_umap"], run.layout)

    def test_a_run_by_hand_ends_too_and_may_go_on(self, cells: ad.AnnData) -> None:
        run = vc.tl.start(cells, n_epochs=60, callbacks=lambda epoch, *_: epoch in (0, 30))
        assert run.step(60).epoch == 0
        assert run.step(60).epoch == 30
        run.finish()
        assert run.epoch == 30 and cells.uns["umap"]["params"]["n_epochs"] == 30
        assert run.step(30).epoch == 60

    @pytest.mark.parametrize("callbacks", ["print", [print, "print"], 3, {"a": print}])
    @pytest.mark.parametrize("function", [vc.tl.embed, vc.tl.plan])
    def test_what_cannot_be_called(self, cells: ad.AnnData, function: Any, callbacks: Any) -> None:
        with pytest.raises(InputError, match=r"callbacks holds .*\(epoch, layout, loss\)"):
            function(cells, callbacks=callbacks)


class TestSnapshots:
    @pytest.mark.parametrize("as_list", [list, tuple, np.array])
    def test_kept_at_each_epoch(self, cells: ad.AnnData, as_list: Any) -> None:
        vc.tl.embed(cells, n_epochs=as_list([0, 7, 50]), init="X_first")
        entry = cells.uns["umap"]
        assert entry["snapshots"].shape == (3, 120, 2) and entry["snapshots"].dtype == np.float32
        assert entry["snapshot_epochs"].tolist() == [0, 7, 50] and entry["params"]["n_epochs"] == 50
        np.testing.assert_array_equal(entry["snapshots"][0], cells.obsm["X_first"])
        np.testing.assert_array_equal(entry["snapshots"][2], cells.obsm["X_umap"])
        run = vc.tl.start(cells, n_epochs=50, init="X_first").step(7)
        np.testing.assert_array_equal(entry["snapshots"][1], run.layout)

    def test_the_map_does_not_depend_on_them(self, cells: ad.AnnData) -> None:
        vc.tl.embed(cells, n_epochs=[3, 11, 50], key_added="with")
        vc.tl.embed(cells, n_epochs=50, key_added="without")
        np.testing.assert_array_equal(cells.obsm["with"], cells.obsm["without"])
        np.testing.assert_array_equal(cells.uns["with"]["loss"], cells.uns["without"]["loss"])
        assert "snapshots" not in cells.uns["without"]

    @pytest.mark.parametrize("kind", ["h5ad", "zarr"])
    @pytest.mark.parametrize("reached", [True, False])
    def test_files_give_them_back(self, cells: ad.AnnData, tmp_path: Path, kind: str, reached: bool) -> None:
        stop = [] if reached else [lambda epoch, *_: epoch == 10]
        vc.tl.embed(cells, n_epochs=[25, 40], callbacks=stop)
        entry = cells.uns["umap"]
        assert entry["snapshots"].shape == (2 * reached, 120, 2)
        path = tmp_path / f"map.{kind}"
        getattr(cells, f"write_{kind}")(path)
        back = getattr(ad, f"read_{kind}")(path).uns["umap"]
        for name in ("snapshots", "snapshot_epochs"):
            np.testing.assert_array_equal(back[name], entry[name], strict=True)
        assert back["params"] == entry["params"]

    def test_one_epoch_may_be_all(self, cells: ad.AnnData) -> None:
        vc.tl.embed(cells, n_epochs=[0], init="X_first")
        np.testing.assert_array_equal(cells.obsm["X_umap"], cells.obsm["X_first"])
        assert cells.uns["umap"]["snapshots"].shape == (1, 120, 2)

    @pytest.mark.parametrize("n_epochs", [[], [5, 5], [10, 5], [-1, 5], [1.5, 5], ["1", "2"], [True, 5], [[1, 2]]])
    @pytest.mark.parametrize("function", [vc.tl.embed, vc.tl.plan, vc.tl.start])
    def test_lists_that_cannot_be(self, cells: ad.AnnData, function: Any, n_epochs: Any) -> None:
        with pytest.raises(InputError, match="n_epochs=.*increasing"):
            function(cells, n_epochs=n_epochs)

    def test_the_plan_says_so(self, cells: ad.AnnData, tmp_path: Path) -> None:
        plan = vc.tl.plan(cells, n_epochs=[0, 5], checkpoint=tmp_path / "run", checkpoint_every=2, fixed="pinned")
        shown = str(plan)
        assert "snapshots at epochs 0, 5" in shown and "written every 2 epochs" in shown
        assert f"{int(cells.obs['pinned'].sum())} of 120 cells are fixed" in shown
        assert plan.to_dict()["stages"]["optimizer"]["params"]["n_epochs"] == 5


class TestFixed:
    @pytest.mark.parametrize("init", ["X_first", "array"])
    def test_they_stay_where_they_are_and_the_others_move(self, cells: ad.AnnData, init: str) -> None:
        first, pinned = cells.obsm["X_first"], cells.obs["pinned"].to_numpy()
        vc.tl.embed(cells, init=first if init == "array" else init, fixed="pinned", n_epochs=50)
        np.testing.assert_array_equal(cells.obsm["X_umap"][pinned], first[pinned])
        assert (cells.obsm["X_umap"][~pinned] != first[~pinned]).any(axis=1).all()
        assert cells.uns["umap"]["params"]["n_fixed"] == pinned.sum()

    @pytest.mark.parametrize("init", ["spectral", "random"])
    def test_any_init_places_them(self, cells: ad.AnnData, init: str) -> None:
        vc.tl.embed(cells, init=init, fixed="pinned", n_epochs=[0, 50])
        first, last = cells.uns["umap"]["snapshots"]
        same = (first == last).all(axis=1)
        np.testing.assert_array_equal(same, cells.obs["pinned"])

    def test_in_every_form(self, cells: ad.AnnData) -> None:
        column = cells.obs["pinned"]
        cells.obs["nullable"] = column.astype("boolean")
        forms = {
            "column": "pinned",
            "nullable": "nullable",
            "mask": column.to_numpy(),
            "list": column.tolist(),
            "series": column,
        }
        for key, form in forms.items():
            vc.tl.embed(cells, init="X_first", fixed=form, n_epochs=5, key_added=key)
        for key in forms:
            np.testing.assert_array_equal(cells.obsm[key], cells.obsm["column"])

    def test_the_order_of_the_rows_does_not_matter(self, cells: ad.AnnData) -> None:
        shuffled = cells[np.random.default_rng(3).permutation(120)].copy()
        for some in (cells, shuffled):
            vc.tl.embed(some, init="X_first", fixed="pinned", n_epochs=20)
        np.testing.assert_array_equal(shuffled[cells.obs_names].obsm["X_umap"], cells.obsm["X_umap"])

    def test_all_or_none(self, cells: ad.AnnData) -> None:
        vc.tl.embed(cells, init="X_first", fixed=np.ones(120, dtype=bool), n_epochs=9, key_added="all")
        vc.tl.embed(cells, init="X_first", fixed=np.zeros(120, dtype=bool), n_epochs=9, key_added="none")
        vc.tl.embed(cells, init="X_first", n_epochs=9, key_added="unsaid")
        np.testing.assert_array_equal(cells.obsm["all"], cells.obsm["X_first"])
        np.testing.assert_array_equal(cells.obsm["none"], cells.obsm["unsaid"])

    def test_new_cells_settle_beside_a_map_that_stays(self) -> None:
        cells = vc.datasets.pbmc68k_reduced()
        old = np.arange(cells.n_obs) % 5 > 0
        start = cells.obsm["X_umap"].astype(np.float32)
        start[~old] = 30 * np.random.default_rng(0).random((int((~old).sum()), 2))
        vc.tl.embed(cells, init=start, fixed=old, key_added="grown")
        np.testing.assert_array_equal(cells.obsm["grown"][old], start[old])
        away = np.linalg.norm(cells.obsm["grown"][~old] - cells.obsm["X_umap"][~old], axis=1)
        assert np.median(away) < 1.5

    @pytest.mark.parametrize(
        ("fixed", "said"),
        [
            ("pined", "fixed='pined' is not in adata.obs.*Did you mean 'pinned'"),
            ("group", "fixed='group' has dtype"),
            ("holes", "fixed='holes' has dtype boolean"),
            (np.arange(120), "fixed has dtype int64"),
            (np.ones(119, dtype=bool), r"fixed has shape \(119,\); expected \(120,\)"),
            (np.ones((120, 1), dtype=bool), r"fixed has shape \(120, 1\)"),
            ([[True], [True, False]], "fixed has dtype object"),
            (pd.Series(np.ones(120, dtype=bool)), "whose index is not adata.obs_names"),
            (True, r"fixed has shape \(\)"),
            (7, "fixed has dtype int64"),
        ],
    )
    @pytest.mark.parametrize("function", [vc.tl.embed, vc.tl.plan])
    def test_what_says_nothing_of_it(self, cells: ad.AnnData, function: Any, fixed: Any, said: str) -> None:
        cells.obs["group"] = pd.Categorical(["a", "b"] * 60)
        cells.obs["holes"] = pd.array([True, None] * 60, dtype="boolean")
        with pytest.raises(InputError, match=said):
            function(cells, fixed=fixed)

    def test_an_optimizer_that_moves_them_is_found_out(self, cells: ad.AnnData) -> None:
        from vicinal.backends.optimizer.numba_sgd import NumbaSgd, NumbaSgdParams

        class Careless(NumbaSgd):
            def start(self, request: Any) -> Any:
                import dataclasses

                return super().start(dataclasses.replace(request, fixed=None))

        with pytest.raises(StageError, match=f"{int(cells.obs['pinned'].sum())} cells that are fixed were moved"):
            vc.tl.embed(cells, fixed="pinned", optimizer=Careless(NumbaSgdParams(n_epochs=5)))
        assert "X_umap" not in cells.obsm
