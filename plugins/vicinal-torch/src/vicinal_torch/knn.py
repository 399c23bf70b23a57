"""Exact nearest neighbours by torch: products in float32 propose them, differences in float64 decide.

All rows are compared by matrix products, tile by tile. Of each row a few more candidates are kept than are wanted, and
ordered by sums of squared differences of the rows as they were given, ties by index. What the products may have rounded
is bounded; a row of which a neighbour could have escaped is searched again with more candidates, in the end with all.
So the table is that of comparing all pairs in float64, and a function of each row and the reference alone: neither the
batch, the tiles, the number of threads nor the device has a part in it.
"""

from __future__ import annotations

import numbers
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
from numpy.typing import NDArray

from vicinal.api import MISSING, BackendSpec, Capabilities, InputError, KnnRequest, Neighbors

from .devices import choose_device, full_precision, threads, tile_bytes

if TYPE_CHECKING:
    import torch

    Array = TypeVar("Array", torch.Tensor, np.ndarray)

METRICS = ("euclidean", "l2", "cosine")
SPARE = 6
"""Candidates beyond those wanted, the row itself among them."""
WIDER = 4
"""Times as many candidates where those that were kept leave a doubt."""
GROUP = 32
"""Points of which the nearest is looked at first."""
ROWS, ROWS_ON_CPU = 2048, 128
"""Rows that are compared with a tile of the reference at a time; wide tiles leave less to merge."""
AT_ONCE = 65_536
"""Rows of the reference prepared at a time."""
MIDDLE = 1000
"""Rows, about, that decide where the middle is."""
ONE_AT_A_TIME = threading.Lock()
"""Precision and threads are settings of the whole process: a second search would find those of the first."""
FAR = 1e12
"""Coordinates, in sizes of the reference, beyond which products may leave the range of float32."""


@dataclass(frozen=True, kw_only=True)
class TorchKnnParams:
    """Parameters of `torch`.

    Attributes
    ----------
    device
        Where to search: ``auto`` (CUDA, else MPS, else the CPU), ``cpu``, ``cuda``, ``cuda:1`` and so on, ``mps``.
    tile_rows
        Rows that are compared with the reference at a time; None for what suits the device. Changes no result.
    """

    device: str = "auto"
    tile_rows: int | None = None


SPEC = BackendSpec(
    api_version=1,
    stage="knn",
    name="torch",
    target="vicinal_torch.knn:TorchKnn",
    summary="Exact, by matrix products on a GPU or the CPU; euclidean, cosine",
    params=TorchKnnParams,
    capabilities=Capabilities(
        inputs=("representation",),
        metrics=METRICS,
        deterministic=True,
        out_of_sample=True,
        devices=("cpu", "cuda", "mps"),
    ),
    requires=("torch",),
    install="pip install plugins/vicinal-torch, in a checkout of vicinal",
)


class TorchKnn:
    """Finds what comparing every row with every other in float64 finds; ties go to the smaller index."""

    def __init__(self, params: TorchKnnParams) -> None:
        rows = params.tile_rows
        if rows is not None and (not isinstance(rows, numbers.Integral) or isinstance(rows, bool) or rows < 1):
            raise InputError(f"tile_rows={rows!r} is not allowed; give a positive integer, or None for the default")
        self.params = params

    def build(self, request: KnnRequest) -> TorchIndex:
        """Return an index over ``request.representation``.

        Raises
        ------
        InputError
            If the metric is not among those it has, or the device is not there.
        """
        self.check_metric(request.metric, request.metric_function)
        return TorchIndex(request, self.params)

    def check_metric(self, metric: str, function: Callable[..., float] | None = None) -> None:
        """Raise `InputError` for a function, or a metric that it does not have."""
        if function is None and metric in METRICS:
            return
        problem = "is unknown to" if function is None else "is a function, which cannot be used by"
        msg = f"metric={metric!r} {problem} knn='torch'; allowed are {', '.join(map(repr, METRICS))}"
        raise InputError(f"{msg}. Give knn='exact' or knn='pynndescent' for others")


class TorchIndex:
    """Reference rows on a device.

    `query` is a function of each row alone, on every device: the batch changes how products round, but not what
    they may leave out, and what decides is computed for each pair by itself.
    """

    def __init__(self, request: KnnRequest, params: TorchKnnParams) -> None:
        assert request.representation is not None
        self._rows, self._k, self._n_jobs = request.representation, request.k, request.n_jobs
        self._metric, self._cosine = request.metric, request.metric == "cosine"
        self._device = choose_device(params.device)
        self._tile_rows = None if params.tile_rows is None else int(params.tile_rows)
        self._reference = self._pack(self._k + 1)

    def neighbors(self) -> Neighbors:
        """Return the neighbours of the reference rows among themselves."""
        return self._search(self._rows, self._k, own=np.arange(len(self._rows)))

    def query(self, rows: NDArray[np.float32], k: int) -> Neighbors:
        """Return the ``k`` reference rows nearest to each of ``rows``."""
        n_features = self._rows.shape[1]
        if rows.ndim != 2 or rows.shape[1] != n_features:
            msg = f"rows has shape {rows.shape}; give (n_rows, {n_features}), as the reference has {n_features} columns"
            raise InputError(msg)
        if k > self._reference.copies:
            self._reference = self._pack(k)
        return self._search(rows, k, own=np.full(len(rows), MISSING))

    def _pack(self, copies: int) -> Reference:
        return Reference.pack(self._rows, copies, cosine=self._cosine, device=self._device)

    def _search(self, rows: NDArray[np.float32], k: int, own: NDArray[np.integer]) -> Neighbors:
        """Search for all rows, and again with more candidates for those that leave a doubt."""
        table = Neighbors(
            indices=np.full((len(rows), k), MISSING, np.int32),
            distances=np.full((len(rows), k), np.inf, np.float32),
            metric=self._metric,
        )
        todo, width = np.arange(len(rows) if k else 0), k + SPARE
        with self._workers() as pool:
            while len(todo):
                todo = self._pass(pool, rows, own, todo, width, table)
                width *= WIDER
        return table

    @contextmanager
    def _workers(self) -> Iterator[ThreadPoolExecutor]:
        """Give threads that use one thread of torch each.

        Where torch divides an operation itself, all of its threads wait for the last one. Threads of our own also
        start without the caller's autocast.
        """
        n_workers = max(self._n_jobs, 1) if self._device.type == "cpu" else 1
        with ONE_AT_A_TIME, threads(1), full_precision(), ThreadPoolExecutor(n_workers) as pool:
            yield pool

    def _pass(
        self,
        pool: ThreadPoolExecutor,
        rows: NDArray[np.float32],
        own: NDArray[np.integer],
        todo: NDArray[np.intp],
        width: int,
        table: Neighbors,
    ) -> NDArray[np.intp]:
        """Fill the lines ``todo`` of a table from ``width`` candidates each; return those that leave a doubt."""
        reference, room = self._reference, tile_bytes(self._device)
        width = min(width, reference.n_rows)

        def fill(part: slice) -> NDArray[np.intp]:
            which = todo[part]
            queries = reference.frame.place(rows[which])
            candidates, reach = reference.propose(queries, width, room)
            sums, positions = reference.settle(queries, candidates, own[which], table.k, room)
            reference.write(sums, positions, which, table)
            return which[~reference.is_sure(queries, sums, reach)]

        usual = ROWS_ON_CPU if self._device.type == "cpu" else ROWS
        at_once = min(self._tile_rows or usual, max(1, room // (64 * width)))
        return np.concatenate(list(pool.map(fill, _parts(len(todo), at_once))))


@dataclass(frozen=True)
class Queries:
    """Rows that search.

    Attributes
    ----------
    points
        float64 ``(m, n_columns)``: as they decide.
    factors
        float32 ``(m, n_columns + 1)``: scaled, as they are multiplied; the last column is 1.
    squares
        float64 ``(m,)``: squared lengths when scaled.
    """

    points: NDArray[np.float64]
    factors: NDArray[np.float32]
    squares: NDArray[np.float64]


@dataclass(frozen=True)
class Frame:
    """Coordinates in which products round little: around the middle of the reference, none of them beyond 1.

    Attributes
    ----------
    middle
        float64 ``(n_columns,)``. A median, since a mean would be far from most rows where a few are far off.
    scale
        A power of two, so that it rounds nothing.
    cosine
        Whether rows are first given length 1.
    """

    middle: NDArray[np.float64]
    scale: float
    cosine: bool

    @classmethod
    def around(cls, points: NDArray[np.floating], *, cosine: bool) -> Frame:
        """Return the frame of the reference."""
        middle = np.median(points[:: len(points) // MIDDLE + 1].astype(np.float64), axis=0)
        high, low = points.max(axis=0) - middle, middle - points.min(axis=0)
        size = np.maximum(high, low).max(initial=0)
        return cls(middle, float(np.ldexp(1.0, -int(np.frexp(size)[1]))), cosine)

    def scaled(self, points: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return points in these coordinates."""
        return (points.astype(np.float64) - self.middle) * self.scale

    def factors(self, points: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return what queries are multiplied with.

        The products are half the squared distances, less half the squared length of the query, which they all lack.
        """
        factors = np.empty((len(points), points.shape[1] + 1), np.float32)
        for part in _parts(len(points), AT_ONCE):
            factors[part, :-1] = -self.scaled(points[part])
            factors[part, -1] = squared_lengths(factors[part, :-1]) / 2
        return factors

    def place(self, rows: NDArray[np.float32]) -> Queries:
        """Return rows as queries."""
        points = unit_rows(rows) if self.cosine else rows.astype(np.float64)
        scaled = self.scaled(points)
        # Rows too far for products stand in the middle: no product there is as large as their distances, which tells.
        scaled[np.abs(scaled).max(axis=1) > FAR] = 0
        factors = np.ones((len(points), points.shape[1] + 1), np.float32)
        factors[:, :-1] = scaled
        return Queries(points, factors, squared_lengths(factors[:, :-1]))


@dataclass(frozen=True)
class Reference:
    """Reference rows as they are searched.

    Attributes
    ----------
    copies
        Of rows that are equal at least so many are kept, those with the smallest indices.
    kept
        int32 ``(n_rows,)``: which rows they are, rising.
    frame
        Coordinates of the products.
    points
        ``(n_rows, n_columns)``, float32 as they were given, or float64 of length 1; on a device that has float64.
    factors
        float32 ``(n_rows, n_columns + 1)``: what queries are multiplied with, on the device that does it.
    """

    copies: int
    kept: NDArray[np.int32]
    frame: Frame
    points: torch.Tensor
    factors: torch.Tensor

    @property
    def n_rows(self) -> int:
        """Number of rows kept."""
        return len(self.kept)

    @classmethod
    def pack(cls, rows: NDArray[np.float32], copies: int, *, cosine: bool, device: torch.device) -> Reference:
        """Put rows on a device."""
        import torch

        kept = few_equal(rows, copies)
        rows = rows[kept] if len(kept) < len(rows) else rows
        points = unit_rows(rows) if cosine else rows
        frame = Frame.around(points, cosine=cosine)
        exact = torch.device("cpu") if device.type == "mps" else device
        factors = torch.tensor(frame.factors(points), device=device)
        return cls(copies, kept, frame, torch.tensor(points, device=exact), factors)

    def propose(self, queries: Queries, width: int, room: int) -> tuple[torch.Tensor, NDArray[np.float64]]:
        """Return positions of ``width`` near rows of each query, and the squared distance of all others at least.

        The distance is in the frame, from products that may have rounded; infinite where there are no others.
        """
        import torch

        n = len(queries.points)
        if width == self.n_rows:
            everyone = torch.arange(width, device=self.points.device)
            return everyone.expand(n, width), np.full(n, np.inf)
        factors = torch.tensor(queries.factors, device=self.factors.device)
        scores, positions = self._scan(factors, width, tile=max(GROUP, room // (4 * n)))
        worst = scores.amax(1).cpu().numpy().astype(np.float64)
        return positions.to(self.points.device), 2 * worst + queries.squares

    def _scan(self, factors: torch.Tensor, width: int, tile: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the ``width`` smallest products of each query, and whose they are, from tiles of the reference."""
        import torch

        scores, positions = factors[:, :0], torch.empty((len(factors), 0), dtype=torch.int64, device=factors.device)
        for part in _parts(self.n_rows, tile):
            every = factors @ self.factors[part].T
            found = nearest_columns(every, width)
            scores = torch.cat([scores, every.gather(1, found)], 1)
            positions = torch.cat([positions, found + part.start], 1)
            scores, order = scores.topk(min(width, scores.shape[1]), largest=False, sorted=False)
            positions = positions.gather(1, order)
        return scores, positions

    def settle(
        self, queries: Queries, positions: torch.Tensor, own: NDArray[np.integer], k: int, room: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the ``k`` smallest sums of squared differences, rising, and whose they are; ties by position."""
        import torch

        device = self.points.device
        positions = positions.sort(1).values
        sums = self._sums(torch.tensor(queries.points, device=device), positions, room)
        of_own = torch.tensor(self._position(own), device=device)[:, None]
        sums[positions == of_own] = torch.inf
        sums, order = sums.sort(dim=1, stable=True)
        return sums[:, :k].cpu().numpy(), positions.gather(1, order[:, :k]).cpu().numpy()

    def _position(self, rows: NDArray[np.integer]) -> NDArray[np.int64]:
        """Return where rows stand among those kept, -1 for those that do not."""
        at = np.searchsorted(self.kept, rows)
        return np.where(self.kept[np.minimum(at, self.n_rows - 1)] == rows, at, -1)

    def _sums(self, points: torch.Tensor, positions: torch.Tensor, room: int) -> torch.Tensor:
        n, width = positions.shape
        n_columns = points.shape[1]
        sums = points.new_empty((n, width))
        for part in _parts(width, max(1, room // (16 * n * n_columns))):
            near = self.points.index_select(0, positions[:, part].reshape(-1)).double()
            differences = near.view(n, -1, n_columns).sub_(points[:, None])
            sums[:, part] = sum_in_order(differences.mul_(differences))
        return sums

    def is_sure(self, queries: Queries, sums: NDArray[np.float64], reach: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return whether no row but the candidates can be a neighbour.

        The product of two float32 vectors of n numbers rounds by at most n units of 2^-24 of the product of their
        lengths, in whatever order it is summed, and what scaling rounds adds a few. Were a row left out that is as
        near as the last neighbour, it would be no longer than the query and that distance together.
        """
        n_columns = self.frame.middle.shape[0]
        error = 1.1 * (n_columns + 8) * 2.0**-24
        smallest = n_columns * 2.0**-120  # far above all that is lost where small products become 0
        most = sums[:, -1] * self.frame.scale**2
        lengths = 2 * np.sqrt(queries.squares) + np.sqrt(most)
        return (reach > most * (1 + error) + error * lengths**2 + smallest) | (reach == np.inf)

    def write(
        self, sums: NDArray[np.float64], positions: NDArray[np.int64], which: NDArray[np.intp], table: Neighbors
    ) -> None:
        """Fill lines of a table."""
        with np.errstate(over="ignore"):
            distances = (sums / 2 if self.frame.cosine else np.sqrt(sums)).astype(np.float32)
        n = distances.shape[1]
        table.distances[which, :n] = distances
        table.indices[which, :n] = np.where(np.isinf(distances), MISSING, self.kept[positions])


def nearest_columns(scores: torch.Tensor, width: int) -> torch.Tensor:
    """Return the columns of the ``width`` smallest scores of each row, in no order.

    They are all in the groups of columns that have the smallest minima: finding those takes one sweep of vector
    instructions, and what is then sorted is small.
    """
    import torch

    n_rows, n_columns = scores.shape
    n_groups = n_columns // GROUP
    if n_groups <= 2 * width:
        return scores.topk(min(width, n_columns), largest=False, sorted=False).indices
    grouped = scores[:, : n_groups * GROUP].unflatten(1, (GROUP, n_groups))
    groups = grouped.amin(1).topk(width, largest=False, sorted=False).indices
    inside = n_groups * torch.arange(GROUP, device=scores.device)
    rest = torch.arange(n_groups * GROUP, n_columns, device=scores.device).expand(n_rows, -1)
    columns = torch.cat([(groups[:, :, None] + inside).flatten(1), rest], 1)
    return columns.gather(1, scores.gather(1, columns).topk(width, largest=False, sorted=False).indices)


def few_equal(rows: NDArray[np.float32], copies: int) -> NDArray[np.int32]:
    """Return, rising, all rows that have fewer than ``copies`` equals before them.

    The others are no row's neighbours, as ties go to the smaller index; scores of equal rows would leave them in doubt.
    """
    whole = np.ascontiguousarray(rows + np.float32(0)).view(f"V{4 * rows.shape[1]}")[:, 0]  # -0 becomes 0
    _, group, sizes = np.unique(whole, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    earlier = np.empty(len(rows), np.intp)
    earlier[order] = np.arange(len(rows)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.flatnonzero(earlier < copies).astype(np.int32)


def unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return rows divided by their lengths; one more column is 1 for rows of zeros, which have no direction, else 0.

    The squared distance of two such rows is twice their cosine distance. Rows of zeros equal one another, and are
    at 1 from all others, as the built-in backends have it.
    """
    unit = np.empty((len(rows), rows.shape[1] + 1))
    for part in _parts(len(rows), AT_ONCE):
        unit[part, :-1] = rows[part]
        unit[part, -1] = ~rows[part].any(axis=1)
        unit[part] /= np.sqrt(sum_in_order(unit[part] ** 2))[:, None]
    return unit


def squared_lengths(rows: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return the squared length of each row."""
    return np.einsum("ij,ij->i", rows, rows, dtype=np.float64)


def sum_in_order(terms: Array) -> Array:
    """Return sums over the last axis, which is used up: the far half is added to the near one until one is left.

    Each addition is one of two arrays, so that their order depends on nothing but the number of terms.
    """
    n = terms.shape[-1]
    while n > 1:
        n, half = n - n // 2, n // 2
        terms[..., :half] += terms[..., n : n + half]
    return terms[..., 0]


def _parts(n: int, size: int) -> Iterator[slice]:
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))
