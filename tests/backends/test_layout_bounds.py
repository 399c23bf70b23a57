"""First layouts and stored states that float32 cannot work with, and arguments that could only hang, are refused."""

import anndata as ad
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vicinal as vc
from vicinal.api import InputError, VicinalError
from vicinal.backends.optimizer.numba_fft import morton_order
from vicinal.backends.optimizer.repulsion import LOST, Box
from vicinal.contract.data import FARTHEST
from vicinal.pipeline.checks import check_layout

N = 60


@pytest.fixture
def cells(rng):
    adata = ad.AnnData(rng.normal(size=(N, 5)).astype(np.float32))
    adata.obsm["X_pca"] = adata.X.copy()
    return adata


def first_layout(rng, scale):
    return (np.sign(rng.normal(size=(N, 2))) * scale).astype(np.float32)


@pytest.mark.parametrize("method", ["umap", "tsne"])
@pytest.mark.parametrize("scale", [2e18, 1e30, 3e38])
def test_first_layouts_too_wide(cells, rng, method, scale):
    cells.obsm["X_start"] = first_layout(rng, scale)
    for init in ("X_start", cells.obsm["X_start"]):
        with pytest.raises(InputError, match="60 cells are farther than 1e\\+18 from 0"):
            vc.tl.embed(cells, method, init=init, n_epochs=3, **({"perplexity": 3} if method == "tsne" else {}))
    assert list(cells.obsm) == ["X_pca", "X_start"]


@pytest.mark.parametrize("scale", [1e-40, 3e-38, 1e-14])
def test_first_layouts_of_tsne_too_narrow(cells, rng, scale):
    with pytest.raises(InputError, match="has an extent of .* at least 1e-12 is needed"):
        vc.tl.embed(cells, "tsne", init=first_layout(rng, scale), perplexity=3, n_epochs=3)


def test_a_narrow_first_layout_of_tsne_unfolds(cells, rng):
    vc.tl.embed(cells, "tsne", init=rng.normal(size=(N, 2)) * 1e-9, perplexity=5)
    assert 1 < np.ptp(cells.obsm["X_tsne"], axis=0).max() < 1000


@pytest.mark.parametrize("method", ["umap", "tsne"])
@pytest.mark.parametrize("scale", [np.nan, 1e30, 3e38])
def test_states_that_hold_such_layouts(cells, method, scale):
    arguments = {"perplexity": 3} if method == "tsne" else {}
    run = vc.tl.start(cells, method, n_epochs=4, **arguments)
    run.step(2)
    optimization = run._run.optimization
    state = dict(optimization.state())
    state["layout"] = np.full_like(state["layout"], scale)
    with pytest.raises(InputError, match="layout of the state has places that are not finite, or farther than"):
        optimization.restore(state, 2)


@given(
    exponent=st.integers(-45, 38),
    n_components=st.sampled_from([1, 2]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_grids_hold_every_cell_or_are_refused(exponent, n_components, seed):
    with np.errstate(over="ignore", under="ignore"):
        places = (np.random.default_rng(seed).normal(size=(50, n_components)) * 10.0**exponent).astype(np.float32)
    if not np.abs(places).max() <= FARTHEST:
        with pytest.raises(InputError, match=LOST):
            Box.around(places)
        return
    box = Box.around(places)
    per_unit = np.float32(1 / box.width)
    nodes = np.floor((places - box.low) * per_unit).astype(int)
    assert nodes.min() >= 1
    assert (nodes.max(axis=0) + 2 < np.array(box.shape[-n_components:])).all()
    assert sorted(morton_order(places)) == list(range(50))


@pytest.mark.parametrize("rate", [1e30, 3e38])
def test_a_rate_that_drives_cells_out_of_the_map(cells, rate):
    with pytest.raises(InputError, match="cells have left the map"):
        vc.tl.embed(cells, "tsne", perplexity=3, learning_rate=rate, max_step=None, n_epochs=475)
    assert "X_tsne" not in cells.obsm


def test_a_map_that_has_left_is_no_result():
    layout = np.zeros((4, 2), np.float32)
    assert check_layout(layout, 4, 2) == ""
    layout[1:3] = 1e19
    assert check_layout(layout, 4, 2).startswith("the layout has 2 cells farther than 1e+18 from 0")


@pytest.mark.parametrize(
    "arguments",
    [
        {"negative_sample_rate": 1e10},
        {"n_epochs": 2**63},
        {"n_epochs": 10**30},
        {"n_epochs": [10, 2**62]},
        {"learning_rate": 1e10},
        {"phases": [{"n": 10**30}]},
        {"phases": [{"n": 1e30}]},
        {"phases": [{"n": 5, "learning_rate": 1e30}]},
        {"phases": [{"n": 5, "negative_sample_rate": 1e30}]},
        {"method": "tsne", "n_epochs": 2**63},
    ],
    ids=str,
)
def test_what_could_only_hang_is_refused_before_any_work(cells, arguments):
    with pytest.raises(InputError, match="not allowed|phases"):
        vc.tl.plan(cells, **arguments)


@pytest.mark.parametrize(
    ("method", "name"),
    [("umap", "repulsion_strength"), ("umap", "spread"), ("tsne", "exaggeration"), ("tsne", "max_step")],
)
@pytest.mark.parametrize("value", [1e30, 1e38])
def test_other_factors_without_measure_end_in_a_map_or_an_error(cells, method, name, value):
    own = {"perplexity": 3} if method == "tsne" else {}
    try:
        vc.tl.embed(cells, method, n_epochs=5, **{name: value}, **own)
    except VicinalError:
        return
    assert np.abs(cells.obsm[f"X_{method}"]).max() <= FARTHEST
