"""A connected graph made smaller and smaller, and its Laplacian solved approximately by way of the small ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vicinal.kernels import multilevel
from vicinal.kernels.multilevel import CompressedRows

DAMPING = 0.7
SMALLEST_CHUNK, LARGEST_CHUNK, CHUNKS = 1024, 8192, 8
THIN = 0.5  # edges of the next level, relative to this one's: up to so many, it is worth two visits

Block = NDArray[np.float64]
"""Float64 ``(n, m)``, a vector a column."""

Run = Callable[[Callable[[int, int], None], Sequence[int]], None]
"""Calls work on row ranges, as `kernels.parallel.workers` yields it."""


@dataclass(kw_only=True)
class Level:
    """A graph of the hierarchy.

    Attributes
    ----------
    rows
        The graph, symmetric and without diagonal.
    diagonal
        Sums of weights: the diagonal of its Laplacian.
    mass
        Degrees, of the original graph, of the vertices that each vertex stands for.
    firsts
        Where the vertices of each vertex begin in the next finer level; empty for the finest.
    """

    rows: CompressedRows
    diagonal: NDArray[np.float64]
    mass: NDArray[np.float64]
    firsts: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))

    @property
    def n(self) -> int:
        """Number of vertices."""
        return len(self.mass)

    @property
    def n_edges(self) -> int:
        """Number of stored edges, two a pair."""
        return len(self.rows[1])

    def normalised_laplacian(self) -> Block:
        """Return the dense Laplacian between roots of masses, the trivial eigenvalue moved from 0 to 2."""
        starts, indices, weights = self.rows
        root = np.sqrt(self.mass)
        adjacency = sparse.csr_matrix((weights, indices, starts), shape=(self.n, self.n)).toarray().astype(np.float64)
        laplacian = np.diag(self.diagonal) - (adjacency + adjacency.T) / 2
        trivial = root / np.linalg.norm(root)
        return laplacian / root[:, None] / root + 2 * np.outer(trivial, trivial)


class Hierarchy:
    """Levels from the graph itself to one of at most ``coarsest`` vertices, numbered so that groups lie together.

    Each is coarser by pairs, or pairs of pairs, along the heaviest edges; its Laplacian is the finer one's restricted
    to vectors constant on groups. `solve` is the cycle of Notay and Vassilevski (2008), doi:10.1002/nla.542, with two
    inner steps.

    Attributes
    ----------
    levels
        Finest first.
    order
        The graph's vertex that is each row of the finest level.
    """

    def __init__(self, rows: CompressedRows, coarsest: int, run: Run) -> None:
        self.run = run
        diagonal = multilevel.degrees(rows)
        levels, groupings = [Level(rows=rows, diagonal=diagonal, mass=diagonal)], []
        while levels[-1].n > coarsest:
            coarse, groups = _coarser(levels[-1], coarsest)
            levels.append(coarse)
            groupings.append(groups)
        self.levels, self.order = _numbered_by_group(levels, groupings)
        values, vectors = np.linalg.eigh(self.levels[-1].normalised_laplacian())
        modes = vectors / np.sqrt(self.levels[-1].mass)[:, None]
        self.coarsest_modes = modes
        self._inverse = (modes / np.maximum(values, np.finfo(float).eps)) @ modes.T

    def product(self, depth: int, block: Block) -> Block:
        """Return a level's Laplacian times a block."""
        level, out = self.levels[depth], np.empty_like(block)
        self.over_rows(level.n, lambda a, b: multilevel.laplacian(*level.rows, level.diagonal, block, out, a, b))
        return out

    def solve(self, depth: int, target: Block) -> Block:
        """Return a block that a level's Laplacian maps near the target, whose columns sum to zero."""
        if depth == len(self.levels) - 1:
            return self._inverse @ target
        level = self.levels[depth]
        block = (DAMPING / level.diagonal)[:, None] * target
        coarse = self._correction(depth + 1, self._restricted(depth, target - self.product(depth, block)))
        self._add_prolonged(depth, coarse, block)
        out = np.empty_like(block)

        def smooth(first: int, last: int) -> None:
            multilevel.jacobi(*level.rows, level.diagonal, target, DAMPING, block, out, first, last)

        self.over_rows(level.n, smooth)
        return out

    def prolonged(self, depth: int, coarse: Block) -> Block:
        """Return the block of a level that takes its vertices' values from the next coarser."""
        block = np.zeros((self.levels[depth].n, coarse.shape[1]))
        self._add_prolonged(depth, coarse, block)
        return block

    def over_rows(self, n_rows: int, work: Callable[[int, int], None]) -> None:
        """Call ``work(first, last)`` on ranges of rows that depend on their number alone."""
        chunk = min(max(n_rows // CHUNKS, SMALLEST_CHUNK), LARGEST_CHUNK)
        self.run(work, [*range(0, n_rows, chunk), n_rows])

    def _correction(self, depth: int, target: Block) -> Block:
        """Return what one or two visits to a coarse level give, each column as long as lowers its energy most."""
        first = self.solve(depth, target)
        if depth == len(self.levels) - 1 or self.levels[depth].n_edges > THIN * self.levels[depth - 1].n_edges:
            return first
        image = self.product(depth, first)
        energy = _dots(first, image)
        step = _ratio(_dots(first, target), energy)
        rest = target - step * image
        second = self.solve(depth, rest)
        second -= _ratio(_dots(second, image), energy) * first
        return step * first + _ratio(_dots(second, rest), _dots(second, self.product(depth, second))) * second

    def _restricted(self, depth: int, fine: Block) -> Block:
        firsts = self.levels[depth + 1].firsts
        coarse = np.empty((len(firsts) - 1, fine.shape[1]))
        self.over_rows(len(coarse), lambda a, b: multilevel.sum_groups(firsts, fine, coarse, a, b))
        return coarse

    def _add_prolonged(self, depth: int, coarse: Block, fine: Block) -> None:
        firsts = self.levels[depth + 1].firsts
        self.over_rows(len(coarse), lambda a, b: multilevel.add_to_groups(firsts, coarse, fine, a, b))


def _dots(one: Block, other: Block) -> NDArray[np.float64]:
    return np.einsum("ij,ij->j", one, other)


def _ratio(numerator: NDArray[np.float64], energy: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.divide(numerator, energy, out=np.zeros_like(energy), where=energy > np.finfo(float).tiny)


def _coarser(level: Level, coarsest: int) -> tuple[Level, NDArray[np.int32]]:
    """Return the next level, and the vertex of it that each vertex goes to.

    Pairs of pairs, unless pairs leave few edges: on trees they follow the slow modes far better.
    """
    groups, n_groups = multilevel.paired(level.rows)
    rows = multilevel.contracted(level.rows, groups, n_groups)
    if n_groups > coarsest and len(rows[1]) > THIN * level.n_edges:
        again, n_groups = multilevel.paired(rows)
        rows, groups = multilevel.contracted(rows, again, n_groups), again[groups]
    mass = np.bincount(groups, level.mass, minlength=n_groups).astype(np.float64, copy=False)
    return Level(rows=rows, diagonal=multilevel.degrees(rows), mass=mass), groups


def _numbered_by_group(
    levels: list[Level], groupings: list[NDArray[np.int32]]
) -> tuple[list[Level], NDArray[np.int32]]:
    """Return the levels with every group's vertices next to each other, and the finest one's order.

    What is joined then lies together in memory too, which is half the time of a product.
    """
    order = ranks = np.arange(levels[-1].n, dtype=np.int32)
    numbered = [levels[-1]]
    for level, groups in zip(levels[-2::-1], groupings[::-1], strict=True):
        firsts, order, ranks = multilevel.sorted_by_group(groups, ranks)
        numbered[-1].firsts = firsts
        rows = multilevel.renumbered(level.rows, order, ranks)
        numbered.append(Level(rows=rows, diagonal=level.diagonal[order], mass=level.mass[order]))
    return numbered[::-1], order
