from __future__ import annotations

from pathlib import Path

import anndata as ad
import numpy as np
import pytest

import vicinal as vc
from vicinal.api import InputError, ModelError


@pytest.fixture
def adata() -> ad.AnnData:
    return vc.datasets.pbmc68k_reduced()


def test_by_hand_equals_one_call(adata: ad.AnnData) -> None:
    run = vc.tl.start(adata, n_epochs=60, key_added="hand")
    for n in (1, 9, 20):
        run.step(n)
    assert run.epoch == 30
    run.finish()
    vc.tl.embed(adata, n_epochs=60, key_added="call")
    assert np.array_equal(adata.obsm["hand"], adata.obsm["call"])
    assert set(adata.uns["call"]["loss_epoch"]) <= set(adata.uns["hand"]["loss_epoch"])
    same = np.isin(adata.uns["hand"]["loss_epoch"], adata.uns["call"]["loss_epoch"])
    np.testing.assert_array_equal(adata.uns["hand"]["loss"][same], adata.uns["call"]["loss"])


def test_nothing_is_written_before_finish(adata: ad.AnnData) -> None:
    run = vc.tl.start(adata, n_epochs=20, key_added="hand")
    run.step(20)
    assert "hand" not in adata.obsm and run.layout.shape == (700, 2)
    run.layout[:] = 0
    assert run.layout.any()


def test_finish_as_it_is_now(adata: ad.AnnData) -> None:
    run = vc.tl.start(adata, n_epochs=200)
    run.step(10)
    run.finish(remaining=False)
    assert adata.uns["umap"]["params"]["n_epochs"] == 10
    assert np.array_equal(adata.obsm["X_umap"], run.layout)


def test_overrides_hold_for_one_step(adata: ad.AnnData) -> None:
    still, moving = vc.tl.start(adata, n_epochs=20), vc.tl.start(adata, n_epochs=20)
    before = still.layout
    still.step(5, learning_rate=0.0)
    assert np.array_equal(still.layout, before)
    still.step(5)
    moving.step(5)
    assert not np.array_equal(still.layout, before) and not np.array_equal(moving.layout, before)


@pytest.mark.parametrize("n_epochs", [-1, 2.5, "3", 21])
def test_steps_that_cannot_be_taken(adata: ad.AnnData, n_epochs: object) -> None:
    run = vc.tl.start(adata, n_epochs=20)
    with pytest.raises(InputError, match="n_epochs"):
        run.step(n_epochs)
    assert run.epoch == 0


def test_cells_removed_meanwhile(adata: ad.AnnData) -> None:
    run = vc.tl.start(adata, n_epochs=5)
    adata._inplace_subset_obs(np.arange(300))
    with pytest.raises(InputError, match="300 cells now, 700 when the run was started"):
        run.finish()
    assert run.epoch == 0 and "loss" not in adata.uns.get("umap", {})


def test_unknown_override(adata: ad.AnnData) -> None:
    with pytest.raises(InputError, match="learning_rat.*learning_rate"):
        vc.tl.start(adata, n_epochs=20).step(2, learning_rat=1.0)


def test_resumed_equals_uninterrupted(adata: ad.AnnData, tmp_path: Path) -> None:
    whole = vc.tl.start(adata, n_epochs=50).step(50)
    vc.tl.start(adata, n_epochs=50).step(17).save(tmp_path / "run.ckpt")
    resumed = vc.tl.start(adata, n_epochs=50).resume(tmp_path / "run.ckpt")
    assert resumed.epoch == 17
    resumed.step(33)
    assert np.array_equal(resumed.layout, whole.layout)
    assert set(whole.loss.epochs) <= set(resumed.loss.epochs)


def test_a_checkpoint_of_another_run_is_refused(adata: ad.AnnData, tmp_path: Path) -> None:
    vc.tl.start(adata, n_epochs=50).step(5).save(tmp_path / "run.ckpt")
    with pytest.raises(ModelError, match="other data or arguments"):
        vc.tl.start(adata, n_epochs=50, min_dist=0.1).resume(tmp_path / "run.ckpt")


def test_the_arguments_are_shown() -> None:
    import inspect

    for function in (vc.tl.start, vc.tl.plan):
        names = list(inspect.signature(function).parameters)
        assert names[:3] == ["adata", "method", "n_components"] and "copy" not in names
