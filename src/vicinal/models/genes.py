"""From genes to components: what a model of a PCA carries, so that new cells can be given as genes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vicinal.contract.errors import ModelError, listing
from vicinal.kernels.network import apply_layers
from vicinal.kernels.processors import threads_for

from . import novelty
from .manifest import Manifest

RECORD = "genes"
"""Field of the manifest: the chain's names and what it was made from, or ``absent`` and why."""
LOADINGS, MEAN, OFFSET = ARRAYS = ("genes_loadings", "genes_mean", "genes_offset")


@dataclass(frozen=True, kw_only=True, eq=False)
class GeneChain:
    """Makes components of genes: ``(genes - mean) @ loadings + offset``.

    Attributes
    ----------
    names
        The genes that have a part in it.
    loadings
        float32 ``(n_genes, n_components)``.
    mean
        Of each gene over the reference cells, float32 ``(n_genes,)``; a missing gene is taken to have it.
    offset
        Mean of the reference cells' components, less what the model takes off these, float32 ``(n_components,)``: near
        0 where the PCA was centred and saw these cells and no others.
    saw
        ``slot`` (``X`` or a layer), ``log1p`` (``base``; None for no such record), ``target_sum`` where each cell adds
        up to one number before the logarithm, ``values`` (``integers``, ``min``, ``max`` of some cells), ``pca``
        (scanpy's record of its parameters), ``checked`` (``n_cells`` that were recomputed and the largest ``error``,
        as a share of the largest component).
    """

    names: tuple[str, ...]
    loadings: NDArray[np.float32]
    mean: NDArray[np.float32]
    offset: NDArray[np.float32]
    saw: Mapping[str, Any]

    @property
    def slot(self) -> str:
        """Where the genes are: ``X``, or a layer."""
        return str(self.saw["slot"])

    @property
    def weights(self) -> NDArray[np.float64]:
        """How much of the components each gene makes up: its share of the squared loadings."""
        squared = np.square(self.loadings, dtype=np.float64).sum(axis=1)
        return np.asarray(squared / squared.sum(), dtype=np.float64)

    def components(
        self, genes: NDArray[np.float32], present: NDArray[np.intp], n_jobs: int | None = None
    ) -> NDArray[np.float32]:
        """Return components, ``(n, n_components)``, each row to the bit a function of that row alone.

        Parameters
        ----------
        genes
            float32 ``(n, len(present))``.
        present
            Which of the chain's genes the columns are, ascending; the others are taken at their means.
        """
        loadings = self.loadings[present]
        # By the kernel too: a library's sum over genes has other bits on another machine.
        zero = summed(self.mean[None, present], loadings, np.zeros_like(self.offset), 1)[0]
        return summed(genes, loadings, self.offset - zero, n_jobs)

    def genes_of(
        self, components: NDArray[np.float32], present: NDArray[np.intp], n_jobs: int | None = None
    ) -> NDArray[np.float32]:
        """Return what components say of the genes that are present, ``(n, len(present))``, row by row too."""
        back = np.ascontiguousarray(self.loadings[present].T)
        zero = summed(self.offset[None], back, np.zeros(len(present), dtype=np.float32), 1)[0]
        return summed(components, back, self.mean[present] - zero, n_jobs)


def summed(
    rows: NDArray[np.float32], loadings: NDArray[np.float32], bias: NDArray[np.float32], n_jobs: int | None = None
) -> NDArray[np.float32]:
    """Return ``rows @ loadings + bias``, each row's sums in one order whatever comes with it."""
    layer = {"op": "dense", "weight": "weight", "bias": "bias", "activation": "none"}
    return apply_layers([layer], {"weight": loadings.T, "bias": bias}, rows, threads_for(n_jobs))


def pack(chain: GeneChain) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Return a chain as the record and the arrays that a model keeps."""
    arrays = {LOADINGS: chain.loadings, MEAN: chain.mean, OFFSET: chain.offset}
    return {"names": list(chain.names), **chain.saw}, arrays


def unpack(manifest: Manifest, arrays: Mapping[str, np.ndarray]) -> GeneChain | None:
    """Return the chain that a model carries, if it does."""
    if LOADINGS not in arrays:
        return None
    saw = {name: value for name, value in manifest.extra[RECORD].items() if name != "names"}
    names = tuple(manifest.extra[RECORD]["names"])
    return GeneChain(names=names, loadings=arrays[LOADINGS], mean=arrays[MEAN], offset=arrays[OFFSET], saw=saw)


def without_genes(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return a model's arrays but those of its chain."""
    return {name: array for name, array in arrays.items() if name not in (*ARRAYS, *novelty.ARRAYS)}


def check_genes(manifest: Manifest, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise `ModelError` unless a model carries a whole chain, or nothing of one."""
    there = [name for name in ARRAYS if name in arrays]
    record = manifest.extra.get(RECORD, {})
    if not isinstance(record, dict):
        raise ModelError(f"model.json: {RECORD!r} is a {type(record).__name__}, expected an object")
    novelty.check_novelty(arrays, len(arrays[MEAN]) if MEAN in there and arrays[MEAN].ndim else None)
    if not there:
        return
    if len(there) < len(ARRAYS) or manifest.representation is None:
        raise ModelError(f"from genes to components it needs {listing(ARRAYS)}; this one holds {listing(there)}")
    n_genes, n_components = _check_record(record), manifest.representation["n_features"]
    shapes = {LOADINGS: (n_genes, n_components), MEAN: (n_genes,), OFFSET: (n_components,)}
    for name, shape in shapes.items():
        array = arrays[name]
        if array.dtype != np.float32 or array.shape != shape:
            raise ModelError(
                f"array {name!r} has dtype {array.dtype} and shape {array.shape}; expected float32 {shape}"
            )
        if not np.isfinite(array).all():
            raise ModelError(f"array {name!r} holds {int((~np.isfinite(array)).sum())} values that are NaN or infinite")


def _check_record(record: Mapping[str, Any]) -> int:
    """Return how many genes a record names; raise `ModelError` unless it says what is needed to read them."""
    names = record.get("names")
    if not isinstance(names, list) or not names or not all(isinstance(name, str) for name in names):
        raise ModelError(f"model.json: {RECORD!r} names no genes")
    if len(set(names)) != len(names):
        raise ModelError(f"model.json: {RECORD!r} names some genes twice")
    kinds = {"slot": str, "log1p": (dict, type(None)), "target_sum": (int, float, type(None)), "values": dict}
    for name, kind in kinds.items():
        if name not in record or not isinstance(record[name], kind):  # type: ignore[arg-type]
            raise ModelError(f"model.json: {RECORD!r} says nothing that can be used of {name!r}")
    values = record["values"]
    if not all(isinstance(values.get(name), int | float) for name in ("integers", "min", "max")):
        raise ModelError(f"model.json: {RECORD!r} says nothing that can be used of 'values'")
    base = (record["log1p"] or {}).get("base")
    if base is not None and (not isinstance(base, int | float) or isinstance(base, bool) or base <= 1):
        raise ModelError(f"model.json: {RECORD!r} has a logarithm of base {base!r}")
    return len(names)
