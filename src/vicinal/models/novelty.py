"""How strange known cells look to a PCA that has not seen them: what new cells, given as genes, are compared with."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.errors import ModelError, listing
from vicinal.contract.seeds import child_seed, generator

from . import strangers

if TYPE_CHECKING:
    from .genes import GeneChain

SCORES, VARIANCES = ARRAYS = ("novelty_scores", "novelty_variances")
N_FOLDS, N_FOLDS_OF_FEW, FEW = 5, 20, 1_000
"""Parts of the cells, each left out of a PCA once; of few cells, a PCA of a fifth less fits those that much closer."""
MOST_OFTEN = 2
"""Times the level at which known cells may be flagged where few were asked; a bound for the warning, of one trial."""
MOST_BYTES = 2**28
"""Of the genes of the cells that take part."""
N_POWER, N_OVERSAMPLED = 4, 20
"""Of the randomized PCA (Halko, Martinsson and Tropp 2011, SIAM Review 53:217)."""
LEAST_VARIANCE = 0.01
"""Quantile of the genes' residual variances: smaller ones are taken to be this one."""
WEIGHTS = (0.5, 0.25, 0.25)
"""Shares of the level that neighbours, residuals and clipped residuals are given."""
MOST_OF_A_GENE = 50.0
"""Squared residual, in variances, that a gene is clipped to: one gene of a few cells is then not all that counts."""
CENTRED, ORTHONORMAL = 1e-3, 1e-2
"""How far a mean may be from 0, in root mean squares, and products of loadings from those of the unit matrix."""

logger = logging.getLogger("vicinal")


@dataclass(frozen=True, eq=False)
class Calibration:
    """Scores of known cells, each by a PCA and neighbours that it had no part in.

    Attributes
    ----------
    scores
        float32 ``(n, 3)``: distances to neighbours as `vicinal.models.strangers.score` has them, and the two of
        `residuals`.
    variances
        float32 ``(n_genes,)``: of what the components leave of each gene.
    """

    scores: NDArray[np.float32]
    variances: NDArray[np.float32]

    def p_values(self, near: NDArray[np.float32], off: NDArray[np.float32] | None) -> NDArray[np.float64]:
        """Return the share of known cells that are at least as strange, the cell itself counted among them.

        The p-values of the scores, each divided by its weight, are combined by their minimum (Genovese, Roeder and
        Wasserman 2006, Biometrika 93:509). That is ranked among the known cells' own, so it holds however the scores
        depend on each other.

        Parameters
        ----------
        near
            float32 ``(n,)``.
        off
            float32 ``(n, 2)``; None where the genes are not known.
        """
        if off is None:
            return _ranked(self.scores[:, 0], near)
        return _ranked(-self._smallest(self.scores), -self._smallest(np.column_stack([near, off])))

    def _smallest(self, scores: NDArray[np.float32]) -> NDArray[np.float64]:
        weighted = [
            _ranked(known, new) / weight for known, new, weight in zip(self.scores.T, scores.T, WEIGHTS, strict=True)
        ]
        return np.asarray(np.min(weighted, axis=0), dtype=np.float64)


def _ranked(known: np.ndarray, new: np.ndarray) -> NDArray[np.float64]:
    n_as_far = len(known) - np.searchsorted(np.sort(known), new, side="left")
    return np.asarray((1 + n_as_far) / (len(known) + 1), dtype=np.float64)


def residuals(
    chain: GeneChain,
    variances: NDArray[np.float32],
    genes: NDArray[np.float32],
    components: NDArray[np.float32],
    present: NDArray[np.intp],
    n_jobs: int | None = None,
) -> NDArray[np.float32]:
    """Return how far cells lie off the components: what these leave of the genes, squared, in its variances.

    Returns
    -------
    float32 ``(n, 2)``: means over the genes that are there, of all and of clipped values; each row to the bit a
    function of that row alone.
    """
    from .genes import summed

    squares = np.square(genes - chain.genes_of(components, present, n_jobs)) / variances[present]
    each, none = np.full((len(present), 1), 1 / len(present), dtype=np.float32), np.zeros(1, dtype=np.float32)
    return np.hstack([summed(values, each, none, n_jobs) for values in (squares, np.minimum(squares, MOST_OF_A_GENE))])


def warn_of_few(n_reference: int, level: float) -> None:
    """Warn where so few reference cells were asked that more known cells than stated may be flagged."""
    if n_reference < FEW:
        msg = "%d reference cells tell which cells are strangers; below %s, up to %.3g of known cells may be flagged"
        logger.warning(f"{msg} at stranger_level=%g", n_reference, f"{FEW:,}", min(1.0, MOST_OFTEN * level), level)


def saw_these_alone(chain: GeneChain, rows: NDArray[np.float32]) -> bool:
    """Tell whether a PCA was made of these cells and no others, and its loadings are orthonormal.

    Of a PCA that saw new cells too, known ones that were left out would look stranger than those.
    """
    spread = float(np.sqrt(np.square(rows, dtype=np.float64).sum(axis=1).mean()))
    products = chain.loadings.T.astype(np.float64) @ chain.loadings
    is_orthonormal = np.abs(products - np.eye(len(products))).max() <= ORTHONORMAL
    return bool(np.linalg.norm(chain.offset) <= CENTRED * spread and is_orthonormal)


def n_asked(n_reference: int, n_genes: int) -> int:
    """Return how many cells take part: a fold less is as many as new cells are compared with."""
    most = min(n_reference, strangers.AT_MOST) * N_FOLDS // (N_FOLDS - 1)
    return min(most, MOST_BYTES // (4 * n_genes))


def suffice(n_cells: int, n_components: int) -> bool:
    """Tell whether a PCA of all folds but one has components that say something of the last."""
    return n_cells >= max(2 * strangers.AT_LEAST, 3 * n_components)


def calibrate(genes: NDArray[np.float32], n_components: int, metric: str, *, n_jobs: int) -> Calibration:
    """Return what `cross_fit` does, which is remembered by the digest of the values."""
    digest = hashlib.sha256(np.ascontiguousarray(genes).data).digest()
    return _remembered(_Asked(digest, genes.shape, n_components, metric, genes, n_jobs))


@dataclass(frozen=True)
class _Asked:
    digest: bytes
    shape: tuple[int, ...]
    n_components: int
    metric: str
    genes: NDArray[np.float32] = field(compare=False)
    n_jobs: int = field(compare=False)


@lru_cache(maxsize=1)
def _remembered(asked: _Asked) -> Calibration:
    return cross_fit(asked.genes, asked.n_components, asked.metric, n_jobs=asked.n_jobs)


def cross_fit(genes: NDArray[np.float32], n_components: int, metric: str, *, n_jobs: int) -> Calibration:
    """Score each part of the cells in a PCA, and by neighbours, of the others.

    Parameters
    ----------
    genes
        float32 ``(n, n_genes)``, finite.
    """
    n_folds = N_FOLDS if len(genes) >= FEW else N_FOLDS_OF_FEW
    folds = generator(child_seed(0, "novelty_folds")).permutation(len(genes)) % n_folds
    near, squares = np.empty(len(genes), dtype=np.float32), np.empty_like(genes)
    for fold in range(n_folds):
        left_out = folds == fold
        mean, loadings = _pca(genes[~left_out], n_components)
        known, new = (genes[~left_out] - mean) @ loadings, (genes[left_out] - mean) @ loadings
        around = strangers.learn(known, metric, n_jobs=n_jobs, ranked=False)
        near[left_out] = strangers.score(around, new, n_jobs=n_jobs)
        squares[left_out] = np.square(genes[left_out] - mean - new @ loadings.T)
    variances = squares.mean(axis=0, dtype=np.float64)
    least = max(float(np.quantile(variances, LEAST_VARIANCE)), float(np.finfo(np.float32).tiny))
    variances = np.maximum(variances, least).astype(np.float32)
    squares /= variances
    off = [values.mean(axis=1, dtype=np.float64) for values in (squares, np.minimum(squares, MOST_OF_A_GENE))]
    return Calibration(np.column_stack([near, *off]).astype(np.float32), variances)


def _pca(genes: NDArray[np.float32], n_components: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the means of genes, and the loadings of a randomized PCA."""
    from threadpoolctl import threadpool_limits

    mean = genes.mean(axis=0, dtype=np.float64).astype(np.float32)
    centred, n_genes = genes - mean, genes.shape[1]
    n_drawn = min(n_components + N_OVERSAMPLED, *genes.shape)
    draws = generator(child_seed(0, "novelty_pca")).standard_normal((n_genes, n_drawn))
    with threadpool_limits(1, user_api="blas"):  # sums in one order
        basis = draws.astype(np.float32)
        for _ in range(N_POWER + 1):
            cells, _ = np.linalg.qr(centred @ basis)
            basis, _ = np.linalg.qr(centred.T @ cells)
        _, _, turns = np.linalg.svd(centred @ basis, full_matrices=False)
    return mean, np.ascontiguousarray((basis @ turns.T)[:, :n_components], dtype=np.float32)


def pack(calibration: Calibration) -> dict[str, np.ndarray]:
    """Return the arrays that a model keeps."""
    return {SCORES: calibration.scores, VARIANCES: calibration.variances}


def unpack(arrays: Mapping[str, np.ndarray]) -> Calibration | None:
    """Return the calibration that a model keeps, if it does."""
    return Calibration(arrays[SCORES], arrays[VARIANCES]) if SCORES in arrays else None


def check_novelty(arrays: Mapping[str, np.ndarray], n_genes: int | None) -> None:
    """Raise `ModelError` unless a model keeps a whole calibration for its genes, or nothing of one."""
    there = [name for name in ARRAYS if name in arrays]
    if not there:
        return
    if len(there) < len(ARRAYS) or n_genes is None:
        raise ModelError(f"{listing(ARRAYS)} go together, and with a PCA; this one holds {listing(there)}")
    shapes = {SCORES: (len(arrays[SCORES]) if arrays[SCORES].ndim else 0, len(WEIGHTS)), VARIANCES: (n_genes,)}
    for name, shape in shapes.items():
        array = arrays[name]
        if array.dtype != np.float32 or array.shape != shape or len(array) == 0:
            raise ModelError(
                f"array {name!r} has dtype {array.dtype} and shape {array.shape}; expected float32 {shape}"
            )
    # Scores may be infinite: float32 holds no distance so large.
    if np.isnan(arrays[SCORES]).any() or not (np.isfinite(arrays[VARIANCES]) & (arrays[VARIANCES] > 0)).all():
        raise ModelError(f"{listing(ARRAYS)} hold NaN, or variances that are not above 0 and finite")
