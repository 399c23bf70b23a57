"""The slowest modes of a connected graph by its hierarchy, in work that is bounded."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from vicinal.kernels.multilevel import CompressedRows
from vicinal.kernels.parallel import workers

from .hierarchy import Block, Hierarchy

GUARDS = 5
WIDTH = 4  # of a block: its columns come in fours
COARSEST = 300
ANGLE = np.radians(0.1)
PASSING_ANGLE = np.radians(1.0)
STEPS, PASSING_STEPS = 40, 4
ACCEPTED_ENERGY = 1e-4  # relative to the last mode's
SAME = 1e-3  # eigenvalues nearer than this part of themselves count as one
INDEPENDENT = 1e-10
SMALLEST = 1e-15


def multilevel_modes(rows: CompressedRows, k: int, n_jobs: int = 1) -> Block | None:
    """Return the ``k`` first non-trivial solutions of ``L y = lambda D y``, slowest first; None if not found.

    From the smallest graph of the hierarchy to the graph itself, each level's modes start the next one's. Found are
    those within an angle of the true ones, or, where others are nearly as slow, with hardly more energy.
    """
    size = -(-(k + GUARDS) // WIDTH) * WIDTH
    with workers(n_jobs) as run:
        hierarchy = Hierarchy(rows, max(COARSEST, 20 * size), run)
        block = np.ascontiguousarray(hierarchy.coarsest_modes[:, :size])
        for depth in range(len(hierarchy.levels) - 2, -1, -1):
            block = hierarchy.prolonged(depth, block)
            angle, steps = (PASSING_ANGLE, PASSING_STEPS) if depth else (ANGLE, STEPS)
            block, found = _Iteration(hierarchy, depth, block).until(k, angle, steps)
    modes = np.empty((len(block), k))
    modes[hierarchy.order] = block[:, :k]
    return modes if found else None


class _Iteration:
    """Locally optimal block preconditioned conjugate gradients (Knyazev 2001, doi:10.1137/S1064827500366124).

    The trivial mode, constant, is taken out of every direction. Directions that depend on others are dropped.
    """

    def __init__(self, hierarchy: Hierarchy, depth: int, block: Block) -> None:
        self.hierarchy, self.depth = hierarchy, depth
        self.mass = hierarchy.levels[depth].mass
        self._center(block)
        self.parts, self.images = [block], [hierarchy.product(depth, block)]
        self.size = block.shape[1]
        self.values = self._rotate()

    def until(self, k: int, angle: float, most: int) -> tuple[Block, bool]:
        """Step until the first ``k`` are within an angle, or often enough; return all, and whether they are found."""
        for step in range(most + 1):
            residual = self._residual()
            direction = self.hierarchy.solve(self.depth, residual)
            self._center(direction)
            # About the sum of (value - last)^2 / value * share^2 over the other modes: at least gap^2 / after of each.
            energy = max(float((residual[:, :k] * direction[:, :k]).sum()), 0.0)
            last, after = max(self.values[k - 1], SMALLEST), self.values[k]
            gap = max(after - last, SAME * last, SMALLEST)
            within = np.sqrt(energy * (last + gap)) <= angle * gap
            if within or step == most:
                break
            self._step(direction)
        return self.parts[0], bool(within or energy <= ACCEPTED_ENERGY * last)

    def _step(self, direction: Block) -> None:
        self.parts = [*self.parts[:2], direction]
        self.images = [*self.images[:2], self.hierarchy.product(self.depth, direction)]
        self.values = self._rotate()

    def _residual(self) -> Block:
        block, image = self.parts[0], self.images[0]
        out = np.empty_like(block)

        def work(first: int, last: int) -> None:
            rows = slice(first, last)
            out[rows] = image[rows] - self.mass[rows, None] * block[rows] * self.values

        self.hierarchy.over_rows(len(block), work)
        return out

    def _rotate(self) -> NDArray[np.float64]:
        """Take the best block within the parts (Rayleigh and Ritz), and the move to it as second part."""
        masses, energies = self._products()
        values, turn = _lowest(masses, energies, self.size)
        move = turn.copy()
        move[: self.size] = 0
        both = np.hstack([turn, move])
        self.parts, self.images = self._combined(self.parts, both), self._combined(self.images, both)
        return values

    def _products(self) -> tuple[Block, Block]:
        n, width = len(self.mass), self.size * len(self.parts)
        masses, energies = {}, {}

        def work(first: int, last: int) -> None:
            rows = slice(first, last)
            parts = np.hstack([part[rows] for part in self.parts])
            masses[first] = parts.T @ (self.mass[rows, None] * parts)
            energies[first] = parts.T @ np.hstack([image[rows] for image in self.images])

        self.hierarchy.over_rows(n, work)
        ordered = sorted(masses)
        zero = np.zeros((width, width))
        return sum((masses[i] for i in ordered), zero), sum((energies[i] for i in ordered), zero)

    def _combined(self, parts: list[Block], turn: Block) -> list[Block]:
        n = len(self.mass)
        out = [parts[0], np.empty_like(parts[0]) if len(parts) < 2 else parts[1]]

        def work(first: int, last: int) -> None:
            rows = slice(first, last)
            both = np.hstack([part[rows] for part in parts]) @ turn
            out[0][rows], out[1][rows] = both[:, : self.size], both[:, self.size :]

        self.hierarchy.over_rows(n, work)
        return out

    def _center(self, block: Block) -> None:
        block -= (self.mass @ block) / self.mass.sum()


def _lowest(masses: Block, energies: Block, k: int) -> tuple[NDArray[np.float64], Block]:
    """Return the ``k`` smallest solutions of ``energies c = value masses c``, without directions nearly dependent."""
    lengths = np.sqrt(np.diag(masses))
    scale = np.divide(1.0, lengths, out=np.zeros_like(lengths), where=lengths > 0)
    masses = scale[:, None] * (masses + masses.T) / 2 * scale
    energies = scale[:, None] * (energies + energies.T) / 2 * scale
    weights, axes = np.linalg.eigh(masses)
    kept = weights > INDEPENDENT
    basis = axes[:, kept] / np.sqrt(weights[kept])
    values, vectors = np.linalg.eigh(basis.T @ energies @ basis)
    return values[:k], scale[:, None] * (basis @ vectors[:, :k])
