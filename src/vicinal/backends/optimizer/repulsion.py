"""The sum of t-SNE's kernel over all pairs and its gradient: pair by pair, or as a convolution on a grid.

On the grid every cell is a charge, spread by cubic B-splines; the potential is the charges convolved with the kernel,
whose spectrum is divided by the squared one of the splines, since these smooth it twice, when they spread and when
they are read (particle-mesh methods: Hockney and Eastwood 1988, chapter 5). One transform there and one back give the
potential and, by the slopes of the splines, its gradient. Interpolation by FFT is from Linderman, Rachh, Hoskins,
Steinerberger and Kluger 2019, doi:10.1038/s41592-018-0308-4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.data import FARTHEST, Layout
from vicinal.contract.errors import InputError

PAIRS_UP_TO = 4000
"""Cells up to which all pairs take less time than the transforms. In three dimensions it is pairs alone: a grid as fine
as is needed has too many nodes."""
MOST_OTHERS = 20_000
"""Cells that others are paired with in an epoch: beyond, evenly spaced ones of the order the cells are worked on in."""
GOLDEN = (math.sqrt(5) - 1) / 2
FINEST, WIDEST = 0.15, 0.355
"""Widths of an interval of the grid. The kernel falls over a distance of 1 whatever the extent of the map, so the error
of the gradient depends on the width: `benchmarks/tsne.py gradient`."""
NARROWEST = 1e-8
"""One over it, and its square beside 1, are still numbers that are something in the precision they are taken in."""
WIDENING = 1.12
"""Ratio of one width to the next: with few of them, a spectrum serves for many steps."""
FEWEST_INTERVALS = 48
"""Across a map that is small beside the kernel: forces are small there, and so must errors be."""
MOST_NODES = {1: 1 << 22, 2: 4096}
"""Of one dimension, by the number of dimensions; beyond it intervals widen, whatever the error."""
INTERVALS = {1: 4096, 2: 192}
"""Across the map up to which intervals are kept as fine as they can be."""
MARGIN, BEYOND = 1.5, 7
"""Intervals below the first cell, and nodes of a dimension besides the intervals that the cells are in."""
APART = 16
"""Nodes, an even number, that are left between copies of the map: the splines reach over some."""
STEP = 16
"""Numbers of nodes are multiples of it, so that they change rarely."""
MOST_PARTS = 8
"""Of the cells, each of which has a grid of its own, and of a transform: not by the number of threads, so that sums do
not depend on it."""
CELLS_A_PART, PAIRS_A_PART, NODES_A_PART = 2000, 2_000_000, 200_000
"""What is worth a part: less takes as long to hand to a thread as to do."""
LOST = "cells have left the map for infinity; give a smaller learning_rate, or a max_step"

Run = Callable[[Callable[[int, int], None], Sequence[int] | np.ndarray], None]


class Repulsion(Protocol):
    """What repels."""

    def evaluate(self, places: Layout, gradient: NDArray[np.float32], epoch: int, run: Run) -> float:
        """Write the gradient of each cell's sum of the kernel over the others; return the sum over all pairs."""


def repulsion_of(n_obs: int, n_components: int, dof: float) -> Repulsion:
    """Return what takes less time for so many cells."""
    return Pairs(n_obs, dof) if takes_pairs(n_obs, n_components) else Grid(n_obs, n_components, dof)


def takes_pairs(n_obs: int, n_components: int) -> bool:
    """Return whether pairs are taken, of all cells or of a sample, and no grid."""
    return n_obs <= PAIRS_UP_TO or n_components > 2


class Pairs:
    """Every cell against every other, or against a sample of them that differs from epoch to epoch.

    Evenly spaced cells of an order that keeps near places near are spread as the cells are.
    """

    def __init__(self, n_obs: int, dof: float, most: int = MOST_OTHERS) -> None:
        self._n_obs, self._n_others = n_obs, min(n_obs, most)
        self._dof = np.float32(dof)
        self._parts = parts(n_obs, n_obs * self._n_others // PAIRS_A_PART)

    def evaluate(self, places: Layout, gradient: NDArray[np.float32], epoch: int, run: Run) -> float:
        """Write the gradient of each cell's sum of the kernel over the others; return the sum over all pairs."""
        from vicinal.kernels.tsne import repel, repel_tailed

        if not np.abs(places).max(initial=0) <= FARTHEST:  # NaN is not, either
            raise InputError(LOST)
        others = np.zeros((3, self._n_others), dtype=np.float32)
        others[: places.shape[1]] = places[self._drawn(epoch)].T

        def work(start: int, stop: int) -> float:
            if self._dof == 1:
                return repel(places, others, gradient, start, stop)
            return repel_tailed(places, others, self._dof, gradient, start, stop)

        total = summed(work, self._parts, run)
        each = self._n_obs / self._n_others
        if each > 1:
            gradient *= np.float32(each)
        return total * each - self._n_obs  # less each cell's own

    def _drawn(self, epoch: int) -> NDArray[np.intp]:
        start = epoch * GOLDEN % 1
        return ((np.arange(self._n_others) + start) * (self._n_obs / self._n_others)).astype(np.intp)


@dataclass(frozen=True)
class Box:
    """Where the grid lies: its first node, the width of an interval, and its nodes along each dimension."""

    low: NDArray[np.float32]
    width: float
    shape: tuple[int, ...]

    @classmethod
    def around(cls, places: Layout) -> Box:
        """Return one that holds the cells, with widths and numbers of nodes of which there are few.

        Raises
        ------
        InputError
            If a place is not finite: there is no node for it.
        """
        from vicinal.kernels.tsne import survey

        n_components = places.shape[1]
        low, high = np.empty(n_components, dtype=np.float32), np.empty(n_components, dtype=np.float32)
        if not survey(places, low, high):
            raise InputError(LOST)
        low, high = low.astype(np.float64), high.astype(np.float64)
        if max(-low.min(), high.max()) > FARTHEST:
            raise InputError(LOST)
        width = _width(float((high - low).max()), n_components)
        n_nodes = np.floor((high - low) / width).astype(int) + BEYOND
        shape = tuple(-(-int(n) // STEP) * STEP for n in n_nodes)
        if n_components == 1:  # a grid of one row
            shape = (1, *shape)
        return cls((low - MARGIN * width).astype(np.float32), width, shape)


def _width(extent: float, n_components: int) -> float:
    """Return the width of an interval, a power of `WIDENING` times the finest."""
    coarse, fine = extent / INTERVALS[n_components], extent / FEWEST_INTERVALS
    width = FINEST
    if coarse > FINEST:
        width = min(FINEST * WIDENING ** math.ceil(math.log(coarse / FINEST, WIDENING)), WIDEST)
    elif 0 < fine < FINEST:
        width = FINEST * WIDENING ** math.floor(math.log(fine / FINEST, WIDENING))
    return max(width, NARROWEST, extent / (MOST_NODES[n_components] - BEYOND - STEP))


class Grid:
    """The cells as charges on a grid."""

    def __init__(self, n_obs: int, n_components: int, dof: float) -> None:
        self._n_obs, self._n_components, self._dof = n_obs, n_components, dof
        self._parts = parts(n_obs, n_obs // CELLS_A_PART)
        self._spectrum: KernelSpectrum | None = None
        self._room = np.zeros(0, dtype=np.float32)

    def evaluate(self, places: Layout, gradient: NDArray[np.float32], epoch: int, run: Run) -> float:
        """Write the gradient of each cell's sum of the kernel over the others; return the sum over all pairs."""
        from vicinal.kernels import field

        box = Box.around(places)
        spectrum = self._spectrum_for(box)
        gather = getattr(field, f"gather_{self._n_components}d")
        per_unit = np.float32(1 / box.width)
        self._spread(places, box, spectrum.charges, run)
        potential = spectrum.convolve(run)
        own = spectrum.own
        total = summed(lambda a, b: gather(places, box.low, per_unit, potential, gradient, own, a, b), self._parts, run)
        return total + self._n_obs * spectrum.offset(self._n_obs - 1)

    def _spread(self, places: Layout, box: Box, charges: NDArray[np.float32], run: Run) -> None:
        """Write the charge of each node."""
        from vicinal.kernels import field

        spread = getattr(field, f"spread_{self._n_components}d")
        per_unit, n_parts = np.float32(1 / box.width), len(self._parts) - 1
        room = self._take_room(n_parts * math.prod(box.shape))
        grids = room[: n_parts * math.prod(box.shape)].reshape(n_parts, *box.shape)
        rows = np.zeros((n_parts, 2), dtype=np.int64)

        def spread_parts(first: int, last: int) -> None:
            for part in range(first, last):
                start, stop = self._parts[part : part + 2]
                rows[part] = spread(places, box.low, per_unit, grids[part], int(start), int(stop))

        run(spread_parts, range(n_parts + 1))
        flat, lines = grids.reshape(n_parts, box.shape[0], -1), charges.reshape(box.shape[0], -1)
        run(lambda a, b: field.merge(flat, rows, lines, a, b), parts(box.shape[0], charges.size // NODES_A_PART))
        self._room = room

    def _take_room(self, size: int) -> NDArray[np.float32]:
        """Return room for grids, which `merge` leaves empty; it is given back then, and not after an interrupt."""
        room, self._room = self._room, np.zeros(0, dtype=np.float32)
        return room if room.size >= size else np.zeros(size, dtype=np.float32)

    def _spectrum_for(self, box: Box) -> KernelSpectrum:
        if self._spectrum is None or (self._spectrum.width, self._spectrum.shape) != (box.width, box.shape):
            self._spectrum = KernelSpectrum(box.width, box.shape, self._dof)
        return self._spectrum


class KernelSpectrum:
    """The kernel on a grid, transformed; without its mean, which is beyond float32 beside the rest in a small map.

    Attributes
    ----------
    charges
        What is to be convolved with it.
    own
        The mean of what a charge adds to the potential where it is itself, and how far that swings along a dimension.
    """

    def __init__(self, width: float, shape: tuple[int, ...], dof: float) -> None:
        from scipy import fft

        self.width, self.shape = width, shape
        # Even numbers: half a period then says all, of the kernel as of its transform.
        half = tuple(0 if n == 1 else fft.next_fast_len(n + APART // 2, real=True) for n in shape)
        self._padded = tuple(2 * n or 1 for n in half)
        squared, smoothing = np.zeros(1), np.ones(1)
        for axis, n in enumerate(half):
            along = [1] * len(shape)
            along[axis] = -1
            nodes = np.arange(n + 1)
            squared = squared + np.square(nodes * width).reshape(along)
            if n > 0:
                smoothing = smoothing * ((2 + np.cos(np.pi * nodes / n)) / 3).reshape(along)
        kernel = 1 / (1 + squared / dof) if dof == 1 else (1 + squared / dof) ** -dof
        axes = tuple(axis for axis, n in enumerate(half) if n > 0)
        values = fft.dctn(kernel, type=1, axes=axes) / np.square(smoothing)
        self._mean = float(values.flat[0]) / math.prod(self._padded)
        values.flat[0] = 0
        self.own = _own(values, half)
        self._values = values.astype(np.float32)[_there_and_back(half[0])]
        # Kept from step to step: fresh memory costs as much as a transform.
        self._lines = np.empty((shape[0], *self._values.shape[1:]), dtype=np.complex64)
        self._potential = np.empty(shape, dtype=np.float32)
        self.charges = np.empty(shape, dtype=np.float32)

    def offset(self, n_charges: int) -> float:
        """Return what so many charges add to the potential anywhere by the mean of the kernel."""
        return n_charges * self._mean

    def convolve(self, run: Run) -> NDArray[np.float32]:
        """Return the potential of the charges on their grid, but for its `offset`; the next one takes its place.

        Rows are transformed where there are any, and lines across them; parts of either at a time.
        """
        from scipy import fft

        across, trailing = self._padded[0], self._padded[1:]
        axes, n_rows = tuple(range(1, len(self.shape))), self.shape[0]
        lines, potential, charges = self._lines, self._potential, self.charges
        flat, spectrum = lines.reshape(n_rows, -1), self._values.reshape(across, -1)
        within = (slice(None), *(slice(n) for n in self.shape[1:]))

        def forward(start: int, stop: int) -> None:
            lines[start:stop] = fft.rfftn(charges[start:stop], s=trailing, axes=axes)

        def multiply(start: int, stop: int) -> None:
            part = fft.fft(flat[:, start:stop], n=across, axis=0)
            part *= spectrum[:, start:stop]
            flat[:, start:stop] = fft.ifft(part, axis=0, overwrite_x=True)[:n_rows]

        def backward(start: int, stop: int) -> None:
            potential[start:stop] = fft.irfftn(lines[start:stop], s=trailing, axes=axes)[within]

        n_parts = math.prod(self._padded) // NODES_A_PART
        for work, n in ((forward, n_rows), (multiply, flat.shape[1]), (backward, n_rows)):
            run(work, parts(n, n_parts))
        return potential


def _own(values: NDArray[np.float64], half: Sequence[int]) -> NDArray[np.float32]:
    """Return the mean and the swing of a charge's own potential as it moves from node to node.

    A spline's transform at a frequency is a sum over its aliases, of which the m-th turns m times from node to node
    (Hockney and Eastwood 1988, chapter 5): of the squared sum, terms of equal m stay and neighbours turn once.
    """
    mean = swing = values
    for axis, n in reversed([*enumerate(half)]):
        if n > 0:
            nodes = np.arange(n + 1)
            aliases = np.sinc(nodes / (2 * n) + np.arange(-3, 4)[:, None]) ** 4
            counts = np.where(nodes % n == 0, 1, 2) / (2 * n)  # both halves of a period, but for its ends
            stays, turns = np.square(aliases).sum(axis=0), 2 * (aliases[1:] * aliases[:-1]).sum(axis=0)
            swing = swing @ (counts * (turns if axis == len(half) - 1 else stays))
            mean = mean @ (counts * stays)
        else:
            mean, swing = mean[0], swing[0]
    return np.array([mean, swing], dtype=np.float32)


def _there_and_back(half: int) -> NDArray[np.intp]:
    """Return where each frequency of a period is in its first half."""
    nodes = np.arange(max(2 * half, 1))
    return np.minimum(nodes, 2 * half - nodes)


def parts(n: int, n_parts: int) -> NDArray[Any]:
    """Return the edges of the parts that ``n`` things are worked on in, at least one and at most `MOST_PARTS`."""
    return np.unique(np.linspace(0, n, min(max(n_parts, 1), MOST_PARTS) + 1).astype(int))


def summed(work: Callable[[int, int], float], edges: NDArray[Any], run: Run) -> float:
    """Return the sum of what work returns for each part, in the order of the parts."""
    found: dict[int, float] = {}

    def keep(start: int, stop: int) -> None:
        found[start] = work(start, stop)

    run(keep, edges)
    return sum(found[int(start)] for start in edges[:-1])
