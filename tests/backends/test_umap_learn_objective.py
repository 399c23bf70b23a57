"""The loss of umap-learn's ParametricUMAP, against the formula by which it trains."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import vicinal as vc
from vicinal.api import InputError
from vicinal.backends.objective.umap import UmapParams
from vicinal.backends.objective.umap_learn import Backend

KERNELS = st.builds(UmapParams, a=st.floats(0.05, 20), b=st.floats(0.3, 3), repulsion_strength=st.floats(0, 5))


def log_sigmoid(x):
    return -np.logaddexp(0, -x)


def as_there(objective, squared):
    """Return what umap-learn takes of an edge and of another pair: a log chance, given where log odds are expected."""
    log_chance = -np.log1p(objective.a * squared**objective.b)
    return -log_sigmoid(log_chance), -(log_sigmoid(log_chance) - log_chance)


@settings(deadline=None, max_examples=100)
@given(params=KERNELS)
def test_equals_the_formula_there(params):
    """Repulsion counts twice, for both of the cells that a negative sample moves there."""
    objective, squared = Backend(params), np.concatenate([[0], np.logspace(-6, 4, 60)])
    attraction, repulsion = as_there(objective, squared)
    np.testing.assert_allclose(objective.attraction(squared), attraction, rtol=1e-9)
    np.testing.assert_allclose(objective.repulsion(squared), 2 * params.repulsion_strength * repulsion, atol=1e-9)


@settings(deadline=None, max_examples=60)
@given(params=KERNELS)
def test_tensors_equal_the_formula_too(params):
    torch = pytest.importorskip("torch")
    objective, squared = Backend(params), np.logspace(-6, 4, 60)
    attraction, repulsion = as_there(objective, squared)
    form, tensor = objective.form("torch"), torch.tensor(squared)
    np.testing.assert_allclose(form.attraction(tensor).numpy(), attraction, rtol=1e-7)
    wanted = 2 * params.repulsion_strength * repulsion
    np.testing.assert_allclose(form.repulsion(tensor).numpy(), wanted, rtol=1e-7, atol=1e-9)


def test_bounds_where_cells_meet_and_part():
    objective = Backend(UmapParams())
    ends = np.array([0.0, 1e30])
    np.testing.assert_allclose(objective.attraction(ends)[0], np.log(2))
    np.testing.assert_allclose(objective.repulsion(ends), [2 * np.log(2), 0], atol=1e-12)


def test_has_the_kernel_and_the_parameters_of_umap():
    from vicinal.backends.objective.umap import UmapObjective

    params = UmapParams(min_dist=0.3, spread=1.2, negative_sample_rate=8)
    ours, umap = Backend(params), UmapObjective(params)
    assert (ours.a, ours.b, ours.negative_sample_rate) == (umap.a, umap.b, 8)


def test_other_forms_and_metrics_are_refused():
    with pytest.raises(InputError, match="'umap_learn' has no form 'kernel'; it offers 'torch'"):
        Backend(UmapParams()).form("kernel")
    with pytest.raises(InputError, match="output_metric: the objective 'umap_learn' has maps with Euclidean"):
        Backend(UmapParams(output_metric="haversine"))


def test_an_optimizer_without_tensors_is_no_match():
    adata = vc.datasets.pbmc68k_reduced()
    with pytest.raises(InputError, match="'umap_learn' offers the forms 'torch', optimizer 'numba_sgd' consumes"):
        vc.tl.plan(adata, objective="umap_learn")
