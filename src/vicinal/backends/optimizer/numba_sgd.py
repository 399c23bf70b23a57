"""Negative-sampling stochastic gradient descent in compiled kernels, with the same bits for any number of threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.backends.checks import require_number
from vicinal.contract.data import Layout
from vicinal.contract.errors import InputError, StageError
from vicinal.contract.functions import function_name, require_jitted
from vicinal.contract.requests import OptimizeRequest
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities
from vicinal.contract.stages import CoefficientForm, KernelForm, MetricForm, Objective

from .checks import check_sizes, require_epochs, require_epochs_left, require_override, require_places
from .schedule import Schedule, read_only, rounds

SMALL_UP_TO = 10_000
EPOCHS_SMALL, EPOCHS_LARGE = 500, 200
SERIAL_UP_TO = 4096
TASKS_PER_THREAD = 2
FEWEST_PASSES, FEWEST_PASSES_LARGE, LARGE_FROM = 60, 400, 200_000
MOST_PASSES = 3
"""Passes over the cells in a run, for small and large data, and the most in an epoch: where epochs are few for the
way across the map, the uses of each are spread over several passes, so that moves travel further within it."""
GENERIC_SERIAL_UP_TO = 256
GENERIC_OVERRIDES = ("learning_rate", "negative_sample_rate")
OVERRIDES = (*GENERIC_OVERRIDES, "repulsion_strength")
LARGEST = {"learning_rate": 1e6, "negative_sample_rate": 1e4}
"""With more, cells only leave the map, or an epoch does not come to its end."""
FORMS = ("kernel", "metric", "coefficients")
"""The forms of an objective, fastest first."""
FAMILY, STRENGTH = "umap", 2  # its parameters: a, b, repulsion strength


@dataclass(frozen=True, kw_only=True)
class NumbaSgdParams:
    """Parameters of the optimiser.

    Attributes
    ----------
    n_epochs
        How often each cell is moved; None for 500 up to 10,000 cells and 200 above. 0 leaves the first layout.
    learning_rate
        Length of the first steps; it falls linearly to zero.
    """

    n_epochs: int | None = None
    learning_rate: float = 1.0

    def __post_init__(self) -> None:
        if self.n_epochs is not None:
            require_epochs(self.n_epochs)
        require_number("learning_rate", self.learning_rate, low=0, high=LARGEST["learning_rate"])


class NumbaSgd:
    """UMAP's optimisation (McInnes, Healy and Melville 2018, arXiv:1802.03426), each cell moving only itself."""

    overrides = OVERRIDES

    def __init__(self, params: NumbaSgdParams) -> None:
        self.params = params

    def start(self, request: OptimizeRequest) -> SgdRun:
        """Return an optimisation that has not moved yet.

        Raises
        ------
        StageError
            If the objective's kernels are not of the family this optimiser has.
        InputError
            If the layout or the fixed cells do not fit the graph.
        """
        form = _usable_form(request.objective, request.forms)
        check_sizes(request)
        if isinstance(form, KernelForm):
            return SgdRun(request, form.parameters, self.params)
        return GenericRun(request, form, self.params)

    def overrides_for(self, objective: Objective, forms: Sequence[str]) -> tuple[str, ...]:
        """Return what can be replaced on the way with an objective."""
        return OVERRIDES if isinstance(_usable_form(objective, forms), KernelForm) else GENERIC_OVERRIDES

    def check_overrides(self, overrides: Mapping[str, Any]) -> None:
        """Raise `InputError` for a value that is not allowed."""
        _check_overrides(overrides, OVERRIDES)


class SgdRun:
    """One optimisation under way; interrupted within an epoch, it stands at the end of the one before.

    Attributes
    ----------
    epoch, n_epochs
        Epochs done, and epochs planned.
    """

    overrides: tuple[str, ...] = OVERRIDES

    def __init__(self, request: OptimizeRequest, parameters: tuple[float, ...], params: NumbaSgdParams) -> None:
        graph = request.graph
        self.n_epochs = planned_epochs(params.n_epochs, graph.n_obs)
        self._learning_rate = params.learning_rate
        self._negative_sample_rate = request.objective.negative_sample_rate
        self._parameters = np.array(parameters, dtype=np.float32)
        self._pulls = 1 if graph.directed else 2
        self._passes = planned_passes(self.n_epochs, graph.n_obs)
        self._seed, self._n_jobs = request.seed % 2**63, request.n_jobs
        width, serial_up_to = self._width()
        self._schedule = Schedule.of(graph, request.fixed, width=width, n_passes=self._passes, n_jobs=request.n_jobs)
        n_tasks = 1 if graph.n_obs < serial_up_to else TASKS_PER_THREAD * request.n_jobs
        self._cells_a_part, self._rounds = width, rounds(graph.n_obs, width, n_tasks)
        layout = self._schedule.arranged(request.layout)
        self._now = (0, layout, np.empty_like(layout))
        self._places = np.empty_like(layout)

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self._now[0]

    @property
    def layout(self) -> Layout:
        """The present layout, a copy, float32 ``(n_obs, n_components)``."""
        return self._schedule.restored(self._layout)

    @property
    def _layout(self) -> Layout:
        """The present layout in the order the cells are worked on."""
        return self._now[1]

    @property
    def _moved(self) -> Layout:
        return self._now[2]

    def step(self, n_epochs: int, **overrides: Any) -> None:
        """Go on by some epochs.

        Parameters
        ----------
        n_epochs
            How many, at most those that are left.
        **overrides
            ``learning_rate``, ``negative_sample_rate`` or ``repulsion_strength`` for these epochs only.

        Raises
        ------
        InputError
            If fewer epochs are left, or an override is unknown or not allowed.
        """
        require_epochs_left(n_epochs, self.epoch, self.n_epochs)
        _check_overrides(overrides, self.overrides)
        from vicinal.kernels.parallel import workers

        with workers(self._n_jobs) as run:
            for _ in range(n_epochs):
                self._run_epoch(run, **overrides)
                # One assignment, so that an interrupt finds the epoch and the layout of the same moment.
                self._now = (self.epoch + 1, self._moved, self._layout)

    def state(self) -> Mapping[str, np.ndarray]:
        """Return the layout; all else follows from the request and the epoch."""
        return {"layout": self.layout}

    def restore(self, state: Mapping[str, np.ndarray], epoch: int) -> None:
        """Take up a state that `state` gave at an epoch.

        Raises
        ------
        InputError
            If the state is not one of this optimisation.
        """
        layout = np.asarray(state.get("layout"))
        if layout.shape != self._layout.shape or not 0 <= epoch <= self.n_epochs:
            given = f"a layout of shape {layout.shape} at epoch {epoch}"
            msg = f"state={given} is not allowed; expected {self._layout.shape} and an epoch up to {self.n_epochs}"
            raise InputError(msg)
        require_places("the layout of the state", layout)
        self._now = (int(epoch), self._schedule.arranged(layout), self._moved)

    def _width(self) -> tuple[int, int]:
        """Return how many cells the kernel moves side by side, and the number of cells worth no second thread."""
        from vicinal.kernels.lanes import LANES

        return LANES, SERIAL_UP_TO

    def _run_epoch(
        self,
        run: Callable[..., None],
        learning_rate: float | None = None,
        negative_sample_rate: float | None = None,
        repulsion_strength: float | None = None,
    ) -> None:
        from vicinal.kernels.lanes import ONE_USE

        parameters = self._parameters.copy()
        if repulsion_strength is not None:
            parameters[STRENGTH] = repulsion_strength
        rate = _either(learning_rate, self._learning_rate) * (1 - self.epoch / self.n_epochs)
        negatives = _either(negative_sample_rate, self._negative_sample_rate)
        np.copyto(self._moved, self._layout)
        for phase in range(0, ONE_USE, -(-ONE_USE // self._passes)):
            move = self._mover(parameters, np.float32(rate), negatives, phase)
            for tasks in self._rounds:
                run(move, tasks)
                moved = slice(int(tasks[0]) * self._cells_a_part, int(tasks[-1]) * self._cells_a_part)
                self._moved[moved] = self._places[moved]

    def _mover(
        self, parameters: NDArray[np.float32], rate: np.float32, negatives: float, phase: int
    ) -> Callable[[int, int], None]:
        """Return what moves the blocks ``start`` to ``stop`` by the pass at a phase of the epoch."""
        from vicinal.kernels.lanes import lanes_epoch

        layout, schedule = read_only(self._moved, np.float32), self._schedule
        a, b, strength = parameters

        def move(start: int, stop: int) -> None:
            lanes_epoch(
                schedule.starts,
                schedule.ends,
                schedule.shares,
                layout,
                self._places,
                self._pulls,
                a,
                b,
                strength,
                negatives,
                rate,
                self._seed,
                self.epoch,
                phase,
                schedule.most_uses,
                start,
                stop,
            )

        return move


class GenericRun(SgdRun):
    """The same optimisation with forces that are jitted functions, in a kernel compiled once a process."""

    def __init__(self, request: OptimizeRequest, form: CoefficientForm | MetricForm, params: NumbaSgdParams) -> None:
        from vicinal.kernels.generic import coefficient_epoch, metric_epoch, unannounced

        if isinstance(form, MetricForm):
            with unannounced():
                _check_output_metric(form, request.layout.shape[1])
            self._epoch_kernel = metric_epoch(form.metric)
        else:
            for name in ("attraction", "repulsion"):
                require_jitted(
                    f"{name} of the objective", getattr(form, name), "(squared_distance, parameters) -> factor"
                )
            self._epoch_kernel = coefficient_epoch(form.attraction, form.repulsion)
            self.overrides = GENERIC_OVERRIDES
        super().__init__(request, form.parameters, params)
        with unannounced():
            self._mover(self._parameters, np.float32(0), 0.0, 0)(0, 0)  # no cell: this compiles

    def _width(self) -> tuple[int, int]:
        return 1, GENERIC_SERIAL_UP_TO

    def _mover(
        self, parameters: NDArray[np.float32], rate: np.float32, negatives: float, phase: int
    ) -> Callable[[int, int], None]:
        layout, schedule = read_only(self._moved, np.float32), self._schedule

        def move(start: int, stop: int) -> None:
            self._epoch_kernel(
                schedule.starts,
                schedule.ends,
                schedule.shares,
                layout,
                self._places,
                self._pulls,
                parameters,
                negatives,
                rate,
                self._seed,
                self.epoch,
                phase,
                start,
                stop,
            )

        return move


def _usable_form(objective: Objective, forms: Sequence[str]) -> KernelForm | MetricForm | CoefficientForm:
    """Return the fastest form of the objective that there is a kernel for."""
    offered = [objective.form(name) for name in FORMS if name in forms]
    for form in offered:
        if isinstance(form, CoefficientForm) or getattr(form, "family", None) == FAMILY:
            return form
    given = ", ".join(repr(getattr(form, "family", type(form).__name__)) for form in offered) or "none"
    problem = f"has kernels of the family {FAMILY!r}, not {given}; choose another objective or optimizer"
    raise StageError("optimizer", SPEC.name, problem)


def _check_output_metric(form: MetricForm, n_components: int) -> None:
    """Raise `InputError` unless the function works on two places and returns what the kernel takes from it."""
    here, there = np.zeros(n_components, dtype=np.float32), np.full(n_components, 0.5, dtype=np.float32)
    name, expected = function_name(form.metric), "(distance, gradient with respect to x)"
    try:
        distance, gradient = form.metric(here, there)
        shape = np.shape(gradient)
        float(distance)
    except Exception as error:  # a user's function, and numba's compiler, may fail in any way
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        msg = f"the output metric {name!r} must take two places x, y and return {expected}; it failed: {reason}"
        raise InputError(msg) from error
    if shape != (n_components,):
        msg = f"the output metric {name!r} returned a gradient of shape {shape}; expected ({n_components},)"
        raise InputError(msg)


def planned_epochs(n_epochs: int | None, n_obs: int) -> int:
    """Return the epochs of a map where the user may have left them open."""
    if n_epochs is not None:
        return int(n_epochs)
    return EPOCHS_SMALL if n_obs <= SMALL_UP_TO else EPOCHS_LARGE


def planned_passes(n_epochs: int, n_obs: int) -> int:
    """Return the passes of an epoch."""
    wanted = FEWEST_PASSES if n_obs < LARGE_FROM else FEWEST_PASSES_LARGE
    return int(np.clip(wanted // max(n_epochs, 1), 1, MOST_PASSES))


def _either(value: float | None, default: float) -> float:
    return float(default if value is None else value)


def _check_overrides(overrides: Mapping[str, Any], allowed: Sequence[str]) -> None:
    for name, value in overrides.items():
        require_override(name, value, allowed)
        require_number(name, value, low=0, high=LARGEST.get(name, math.inf))


SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="optimizer",
    name="numba_sgd",
    target="vicinal.backends.optimizer.numba_sgd:NumbaSgd",
    summary="Negative-sampling gradient descent on threads, the same bits for any number of them",
    params=NumbaSgdParams,
    capabilities=Capabilities(forms=FORMS, deterministic=True),
    cite=("McInnes, Healy & Melville 2018, arXiv:1802.03426",),
)
