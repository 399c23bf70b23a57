"""t-SNE's gradient descent in compiled kernels, repulsion by FFT, with the same bits for any number of threads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vicinal.backends.checks import require_number
from vicinal.contract.data import Graph, Layout
from vicinal.contract.errors import InputError, StageError
from vicinal.contract.requests import OptimizeRequest
from vicinal.contract.spec import API_VERSION, BackendSpec, Capabilities
from vicinal.contract.stages import NormalizedForm
from vicinal.kernels.parallel import workers

from .checks import check_sizes, require_epochs, require_epochs_left, require_override, require_places
from .repulsion import CELLS_A_PART, LOST, parts, repulsion_of, summed
from .schedule import read_only

FAMILY = "student_t"
N_EPOCHS, N_EPOCHS_EXAGGERATED = (475, 125), (750, 250)
"""Epochs by default, in all and of early exaggeration: the latter as large a share of fewer. With an exaggeration above
1 to the end, momentum does not grow, and they must be more."""
EARLY_EXAGGERATION = 12.0
MOMENTUM, MOMENTUM_SETTLED, SETTLING_EPOCHS = 0.8, 0.95, 100
"""The second moves cells as far in a quarter of the epochs, but throws them across others while a map still unfolds,
and a map with exaggeration does not come to rest with it: it is for after so many epochs of one factor up to 1."""
OVERRIDES = ("exaggeration", "learning_rate", "momentum", "max_step")
ARRANGED_AT = (0, 50, 150, 350, 600)
"""Epochs at which cells are put in the order of their places, and after that as often as the last two are apart."""
LOSS_POINTS = 20
SMALLEST = 1e-12
"""Extent of a layout that is no single point: forces in a smaller one vanish in float32."""
AUTO = "auto"


@dataclass(frozen=True, kw_only=True)
class NumbaFftParams:
    """Parameters of the optimiser.

    Attributes
    ----------
    n_epochs
        Steps in all, those of early exaggeration among them; None for 475, or 750 where ``exaggeration`` is above 1.
    early_exaggeration
        Factor of the attraction in the first 125 epochs, or 250 where ``exaggeration`` is above 1, of fewer epochs as
        large a share; None for 12, or ``exaggeration`` where that is more.
    exaggeration
        Factor of the attraction after that: 1 for t-SNE; of some 70,000 cells 4 is like UMAP (Boehm, Berens and Kobak
        2022, JMLR 23:95).
    learning_rate
        ``"auto"`` for the number of cells over the exaggeration (Belkina et al. 2019, doi:10.1038/s41467-019-13055-y),
        of a gradient without the factor 4, as openTSNE has it.
    momentum
        Share of the last move in the next one; ``"auto"`` for 0.8, and 0.95 once the exaggeration has been the same,
        and at most 1, for 100 epochs.
    max_step
        Longest move of a cell in an epoch, in units of the map; None for any.
    """

    n_epochs: int | None = None
    early_exaggeration: float | None = None
    exaggeration: float = 1.0
    learning_rate: float | str = AUTO
    momentum: float | str = AUTO
    max_step: float | None = 5.0

    def __post_init__(self) -> None:
        if self.n_epochs is not None:
            require_epochs(self.n_epochs)
        if self.early_exaggeration is not None:
            require_number("early_exaggeration", self.early_exaggeration, low=0, above=True)
        check_overrides({name: getattr(self, name) for name in OVERRIDES})


class NumbaFft:
    """t-SNE's optimisation (van der Maaten and Hinton 2008), with rates by Belkina et al. (2019).

    Attributes
    ----------
    overrides
        Parameters that can be replaced for some epochs.
    """

    overrides = OVERRIDES

    def __init__(self, params: NumbaFftParams) -> None:
        self.params = params

    @property
    def early_exaggeration(self) -> float:
        """The factor of early exaggeration, as given or by default."""
        given = self.params.early_exaggeration
        return float(max(EARLY_EXAGGERATION, self.params.exaggeration) if given is None else given)

    def check_overrides(self, overrides: Mapping[str, Any]) -> None:
        """Raise `InputError` unless all can be replaced, and by these values."""
        check_overrides(overrides)

    def schedule(self, n_obs: int) -> list[dict[str, Any]]:
        """Return the phases of a run in which the user names none."""
        n_epochs, exaggeration = planned_epochs(self.params), float(self.params.exaggeration)
        whole, most = default_epochs(exaggeration)
        early = min(most, n_epochs * most // whole)
        phases = [
            {"n": early, "exaggeration": self.early_exaggeration},
            {"n": n_epochs - early, "exaggeration": exaggeration},
        ]
        return [phase for phase in phases if phase["n"]]

    def start(self, request: OptimizeRequest) -> FftRun:
        """Return an optimisation that has not moved yet.

        Raises
        ------
        StageError
            If the objective's kernels are not of the family this optimiser has.
        InputError
            If the layout or the fixed cells do not fit the graph.
        """
        form = request.objective.form("normalized")
        if not isinstance(form, NormalizedForm) or form.family != FAMILY:
            problem = f"has kernels of the family {FAMILY!r}, not {getattr(form, 'family', type(form).__name__)!r}"
            raise StageError("optimizer", SPEC.name, f"{problem}; choose another objective or optimizer")
        check_sizes(request)
        require_places("the first layout", request.layout, smallest=SMALLEST)
        return FftRun(request, float(form.parameters[0]), self.params)


class State(NamedTuple):
    """All that changes, replaced as a whole, so that an interrupt finds what belongs together.

    Attributes
    ----------
    exaggeration
        That of the last epoch, NaN before any.
    n_steady
        Epochs in a row that had it.
    """

    epoch: int
    exaggeration: float
    n_steady: int
    order: NDArray[np.int32]
    places: Layout
    moves: NDArray[np.float32]
    gains: NDArray[np.float32]


class FftRun:
    """One optimisation under way; interrupted within an epoch, it stands at the end of the one before.

    Attributes
    ----------
    n_epochs
        Epochs planned.
    loss_points
        Epochs at which the loss is worth taking: each costs as much as an epoch.
    """

    loss_points = LOSS_POINTS

    def __init__(self, request: OptimizeRequest, dof: float, params: NumbaFftParams) -> None:
        graph, layout = request.graph, np.array(request.layout, dtype=np.float32, order="C")
        self.n_epochs = planned_epochs(params)
        self._params, self._dof, self._n_jobs = params, dof, request.n_jobs
        self._per_dof = np.float32(1 / dof)
        self._stays = np.zeros(graph.n_obs, dtype=bool) if request.fixed is None else np.asarray(request.fixed, bool)
        self._affinities = Affinities(graph)
        self._repulsion = repulsion_of(graph.n_obs, layout.shape[1], dof)
        order = np.arange(graph.n_obs, dtype=np.int32)
        self._now = State(0, math.nan, 0, order, layout, np.zeros_like(layout), np.ones_like(layout))
        self._pulls, self._field = np.zeros_like(layout), np.zeros_like(layout)
        self._spare: tuple[NDArray[np.float32], ...] = ()
        self._repelled: tuple[State, float] | None = None
        self._any_stay = bool(self._stays.any())

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return self._now.epoch

    @property
    def layout(self) -> Layout:
        """The present layout, a copy, float32 ``(n_obs, n_components)``."""
        return restored(self._now.places, self._now.order)

    def step(self, n_epochs: int, **overrides: Any) -> None:
        """Go on by some epochs.

        Parameters
        ----------
        n_epochs
            How many, at most those that are left.
        **overrides
            ``exaggeration``, ``learning_rate``, ``momentum`` or ``max_step`` for these epochs only.

        Raises
        ------
        InputError
            If fewer epochs are left, or an override is unknown or not allowed.
        """
        require_epochs_left(n_epochs, self.epoch, self.n_epochs)
        check_overrides(overrides)
        settings = {name: overrides.get(name, getattr(self._params, name)) for name in OVERRIDES}
        with workers(self._n_jobs) as run:
            for _ in range(n_epochs):
                self._arrange(run)
                self._go_to(self._after_one(run, **settings))

    def losses(self) -> Mapping[str, float]:
        """Return the divergence, whatever the exaggeration, and its parts ``attraction`` and ``repulsion``.

        With P the affinities and w the kernel: the sum of ``p (log p - log w)``, and the logarithm of the sum of w.
        """
        from vicinal.kernels.tsne import attraction_loss

        with workers(self._n_jobs) as run:
            self._arrange(run, anew=False)
            places, edges, total = self._now.places, self._affinities, self._repel(run)
            pulled = summed(lambda a, b: attraction_loss(*edges.rows, places, self._per_dof, a, b), edges.parts, run)
        attraction, repulsion = edges.entropy + self._dof * pulled, math.log(total) if total > 0 else 0.0
        return {"loss": attraction + repulsion, "attraction": attraction, "repulsion": repulsion}

    def state(self) -> Mapping[str, np.ndarray]:
        """Return all that changes, cells in the order of the graph, and the order they are worked on."""
        now = self._now
        moves, gains = restored(now.moves, now.order), restored(now.gains, now.order)
        steady = np.array([now.exaggeration, now.n_steady])
        return {"layout": self.layout, "moves": moves, "gains": gains, "order": now.order, "steady": steady}

    def restore(self, state: Mapping[str, np.ndarray], epoch: int) -> None:
        """Take up a state that `state` gave at an epoch.

        Raises
        ------
        InputError
            If the state is not one of this optimisation.
        """
        shape, order = self._now.places.shape, np.asarray(state.get("order", ()))
        found = [np.asarray(state.get(name, ()), dtype=np.float32) for name in ("layout", "moves", "gains")]
        steady = np.asarray(state.get("steady", (math.nan, 0)), dtype=np.float64)
        whole = order.shape == shape[:1] and (np.sort(order) == np.arange(shape[0])).all()
        fits = whole and steady.shape == (2,) and all(part.shape == shape for part in found)
        if not fits or not 0 <= epoch <= self.n_epochs:
            given = f"arrays of shapes {[part.shape for part in found]} and {order.shape} at epoch {epoch}"
            expected = f"{shape}, an order of {shape[0]} cells, and an epoch up to {self.n_epochs}"
            raise InputError(f"state={given} is not allowed; expected {expected}")
        require_places("the layout of the state", found[0], smallest=SMALLEST)
        order = order.astype(np.int32)
        self._now = State(int(epoch), float(steady[0]), int(steady[1]), order, *(part[order] for part in found))

    def _arrange(self, run: Callable[..., None], *, anew: bool = True) -> None:
        """Put the cells in the order of their places where it is time to, and the edges in that of the cells."""
        now = self._now
        if anew and _is_arranged_at(now.epoch) and len(now.places) > 1:
            by_place = morton_order(now.places)
            self._now = now = now._replace(
                order=now.order[by_place],
                places=now.places[by_place],
                moves=now.moves[by_place],
                gains=now.gains[by_place],
            )
        self._affinities.arrange(now.order, run)

    def _after_one(
        self,
        run: Callable[..., None],
        exaggeration: float,
        learning_rate: float | str,
        momentum: float | str,
        max_step: float | None,
    ) -> State:
        """Return where one step leads."""
        from vicinal.kernels.tsne import attract, descend, keep_mean

        now, edges = self._now, self._affinities
        total = self._repel(run)
        run(lambda a, b: attract(*edges.rows, now.places, self._per_dof, self._pulls, a, b), edges.parts)
        rate = np.float32(len(now.places) / exaggeration if learning_rate == AUTO else learning_rate)
        pulled, pushed = np.float32(exaggeration), np.float32(0.5 / total if total > 0 else 0)
        n_steady = now.n_steady if exaggeration == now.exaggeration else 0
        momentum = _momentum(momentum, exaggeration, n_steady)
        share, longest = np.float32(momentum), np.float32(math.inf if max_step is None else max_step)
        places, moves, gains = self._take_spare()
        stays = self._stays[now.order] if self._any_stay else self._stays

        def move(start: int, stop: int) -> None:
            descend(
                now.places,
                now.moves,
                now.gains,
                self._pulls,
                self._field,
                stays,
                pulled,
                pushed,
                rate,
                share,
                longest,
                places,
                moves,
                gains,
                start,
                stop,
            )

        run(move, edges.parts)
        if not self._any_stay:
            keep_mean(places, now.places)
        return State(now.epoch + 1, float(exaggeration), n_steady + 1, now.order, places, moves, gains)

    def _repel(self, run: Callable[..., None]) -> float:
        """Write the field at the cells, and return the sum of the kernel; known already where the loss was taken."""
        now = self._now
        if self._repelled is None or self._repelled[0] is not now:
            self._repelled = None
            total = self._repulsion.evaluate(now.places, self._field, now.epoch, run)
            if not math.isfinite(total):
                raise InputError(LOST)
            self._repelled = (now, total)
        return self._repelled[1]

    def _go_to(self, state: State) -> None:
        """Take a state; the arrays of the one before serve the next, since fresh memory costs as much as a step."""
        before, self._now = self._now, state
        self._spare = (before.places, before.moves, before.gains)

    def _take_spare(self) -> tuple[NDArray[np.float32], ...]:
        """Return room for places, moves and gains that no state holds, not after an interrupt either."""
        spare, self._spare = self._spare, ()
        return spare or tuple(np.empty_like(self._now.places) for _ in range(3))


class Affinities:
    """A graph whose weights sum to 1, its cells in an order that changes.

    Attributes
    ----------
    rows
        Where each cell's edges start, where they end up, and what they weigh.
    parts
        Edges of the parts that cells are worked on in, with about as many edges each.
    entropy
        Sum of ``p log p``, natural logarithms.
    """

    def __init__(self, graph: Graph) -> None:
        self._given = (
            read_only(graph.indptr, np.int64),
            read_only(graph.indices, np.int32),
            read_only(graph.weights, np.float32),
        )
        self._order: NDArray[np.int32] | None = None
        total = float(graph.weights.sum(dtype=np.float64))
        self._scale = np.float32(1 / total if total > 0 else 0)
        self.rows = (
            np.zeros(graph.n_obs + 1, dtype=np.int64),
            np.empty(len(graph.indices), dtype=np.uint32),
            np.empty(len(graph.indices), dtype=np.float32),
        )
        self._whole = parts(graph.n_obs, graph.n_obs // CELLS_A_PART)
        self.parts = self._whole
        self.entropy = self._entropy(total)

    def _entropy(self, total: float) -> float:
        from vicinal.kernels.tsne import entropy

        weights, scale = self._given[2], 1 / total if total > 0 else 0.0
        return entropy(weights, scale)

    def arrange(self, order: NDArray[np.int32], run: Callable[..., None]) -> None:
        """Put the cells in an order."""
        if self._order is order:
            return
        from vicinal.kernels.tsne import arrange

        self._order = None  # an interrupt must not leave half of it for the whole
        (indptr, indices, weights), (starts, ends, shares) = self._given, self.rows
        rank = np.empty(len(order), dtype=np.uint32)
        rank[order] = np.arange(len(order), dtype=np.uint32)
        np.cumsum(np.diff(indptr)[order], out=starts[1:])

        def write(start: int, stop: int) -> None:
            arrange(indptr, indices, weights, self._scale, order, rank, starts, ends, shares, start, stop)

        run(write, self._whole)
        wanted = np.linspace(0, starts[-1], len(self._whole))
        self.parts = np.unique([0, *np.searchsorted(starts, wanted[1:-1]), len(order)])
        self._order = order


def morton_order(places: Layout) -> NDArray[np.int64]:
    """Return the order of the cells along a curve that keeps near places near (Morton 1966): bits in turn."""
    low, extent = places.min(axis=0), np.ptp(places, axis=0).max()
    n_bits = 30 // places.shape[1]
    scale = (2**n_bits - 1) / extent if extent > SMALLEST else 0  # below, it would be infinite
    cells = ((places - low) * scale).astype(np.int64)
    codes = np.zeros(len(places), dtype=np.int64)
    for bit in range(n_bits):
        for axis in range(places.shape[1]):
            codes |= (cells[:, axis] >> bit & 1) << (bit * places.shape[1] + axis)
    return np.argsort(codes, kind="stable")


def restored(values: NDArray[np.float32], order: NDArray[np.int32]) -> NDArray[np.float32]:
    """Return rows that were put in an order as they were before."""
    before = np.empty_like(values)
    before[order] = values
    return before


def planned_epochs(params: NumbaFftParams) -> int:
    """Return the epochs of a map where the user may have left them open."""
    return default_epochs(params.exaggeration)[0] if params.n_epochs is None else int(params.n_epochs)


def default_epochs(exaggeration: float) -> tuple[int, int]:
    """Return how many epochs there are by default, in all and of early exaggeration."""
    return N_EPOCHS if exaggeration <= 1 else N_EPOCHS_EXAGGERATED


def check_overrides(overrides: Mapping[str, Any]) -> None:
    """Raise `InputError` unless all can be replaced for some epochs, and by these values."""
    for name, value in overrides.items():
        require_override(name, value, OVERRIDES)
        is_auto = name in ("learning_rate", "momentum") and isinstance(value, str) and value == AUTO
        if is_auto or (name == "max_step" and value is None):
            continue
        if name == "momentum":
            require_number(name, value, low=0, high=1)
        else:
            require_number(name, value, low=0, above=True)


def _momentum(given: float | str, exaggeration: float, n_steady: int) -> float:
    """Return the momentum of an epoch after so many of the same exaggeration."""
    if given != AUTO:
        return float(given)
    return MOMENTUM_SETTLED if exaggeration <= 1 and n_steady >= SETTLING_EPOCHS else MOMENTUM


def _is_arranged_at(epoch: int) -> bool:
    last, before = ARRANGED_AT[-1], ARRANGED_AT[-2]
    return epoch in ARRANGED_AT or (epoch > last and (epoch - last) % (last - before) == 0)


SPEC = BackendSpec(
    api_version=API_VERSION,
    stage="optimizer",
    name="numba_fft",
    target="vicinal.backends.optimizer.numba_fft:NumbaFft",
    summary="t-SNE's gradient descent, repulsion by FFT, the same bits for any number of threads",
    params=NumbaFftParams,
    capabilities=Capabilities(forms=("normalized",), n_components=(1, 3), deterministic=True),
    cite=(
        "van der Maaten & Hinton 2008, JMLR 9:2579",
        "Linderman, Rachh, Hoskins, Steinerberger & Kluger 2019, doi:10.1038/s41592-018-0308-4",
        "Kobak & Berens 2019, doi:10.1038/s41467-019-13056-x",
    ),
)
