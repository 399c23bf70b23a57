"""What a plan will take: memory and, once `vicinal warmup` has measured the machine, time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vicinal.contract.source import Source
from vicinal.kernels.processors import processors
from vicinal.plugin.report import BUILTIN_DISTRIBUTION

from .calibration import read_calibration
from .rows import is_sorted
from .units import MIB, shown_bytes, shown_seconds

if TYPE_CHECKING:
    from .plan import Choice, Plan

CODE = 130 * MIB
"""Bytes of libraries and compiled code that the first map of a process loads."""
CODE_KEY = "code"
"""Name of the seconds that loading it takes."""
EDGES_A_NEIGHBOR = 1.5
"""Edges of a symmetric graph for each neighbour of a table: 1, if all were mutual, to 2."""
CLUSTER = 256
"""Cells in a cluster of the knn backends."""
PRUNED_FROM = 10_000
"""Cells from which `exact` leaves out clusters."""
PRUNED = ("euclidean", "l2", "cosine")
"""The metrics by which it does."""
PAIRWISE = 2**30
"""Bytes of distances that scikit-learn, which has the other metrics, computes at a time."""
CHUNK = 50_000
"""Cells that are projected or placed at a time."""


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What a plan will take beyond the AnnData.

    Attributes
    ----------
    peak
        Bytes held at most.
    stage_peaks
        Bytes held at most while each stage works, with all that is alive then; ``sort`` is putting the rows in the
        order of their names.
    read
        Bytes of these that were taken when the plan was made: rows that the AnnData has in another form. Those in a
        temporary file are in neither: the system keeps of them what it has room for.
    seconds
        Of all stages, and of loading code as the first map of a process does; None without a calibration.
    stage_seconds
        Seconds by stage; ``code`` is the loading.
    unknown
        Backends that nothing is known of. They are left out, so that the whole is at least as forecast.
    """

    peak: int
    stage_peaks: Mapping[str, int]
    read: int
    seconds: float | None
    stage_seconds: Mapping[str, float]
    unknown: tuple[str, ...]

    def __str__(self) -> str:
        about = "at least" if self.unknown else "about"
        largest = max(self.stage_peaks, key=self.stage_peaks.__getitem__)
        parts = [f"{about} {shown_bytes(self.peak)} beyond the data (most in {largest})"]
        if self.seconds is None:
            parts.append("run `vicinal warmup` once for a forecast of time")
        else:
            slowest = sorted(self.stage_seconds.items(), key=lambda item: -item[1])[:3]
            stages = ", ".join(f"{stage} {shown_seconds(seconds)}" for stage, seconds in slowest)
            parts.append(f"{about} {shown_seconds(self.seconds)} ({stages})")
        if self.unknown:
            parts.append(f"unknown: {', '.join(self.unknown)}")
        return "; ".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Return the forecast as plain data."""
        return {
            "peak_bytes": self.peak,
            "stage_peak_bytes": dict(self.stage_peaks),
            "seconds": self.seconds,
            "stage_seconds": dict(self.stage_seconds),
            "unknown": list(self.unknown),
        }


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What costs depend on.

    Attributes
    ----------
    k
        Neighbours of a cell in the table, itself not counted.
    n_edges
        Stored edges, counted or expected.
    n_sample
        Cells of the maps made on the way.
    supervised
        Whether edges are weighed by labels.
    """

    n_obs: int
    n_features: int
    k: int
    n_components: int
    n_edges: int
    n_epochs: int
    n_jobs: int
    metric: str
    n_sample: int
    supervised: bool = False

    @property
    def rows(self) -> int:
        """Bytes of the representation."""
        return 4 * self.n_obs * self.n_features

    @property
    def table(self) -> int:
        """Bytes of a neighbour table."""
        return 8 * self.n_obs * self.k

    @property
    def graph(self) -> int:
        """Bytes of a graph."""
        return 8 * self.n_edges + 8 * self.n_obs

    @property
    def layout(self) -> int:
        """Bytes of a layout."""
        return 4 * self.n_obs * self.n_components

    @property
    def unit_rows(self) -> int:
        """Bytes of the rows of length 1 that cosine distances are taken between."""
        return self.rows if self.metric == "cosine" else 0

    @property
    def n_clusters(self) -> int:
        """Clusters that `ivf` puts the cells into."""
        return max(1, min(self.n_obs // CLUSTER, int(4 * self.n_obs**0.5)))


@dataclass(frozen=True)
class Cost:
    """What a built-in backend takes.

    Attributes
    ----------
    memory
        Bytes, its result included, beside what is alive before.
    work
        Work, in a unit whose seconds `vicinal warmup` measures in one thread.
    alone
        Share of the work that more threads do not make shorter.
    """

    memory: Callable[[Sizes, Any], float]
    work: Callable[[Sizes, Any], float]
    alone: float = 0.0

    def seconds(self, size: Sizes, params: Any, unit: float) -> float:
        """Return the seconds it takes where one unit takes ``unit``."""
        n_threads = max(1, min(size.n_jobs, processors()))
        return unit * self.work(size, params) * (self.alone + (1 - self.alone) / n_threads)


def _is_pruned(size: Sizes) -> bool:
    return size.n_obs >= PRUNED_FROM and size.metric in PRUNED


def _exact_memory(size: Sizes, params: Any) -> float:
    from vicinal.kernels.metrics import COORDINATES, SYNONYMS

    if _is_pruned(size):
        return 2.6 * size.rows + size.unit_rows + 1.5 * size.table + 40 * size.n_obs
    at_once = 0 if size.metric in (*COORDINATES, *SYNONYMS) else 3 * min(8 * size.n_obs**2, PAIRWISE)
    return size.rows + size.unit_rows + size.table + at_once


def _exact_work(size: Sizes, params: Any) -> float:
    # Of all pairs a share is left that falls with the number of cells, about by its root; the direct scan is slower.
    pairs = size.n_obs**1.5 * PRUNED_FROM**0.5 if _is_pruned(size) else 5 * size.n_obs**2
    return pairs * (size.n_features + 24)


def _ivf_memory(size: Sizes, params: Any) -> float:
    a_thread = 32 * CLUSTER * (4 * size.n_features + 8 * size.k + 16 * params.n_probe)
    return 2.2 * size.rows + size.unit_rows + 3.2 * size.table + 24 * size.n_obs + size.n_jobs * a_thread


def _ivf_work(size: Sizes, params: Any) -> float:
    searched = size.n_obs * (CLUSTER * (params.n_probe + 1) + size.n_clusters)
    return (searched + 384 * size.n_clusters**2) * (size.n_features + 24)


def _fuzzy_memory(size: Sizes, params: Any) -> float:
    table = 2 * size.table + 48 * size.n_obs  # gone before edges are weighed by labels
    return size.graph + max(table, _supervision_memory(size))


def _affinities_memory(size: Sizes, params: Any) -> float:
    # Rows and their transpose, but for the code that is loaded only after them and counted all the same.
    tables = 1.7 if _is_symmetric(params) else 0.7
    return size.graph + tables * size.table + 24 * size.n_obs


def _is_symmetric(params: Any) -> bool:
    return getattr(params, "symmetrize", True) not in (False, "none")


def _supervision_memory(size: Sizes) -> float:
    return 13 * size.n_edges if size.supervised else 0


def _precomputed_memory(size: Sizes, params: Any) -> float:
    return max(size.n_edges, _supervision_memory(size))


def _precomputed_work(size: Sizes, params: Any) -> float:
    return size.n_edges * (2 if size.supervised else 1)


def _spectral_memory(size: Sizes, params: Any) -> float:
    return 20 * size.n_edges + 512 * size.n_obs


def _pca_memory(size: Sizes, params: Any) -> float:
    return 16 * min(size.n_obs, CHUNK) * size.n_features + 7 * size.layout


def _sample_place_memory(size: Sizes, params: Any) -> float:
    queries = 4 * min(size.n_obs, CHUNK) * size.n_features
    return 32 * size.n_obs + 4 * size.layout + 4 * size.n_sample * size.n_features + queries


def _a_few_layouts(size: Sizes, params: Any) -> float:
    return 7 * size.layout


def _sgd_memory(size: Sizes, params: Any) -> float:
    return 6 * size.n_edges + 32 * size.n_obs + 4 * size.layout


def _sgd_work(size: Sizes, params: Any) -> float:
    from vicinal.backends.optimizer.numba_sgd import planned_passes

    passes = size.n_epochs * planned_passes(size.n_epochs, size.n_obs)
    return (passes + 3) * (size.n_edges + size.n_obs)  # laying out the edges takes as long as some passes


def _fft_memory(size: Sizes, params: Any) -> float:
    # The edges in order, moves and gains, and grids whose nodes are a few for each cell, however wide the map gets.
    return 8 * size.n_edges + 10 * size.layout + 400 * size.n_obs


def _fft_work(size: Sizes, params: Any) -> float:
    from vicinal.backends.optimizer.repulsion import MOST_OTHERS, takes_pairs

    others = min(size.n_obs, MOST_OTHERS) / 4 if takes_pairs(size.n_obs, size.n_components) else 60
    return (size.n_epochs + 20) * (size.n_edges + (20 + others) * size.n_obs)


def _score_memory(size: Sizes, params: Any) -> float:
    return size.rows + size.unit_rows + 2 * size.layout


def _linear(size: Sizes, params: Any) -> float:
    return size.n_obs


COSTS = {
    "knn exact": Cost(_exact_memory, _exact_work, 0.1),
    "knn ivf": Cost(_ivf_memory, _ivf_work, 0.1),
    "knn given": Cost(lambda size, _: 4 * size.table, lambda size, _: size.n_obs * size.k, 1.0),
    "graph fuzzy": Cost(_fuzzy_memory, lambda size, _: size.n_obs * size.k, 0.4),
    "graph perplexity": Cost(_affinities_memory, lambda size, _: size.n_obs * size.k, 0.2),
    "graph fixed_sigma": Cost(_affinities_memory, lambda size, _: size.n_obs * size.k, 0.4),
    "graph uniform": Cost(_affinities_memory, lambda size, _: size.n_obs * size.k, 0.4),
    "graph precomputed": Cost(_precomputed_memory, _precomputed_work, 1.0),
    "graph edgeless": Cost(lambda size, _: 0, _linear, 1.0),
    "init spectral": Cost(_spectral_memory, lambda size, _: size.n_edges + 8 * size.n_obs, 0.5),
    "init pca": Cost(_pca_memory, lambda size, _: size.n_obs * (size.n_features + 1) ** 2, 1.0),
    "init random": Cost(_a_few_layouts, _linear, 1.0),
    "init array": Cost(_a_few_layouts, _linear, 1.0),
    "init obsm": Cost(_a_few_layouts, _linear, 1.0),
    "init map": Cost(_a_few_layouts, _linear, 1.0),
    "init paga": Cost(_a_few_layouts, _linear, 1.0),
    "init sample_place": Cost(
        _sample_place_memory, lambda size, _: size.n_obs * (size.n_sample * (size.n_features + 16) + 1000), 0.1
    ),
    "optimizer numba_sgd": Cost(_sgd_memory, _sgd_work, 0.1),
    "optimizer numba_fft": Cost(_fft_memory, _fft_work, 0.2),
    "score": Cost(_score_memory, lambda size, _: size.n_obs * (size.n_features + 16), 0.2),
}
"""Of built-in backends; `benchmarks/forecast.py` compares with what is measured."""

SORTING = 16
"""Bytes an edge while a stored graph is put in the order of the cells' names."""


def forecast(plan: Plan, source: Source) -> Forecast:
    """Return what a plan will take."""
    size, stages, subs = sizes(plan, source), timed_stages(plan), [sub.forecast for sub in plan.sub_plans]
    known = {stage: cost for stage, choice in stages.items() if (cost := cost_of(choice, stage)) is not None}
    alive = _alive(plan, source, size)
    taken = {stage: cost.memory(size, stages[stage].params) for stage, cost in known.items()}
    inner = max((sub.peak - CODE for sub in subs if sub is not None), default=0)
    taken["init"] = max(taken.get("init", 0), inner)
    peaks = {stage: int(alive[stage] + taken.get(stage, 0)) for stage in ("sort", *stages)}
    seconds = _seconds(plan, size, known)
    return Forecast(
        peak=CODE + max(peaks.values()),
        stage_peaks=peaks,
        read=_read(source),
        seconds=sum(seconds.values()) if known.keys() <= seconds.keys() else None,
        stage_seconds=seconds,
        unknown=(
            *(f"{stage} {choice.full_name}" for stage, choice in stages.items() if stage not in known),
            *(name for sub in subs if sub is not None for name in sub.unknown),
        ),
    )


def _seconds(plan: Plan, size: Sizes, known: Mapping[str, Cost]) -> dict[str, float]:
    """Return the seconds of each stage whose unit is calibrated, and of loading code."""
    units, seconds, stages = read_calibration(), {}, timed_stages(plan)
    if CODE_KEY in units:
        seconds[CODE_KEY] = units[CODE_KEY]
    for stage, cost in known.items():
        unit = units.get(cost_key(stages[stage], stage))
        if unit is not None:
            seconds[stage] = cost.seconds(size, stages[stage].params, unit)
    for sub in plan.sub_plans:
        if "init" in seconds and sub.forecast is not None:
            inner = sub.forecast.stage_seconds
            seconds["init"] += sum(taken for stage, taken in inner.items() if stage != CODE_KEY)
    return seconds


def sizes(plan: Plan, source: Source) -> Sizes:
    """Return what the costs of a plan's stages depend on."""
    rows = source.representation
    k = (plan.n_neighbors or 1) - 1 if "knn" in plan.stages else 0
    return Sizes(
        n_obs=plan.n_obs,
        n_features=rows.values.shape[1] if rows is not None else 0,
        k=k,
        n_components=plan.n_components,
        n_edges=_n_edges(plan, source, k),
        n_epochs=_n_epochs(plan),
        n_jobs=plan.n_jobs,
        metric=plan.metric,
        n_sample=sum(sub.n_obs for sub in plan.sub_plans),
        supervised=plan.labels is not None and plan.stages["graph"].capabilities.supervised,
    )


def cost_key(choice: Choice, stage: str) -> str:
    """Return the name under which a stage's cost and the seconds of its unit are kept."""
    return stage if stage == "score" else f"{stage} {choice.name}"


def cost_of(choice: Choice, stage: str) -> Cost | None:
    """Return the cost of a backend; None for those of third parties, and those that no formula is known for."""
    return COSTS.get(cost_key(choice, stage)) if choice.distribution == BUILTIN_DISTRIBUTION else None


def timed_stages(plan: Plan) -> dict[str, Choice]:
    """Return the stages that take something; of the scores, which share their work, one."""
    stages = {stage: choice for stage, choice in plan.stages.items() if stage != "objective"}
    return {**stages, "score": plan.scores[0]} if plan.scores else stages


def _alive(plan: Plan, source: Source, size: Sizes) -> dict[str, int]:
    """Return the bytes that are alive while each stage works, beside its own."""
    sorts = _sorts(plan, source)
    rows = _read(source) + (_sorted_rows(source, size) if sorts else 0)
    has_stored = sorts and source.stored is not None and source.stored.graph is not None
    stored = size.graph if has_stored else 0
    is_made = size.supervised or plan.stages["graph"].name not in ("precomputed", "edgeless")
    graph = stored + (size.graph if is_made else 0)
    optimizer = plan.stages["optimizer"]
    cost = cost_of(optimizer, "optimizer")
    schedule = cost.memory(size, optimizer.params) if cost is not None else 0
    snapshots = len(plan.course.snapshots) * size.layout
    return {
        "sort": rows + (SORTING * size.n_edges if has_stored else 0),
        "knn": rows + stored,
        "graph": rows + stored + size.table,
        "init": rows + graph,
        "optimizer": rows + graph + snapshots,
        "score": int(rows + graph + snapshots + schedule),
    }


def _read(source: Source) -> int:
    found = source.representation
    return 0 if found is None or found.shared or found.spooled else found.values.nbytes


def _sorted_rows(source: Source, size: Sizes) -> int:
    """Return the bytes of the rows in another order, and of the order."""
    spooled = source.representation is not None and source.representation.spooled
    return (0 if spooled else size.rows) + 12 * size.n_obs


def _sorts(plan: Plan, source: Source) -> bool:
    """Tell whether rows will be copied in the order of their names, which is taken for unique here."""
    if source.names is None or any(choice.is_object for choice in plan.stages.values()):
        return False
    return not is_sorted(source.names)


def _n_edges(plan: Plan, source: Source, k: int) -> int:
    graph, stored = plan.stages["graph"], source.stored
    if graph.name == "edgeless":
        return 0
    if graph.name == "precomputed" and stored is not None and stored.graph is not None:
        return len(stored.graph.indices)
    share = EDGES_A_NEIGHBOR if _is_symmetric(graph.params) else 1.0
    return min(int(share * plan.n_obs * k), plan.n_obs * (plan.n_obs - 1))


def _n_epochs(plan: Plan) -> int:
    if plan.course.phases:
        return plan.course.phase_ends[-1]
    from vicinal.backends.optimizer.numba_sgd import planned_epochs

    return planned_epochs(getattr(plan.stages["optimizer"].params, "n_epochs", None), plan.n_obs)
