"""The optimiser with objectives given as functions."""

from __future__ import annotations

import logging

import numpy as np
import pytest
from numba import njit
from scipy import sparse

from vicinal.api import CoefficientForm, Graph, InputError, KernelForm, MetricForm, OptimizeRequest, StageError
from vicinal.backends.objective.umap import UmapObjective, UmapParams
from vicinal.backends.optimizer.numba_sgd import GenericRun, NumbaSgd, NumbaSgdParams, SgdRun
from vicinal.kernels import output_metrics


@njit
def pull(squared, parameters):
    return -2 / (1 + squared)


@njit
def push(squared, parameters):
    return 2 * parameters[0] / ((0.001 + squared) * (1 + squared))


class Cauchy:
    """The kernel 1 / (1 + d^2) in the forms it is told."""

    negative_sample_rate = 5

    def __init__(self, **forms):
        self.forms = forms

    def form(self, name):
        return self.forms[name]


COEFFICIENTS = CoefficientForm(attraction=pull, repulsion=push, parameters=(1.0,))
METRIC = MetricForm(family="umap", parameters=(1.0, 1.0, 1.0), metric=output_metrics.euclidean)
KERNEL = KernelForm(family="umap", parameters=(1.0, 1.0, 1.0))


def ring(n):
    here = np.arange(n)
    matrix = sparse.csr_matrix((np.ones(n), (here, (here + 1) % n)), shape=(n, n))
    return Graph.from_scipy(matrix + matrix.T)


def request(n=60, *, n_components=2, objective=None, **fields):
    objective = objective or Cauchy(coefficients=COEFFICIENTS)
    layout = np.random.default_rng(0).normal(scale=5, size=(n, n_components)).astype(np.float32)
    forms = tuple(objective.forms) if isinstance(objective, Cauchy) else objective.capabilities.forms
    return OptimizeRequest(graph=ring(n), layout=layout, objective=objective, forms=forms, **{"seed": 7, **fields})


def started(wanted, **params):
    return NumbaSgd(NumbaSgdParams(**params)).start(wanted)


def layout_after(wanted, n_epochs=6):
    run = started(wanted, n_epochs=n_epochs)
    run.step(n_epochs)
    return run.layout


@pytest.mark.parametrize("form", [{"coefficients": COEFFICIENTS}, {"metric": METRIC}])
@pytest.mark.parametrize("n_jobs", [2, 3, 8])
def test_any_number_of_threads_gives_the_same_bits(form, n_jobs):
    one, many = (layout_after(request(3000, objective=Cauchy(**form), n_jobs=n)) for n in (1, n_jobs))
    np.testing.assert_array_equal(one, many)
    assert np.isfinite(one).all()


@pytest.mark.parametrize("form", [{"coefficients": COEFFICIENTS}, {"metric": METRIC}])
def test_any_chunking_and_a_resumed_run_give_the_same_bits(form):
    wanted = request(objective=Cauchy(**form))
    run, resumed = started(wanted, n_epochs=12), started(wanted, n_epochs=12)
    for chunk in (0, 5, 1):
        run.step(chunk)
    resumed.restore(run.state(), run.epoch)
    resumed.step(6)
    np.testing.assert_array_equal(resumed.layout, layout_after(wanted, 12))


@pytest.mark.parametrize(
    ("forms", "kind"),
    [
        ({"kernel": KERNEL, "coefficients": COEFFICIENTS}, SgdRun),
        ({"kernel": KernelForm(family="tsne", parameters=(1.0,)), "coefficients": COEFFICIENTS}, GenericRun),
        ({"coefficients": COEFFICIENTS}, GenericRun),
        ({"metric": METRIC}, GenericRun),
    ],
)
def test_the_built_in_kernel_comes_first(forms, kind):
    assert type(started(request(objective=Cauchy(**forms)), n_epochs=0)) is kind


def test_a_metric_of_another_family_is_refused():
    metric = MetricForm(family="tsne", parameters=(1.0,), metric=output_metrics.euclidean)
    with pytest.raises(StageError, match="'umap', not 'tsne'"):
        started(request(objective=Cauchy(metric=metric)))


def test_the_repulsion_strength_may_change_on_the_way_where_it_is_known():
    stronger = MetricForm(family="umap", parameters=(1.0, 1.0, 3.0), metric=output_metrics.euclidean)
    plain, strong = (started(request(objective=Cauchy(metric=form)), n_epochs=4) for form in (METRIC, stronger))
    plain.step(2, repulsion_strength=3.0)
    strong.step(2)
    np.testing.assert_array_equal(plain.layout, strong.layout)
    with pytest.raises(InputError, match="repulsion_strength=3.0 cannot be changed .*'learning_rate'"):
        started(request(), n_epochs=4).step(2, repulsion_strength=3.0)


def test_says_once_that_it_compiles(caplog):
    @njit
    def fresh_pull(squared, parameters):
        return -1 / (1 + squared)

    objective = Cauchy(coefficients=CoefficientForm(attraction=fresh_pull, repulsion=push, parameters=(1.0,)))
    with caplog.at_level(logging.INFO, "vicinal"):
        for _ in range(2):
            layout_after(request(objective=objective))
    said = [record.message for record in caplog.records]
    assert len(said) == 1 and "Compiling" in said[0] and "fresh_pull and push" in said[0]


def test_functions_must_be_jitted():
    form = CoefficientForm(attraction=pull.py_func, repulsion=push)
    with pytest.raises(InputError, match="attraction of the objective .*numba.njit"):
        started(request(objective=Cauchy(coefficients=form)))


@njit
def no_gradient(x, y):
    return np.abs(x - y).sum()


@njit
def short_gradient(x, y):
    return abs(x[0] - y[0]), np.ones(1, dtype=np.float32)


@njit
def does_not_compile(x, y):
    return x.nothing, y


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (no_gradient, "no_gradient' must take two places x, y and return"),
        (short_gradient, r"gradient of shape \(1,\); expected \(2,\)"),
        (does_not_compile, "does_not_compile' must take"),
    ],
)
def test_a_metric_that_returns_something_else(metric, message):
    form = MetricForm(family="umap", parameters=(1.0, 1.0, 1.0), metric=metric)
    with pytest.raises(InputError, match=message):
        started(request(objective=Cauchy(metric=form)))


def test_haversine_in_three_dimensions_is_refused():
    objective = UmapObjective(UmapParams(output_metric="haversine"))
    with pytest.raises(InputError, match=r"expected \(3,\)"):
        started(request(n_components=3, objective=objective))


class TestUmapObjective:
    def test_forms_follow_the_metric(self):
        assert UmapObjective(UmapParams()).capabilities.forms == ("kernel", "metric", "torch")
        for metric in ("haversine", output_metrics.euclidean):
            objective = UmapObjective(UmapParams(output_metric=metric))
            assert objective.capabilities.forms == ("metric",)
            assert objective.form("metric").family == "umap"
            with pytest.raises(InputError, match="no form 'kernel'; it offers 'metric'"):
                objective.form("kernel")

    @pytest.mark.parametrize(
        ("metric", "message"),
        [
            ("haversin", "Did you mean 'haversine'"),
            (no_gradient.py_func, "no_gradient'.*numba.njit"),
            (3, "output_metric is a int.*numba.njit"),
        ],
    )
    def test_bad_metrics(self, metric, message):
        with pytest.raises(InputError, match=message):
            UmapParams(output_metric=metric)

    def test_squared_distances(self, rng):
        x, y = rng.normal(size=(2, 40, 2)).astype(np.float32)
        plain, jitted, sphere = (
            UmapObjective(UmapParams(output_metric=metric)).squared_distances(x, y)
            for metric in ("euclidean", output_metrics.euclidean, "haversine")
        )
        np.testing.assert_allclose(jitted, plain, rtol=1e-4)
        np.testing.assert_allclose(plain, ((x.astype(float) - y) ** 2).sum(axis=1))
        assert (sphere <= np.pi**2 + 1e-3).all()

    def test_rescaled_to_the_sphere(self, rng):
        objective = UmapObjective(UmapParams(output_metric="haversine"))
        for scale in (1e-6, 1, 1e6):
            layout = (scale * rng.normal(size=(50, 2))).astype(np.float32)
            placed = objective.rescale(layout)
            assert (placed >= 0).all() and placed[:, 0].max() <= np.pi and placed[:, 1].max() <= 2 * np.pi
            assert (np.ptp(placed, axis=0) > 2).all()
            np.testing.assert_array_equal(np.argsort(placed, axis=0), np.argsort(layout, axis=0))
        assert np.isfinite(objective.rescale(np.ones((3, 2), dtype=np.float32))).all()
