"""What the training of networks reads besides the cells: places that some should have, cells not to train on."""

from __future__ import annotations

import numbers
from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np
from numpy.typing import NDArray

from vicinal.contract.errors import InputError, did_you_mean, listing
from vicinal.contract.options import EmbedOptions
from vicinal.contract.source import Representation

from .dense import dense_values
from .model import read_representation_like
from .read import check_adata, has_slot, param_of


def read_training_arrays(
    adata: ad.AnnData, options: EmbedOptions, representation: Representation | None
) -> dict[str, np.ndarray]:
    """Return ``landmark_positions``, ``validation`` and ``validation_rows``, those that parameters name.

    Raises
    ------
    InputError
        If one has the wrong shape, or values that cannot be used.
    """
    arrays: dict[str, np.ndarray] = {}
    positions = param_of(options.params, "landmark_positions")
    if positions is not None:
        arrays["landmark_positions"] = _positions(adata, positions, options.n_components)
    validation = param_of(options.params, "validation")
    if validation is not None and not isinstance(validation, numbers.Real | str):
        arrays |= _validation(adata, validation, representation)
    return arrays


def _positions(adata: ad.AnnData, given: Any, n_components: int) -> NDArray[np.float32]:
    name = "landmark_positions"
    if isinstance(given, str):
        keys = [key for key in (given, f"X_{given}") if key in adata.obsm]
        if not keys:
            hint = did_you_mean(given, adata.obsm)
            raise InputError(f"{name}={given!r} is not in adata.obsm; it has {listing(adata.obsm)}.{hint}")
        name, given = f"{name}={given!r}", adata.obsm[keys[0]]
    positions = _as_array(name, given)
    if positions.dtype.kind not in "fiu" or positions.shape != (adata.n_obs, n_components):
        shown = f"{positions.dtype} {positions.shape}"
        raise InputError(
            f"{name} is {shown}; expected numbers {(adata.n_obs, n_components)}, NaN where a cell has none"
        )
    missing = np.isnan(positions.astype(np.float64))
    partly = int((missing.any(axis=1) & ~missing.all(axis=1)).sum())
    if partly or np.isinf(positions).any() or missing.all():
        wanted = "each cell has a finite place or NaN in all dimensions, and at least one has a place"
        raise InputError(f"{name}: {partly} cells have NaN in some dimensions; see that {wanted}")
    return np.ascontiguousarray(positions, dtype=np.float32)


def _validation(adata: ad.AnnData, given: Any, representation: Representation | None) -> dict[str, np.ndarray]:
    if isinstance(given, ad.AnnData):
        return {"validation_rows": _rows_of(given, adata, representation)}
    values = _as_array("validation", given)
    if values.ndim == 2:
        return {"validation_rows": dense_values(_fitting(values, representation), "validation")}
    if values.dtype != bool or values.shape != (adata.n_obs,):
        wanted = f"a boolean mask {(adata.n_obs,)}, rows (m, n_features), a share of the cells, or an AnnData"
        raise InputError(f"validation is {values.dtype} {values.shape}; expected {wanted}")
    return {"validation": values}


def _as_array(name: str, given: Any) -> NDArray[Any]:
    try:
        return np.asarray(given)
    except ValueError as error:  # rows of different lengths
        raise InputError(f"{name} is no array: {error}") from error


def _rows_of(others: ad.AnnData, adata: ad.AnnData, representation: Representation | None) -> NDArray[np.float32]:
    """Return the rows of other cells in the map's representation, its genes matched by name."""
    check_adata(others)
    if representation is None:
        raise InputError("validation: there is no representation that the cells could have")
    if not has_slot(others, representation.name):
        there = listing(others.obsm)
        raise InputError(f"validation has no {representation.name!r}, which the map is made from; its obsm has {there}")
    record: Mapping[str, Any] = {
        "name": representation.name,
        "n_features": representation.values.shape[1],
        "n_pcs": representation.n_pcs,
    }
    features = None if representation.name in adata.obsm else tuple(map(str, adata.var_names[: representation.n_pcs]))
    return read_representation_like(others, record, features)


def _fitting(rows: NDArray[Any], representation: Representation | None) -> NDArray[Any]:
    wanted = 0 if representation is None else representation.values.shape[1]
    if rows.shape[1] != wanted or not len(rows):
        raise InputError(f"validation has shape {rows.shape}; the map is made from rows of {wanted} columns")
    return rows
