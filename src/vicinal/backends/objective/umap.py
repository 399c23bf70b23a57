"""UMAP's objective: a heavy-tailed kernel of the distance in the map, and its complement for pairs to keep apart."""

from __future__ import annotations

import dataclasses
import functools
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.backends.checks import require_number
from vicinal.contract.data import Layout
from vicinal.contract.errors import InputError, did_you_mean, listing
from vicinal.contract.functions import function_name, require_jitted
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities
from vicinal.contract.stages import KernelForm, MetricForm, TorchForm, squared_euclidean

LONGEST_SIDE = 10.0
METRICS = ("euclidean", "haversine")
SPHERE = ((math.pi / 8, 7 * math.pi / 8), (0.0, 1.75 * math.pi))
"""Where a first layout lies on the sphere, polar angle and longitude: off the poles, and not closed."""
SOFTENING = 1e-3
"""Added to squared distances of pairs to keep apart, as umap-learn does where it divides by them."""
NO_DISTANCE = 1e-12
"""Squared distance below which tensors count as coincident: there the logarithm has no slope that is finite."""


@dataclass(frozen=True, kw_only=True)
class UmapParams:
    """Parameters of UMAP's objective.

    Attributes
    ----------
    min_dist
        Distance in the map up to which cells count as fully joined; at most ``spread``.
    spread
        Scale of the decay beyond it, in the map's units.
    a, b
        The kernel's own parameters, both or neither; None fits them to ``min_dist`` and ``spread``.
    repulsion_strength
        Factor of the repulsion.
    negative_sample_rate
        Negative samples per use of an edge. It weighs repulsion against attraction rather than making the
        estimate better (Damrich and Hamprecht 2021, arXiv:2103.14608).
    output_metric
        Distance in the map: ``euclidean``; ``haversine`` for a map on the sphere, whose two components are the angle
        from the pole and the longitude, in radians, as umap-learn's; or a function ``(x, y) -> (distance, gradient
        with respect to x)`` decorated with `numba.njit`. All but the first are slower, compiled in each process, and
        cannot be projected into; scores compare a map made with a function by Euclidean distance.
    """

    min_dist: float = 0.1
    spread: float = 1.0
    a: float | None = None
    b: float | None = None
    repulsion_strength: float = 1.0
    negative_sample_rate: float = 5
    output_metric: str | Callable[..., Any] = "euclidean"

    def __post_init__(self) -> None:
        require_number("spread", self.spread, low=0, above=True)
        require_number("min_dist", self.min_dist, low=0)
        require_number("repulsion_strength", self.repulsion_strength, low=0)
        require_number("negative_sample_rate", self.negative_sample_rate, low=0, high=10_000)
        if self.min_dist > self.spread:
            msg = f"min_dist={self.min_dist} is larger than spread={self.spread}; give a min_dist of at most spread"
            raise InputError(msg)
        if (self.a is None) != (self.b is None):
            given, absent = ("a", "b") if self.b is None else ("b", "a")
            msg = f"{given} is given without {absent}; give both, or neither to have them fitted to min_dist and spread"
            raise InputError(msg)
        if self.a is not None:
            require_number("a", self.a, low=0, above=True)
            require_number("b", self.b, low=0, above=True)
        _check_output_metric(self.output_metric)


class UmapObjective:
    """The cross-entropy of the kernel ``q = 1 / (1 + a d^(2b))`` (McInnes, Healy and Melville 2018, arXiv:1802.03426).

    Attributes
    ----------
    a, b
        The kernel's parameters, as given or fitted.
    repulsion_strength
        Factor of the repulsion.
    negative_sample_rate
        Negative samples per use of an edge.
    """

    def __init__(self, params: UmapParams) -> None:
        self.params = params
        self.a, self.b = _kernel_parameters(params)
        self.repulsion_strength = float(params.repulsion_strength)
        self.negative_sample_rate = params.negative_sample_rate

    @property
    def capabilities(self) -> Capabilities:
        """What it can do with the output metric it has."""
        if self.params.output_metric == "euclidean":
            return SPEC.capabilities
        dimensions = (2, 2) if self.params.output_metric == "haversine" else SPEC.capabilities.n_components
        return dataclasses.replace(SPEC.capabilities, forms=("metric",), n_components=dimensions)

    def form(self, name: str) -> KernelForm | MetricForm | TorchForm:
        """Return the family ``umap`` with ``(a, b, repulsion_strength)``, by name or with its metric; or its losses."""
        if name not in self.capabilities.forms:
            metric, offered = _shown(self.params.output_metric), listing(self.capabilities.forms)
            msg = f"objective 'umap' with output_metric={metric!r} has no form {name!r}; it offers {offered}"
            raise InputError(msg)
        if name == "torch":
            return torch_form(self.a, self.b, self.repulsion_strength)
        parameters = (self.a, self.b, self.repulsion_strength)
        if name == "kernel":
            return KernelForm(family="umap", parameters=parameters)
        return MetricForm(family="umap", parameters=parameters, metric=self._metric())

    def attraction(self, squared_distance: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return ``-log q``, float64."""
        return np.logaddexp(0.0, self._log_odds(squared_distance))

    def repulsion(self, squared_distance: NDArray[np.floating]) -> NDArray[np.floating]:
        """Return ``-log(1 - q)`` times the repulsion strength, float64, at the squared distance and 0.001.

        Its slope is the force that umap-learn, and the kernels here, push by; without the addition coincident cells
        would have no finite one.
        """
        softened = np.asarray(squared_distance, dtype=np.float64) + SOFTENING
        return self.repulsion_strength * np.logaddexp(0.0, -self._log_odds(softened))

    def squared_distances(self, x: Layout, y: Layout) -> NDArray[np.float64]:
        """Return the squared distance of each row of ``x`` to the row of ``y`` beside it, in the output metric."""
        if self.params.output_metric == "euclidean":
            return squared_euclidean(x, y)
        from vicinal.kernels.generic import distances_of, unannounced

        distances = np.zeros(len(x))
        with unannounced():
            distances_of(self._metric())(np.array(x, np.float32), np.array(y, np.float32), distances)
        return np.square(np.maximum(distances, 0))

    def rescale(self, layout: Layout) -> Layout:
        """Return the layout centred, its longest side 10 and its shape kept; a constant layout becomes zero.

        For ``haversine``, spread it over most of the sphere.
        """
        if not layout.size:
            return layout.copy()
        if self.params.output_metric == "haversine":
            return _on_sphere(layout)
        low, high = layout.min(axis=0).astype(np.float64), layout.max(axis=0).astype(np.float64)
        side = (high - low).max()
        scale = LONGEST_SIDE / side if side > 0 else 0.0
        return ((layout - (low + high) / 2) * scale).astype(np.float32)

    def _metric(self) -> Callable[..., Any]:
        from vicinal.kernels import output_metrics

        given = self.params.output_metric
        return getattr(output_metrics, given) if isinstance(given, str) else given

    def _log_odds(self, squared_distance: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return ``log((1 - q) / q)``, in which neither end of the scale over- nor underflows."""
        with np.errstate(divide="ignore"):
            return math.log(self.a) + self.b * np.log(np.asarray(squared_distance, dtype=np.float64))


def torch_form(a: float, b: float, repulsion_strength: float) -> TorchForm:
    """Return the losses of tensors; torch is imported here, where it is there."""
    from torch.nn.functional import softplus

    log_odds = tensor_log_odds(a, b)

    def repulsion(squared: Any) -> Any:
        return softplus(log_odds(squared + SOFTENING).neg()).mul(repulsion_strength)

    return TorchForm(attraction=lambda squared: softplus(log_odds(squared)), repulsion=repulsion)


def tensor_log_odds(a: float, b: float) -> Callable[[Any], Any]:
    """Return the function ``log((1 - q) / q) = log a + b log d^2`` of squared distances: one power a pair."""
    return lambda squared: squared.clamp(min=NO_DISTANCE).log().mul(b).add(math.log(a))


def _check_output_metric(metric: Any) -> None:
    if not isinstance(metric, str):
        require_jitted("output_metric", metric, "(x, y) -> (distance, gradient with respect to x)")
    elif metric not in METRICS:
        hint = did_you_mean(metric, METRICS)
        msg = f"output_metric={metric!r} is not allowed; give one of {listing(METRICS)} or a jitted function.{hint}"
        raise InputError(msg)


def _shown(metric: str | Callable[..., Any]) -> str:
    return metric if isinstance(metric, str) else function_name(metric)


def _on_sphere(layout: Layout) -> Layout:
    """Return angles from the pole and longitudes, each column spread over its range."""
    low, high = layout.min(axis=0).astype(np.float64), layout.max(axis=0).astype(np.float64)
    extent = high - low
    shares = np.where(extent > 0, (layout - low) / np.where(extent > 0, extent, 1), 0.5)
    first, last = np.array(SPHERE).T
    return (first + shares * (last - first)).astype(np.float32)


def _kernel_parameters(params: UmapParams) -> tuple[float, float]:
    if params.a is not None and params.b is not None:
        return float(params.a), float(params.b)
    return fit_kernel(float(params.min_dist), float(params.spread))


@functools.lru_cache(maxsize=256)
def fit_kernel(min_dist: float, spread: float) -> tuple[float, float]:
    """Fit ``1 / (1 + a x^(2b))`` to 1 below ``min_dist`` and an exponential decay of scale ``spread`` beyond.

    Least squares on 300 points over ``[0, 3 spread]``, from a = b = 1. Far from a spread of 1 that start can end in a
    curve that rises; then the fit is done in units of the spread.
    """
    fitted = _least_squares(min_dist, spread)
    if fitted is None:
        a, b = _least_squares(min_dist / spread, 1.0) or (math.nan, math.nan)
        fitted = _usable(a * spread ** (-2 * b), b)
    if fitted is None:
        msg = (
            f"no kernel fits min_dist={min_dist} with spread={spread}; give a spread nearer to 1, or a and b themselves"
        )
        raise InputError(msg)
    return fitted


def _least_squares(min_dist: float, spread: float) -> tuple[float, float] | None:
    from scipy.optimize import curve_fit

    x = np.linspace(0, 3 * spread, 300)
    y = np.where(x < min_dist, 1.0, np.exp(-(x - min_dist) / spread))
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            (a, b), _ = curve_fit(_kernel, x, y)
        except RuntimeError:
            return None
    return _usable(float(a), float(b))


def _kernel(x: NDArray[np.float64], a: float, b: float) -> NDArray[np.float64]:
    return 1.0 / (1.0 + a * x ** (2 * b))


def _usable(a: float, b: float) -> tuple[float, float] | None:
    return (a, b) if 0 < a < math.inf and 0 < b < math.inf else None


SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="objective",
    name="umap",
    target="vicinal.backends.objective.umap:UmapObjective",
    summary="UMAP's cross-entropy, as negative sampling optimises it",
    params=UmapParams,
    capabilities=Capabilities(forms=("kernel", "metric", "torch"), deterministic=True),
    cite=("McInnes, Healy & Melville 2018, arXiv:1802.03426",),
)
