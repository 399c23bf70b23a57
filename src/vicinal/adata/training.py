"""What the training of networks reads besides the cells: places that some should have, cells not to train on."""

from __future__ import annotations

import numbers
from typing import Any

import anndata as ad
import numpy as np
from numpy.typing import NDArray

from vicinal.contract.errors import InputError, did_you_mean, listing
from vicinal.contract.options import EmbedOptions, param_of
from vicinal.contract.source import Representation

from .dense import dense_values
from .keys import spellings
from .model import read_representation_like
from .read import has_slot
from .stored import check_source


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
        keys = [key for key in spellings(given) if key in adata.obsm]
        if not keys:
            hint = did_you_mean(given, adata.obsm)
            raise InputError(f"{name}={given!r} is not in adata.obsm; it has {listing(adata.obsm)}.{hint}")
        name, given = f"{name}={given!r}", adata.obsm[keys[0]]
    positions = _array(given)
    if positions.dtype.kind not in "fiu" or positions.shape != (adata.n_obs, n_components):
        shown = f"{positions.dtype} {positions.shape}"
        raise InputError(
            f"{name} is {shown}; expected numbers {(adata.n_obs, n_components)}, NaN where a cell has none"
        )
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused
        positions = np.ascontiguousarray(positions, dtype=np.float32)
    finite = np.isfinite(positions)
    n_bad = int((~finite.all(axis=1) & ~np.isnan(positions).all(axis=1)).sum())
    if n_bad or not finite.any():
        found = f"{n_bad} cells have a place that is infinite, or NaN in some dimensions" if n_bad else "all are NaN"
        raise InputError(f"{name}: {found}; give each cell a finite place, or NaN in all dimensions where it has none")
    return positions


def _array(given: Any) -> np.ndarray:
    try:
        return np.asarray(given)
    except ValueError:  # nested lists of different lengths
        return np.asarray(given, dtype=object)


def _validation(adata: ad.AnnData, given: Any, representation: Representation | None) -> dict[str, np.ndarray]:
    if isinstance(given, ad.AnnData):
        return {"validation_rows": _rows_of(given, adata, _required(representation))}
    values = given if hasattr(given, "ndim") else _array(given)
    if values.ndim == 2:
        _check_fit(values.shape, _required(representation))
        return {"validation_rows": dense_values(values, "validation", center=_required(representation).center)}
    values = _array(values)
    if values.dtype != bool or values.shape != (adata.n_obs,):
        wanted = f"a boolean mask {(adata.n_obs,)}, rows (m, n_features), a share of the cells, or an AnnData"
        raise InputError(f"validation is {values.dtype} {values.shape}; expected {wanted}")
    return {"validation": values}


def _required(representation: Representation | None) -> Representation:
    if representation is None:
        raise InputError("validation: there is no representation that the cells could have")
    return representation


def _rows_of(others: ad.AnnData, adata: ad.AnnData, representation: Representation) -> NDArray[np.float32]:
    """Return the rows of other cells in the map's representation, its genes matched by name."""
    if others.n_obs == 0:
        raise InputError("validation has no cells (n_obs = 0); give some, or leave it out")
    if others.is_view:
        check_source(others)
    if not has_slot(others, representation.name):
        there = listing(others.obsm)
        raise InputError(f"validation has no {representation.name!r}, which the map is made from; its obsm has {there}")
    features = None if representation.name in adata.obsm else tuple(map(str, adata.var_names[: representation.n_pcs]))
    try:
        return read_representation_like(others, representation.record, features)
    except InputError as error:
        raise InputError(f"validation: {error}") from error


def _check_fit(shape: tuple[int, ...], representation: Representation) -> None:
    wanted = representation.values.shape[1]
    if shape[0] == 0 or shape[1] != wanted:
        raise InputError(f"validation has shape {shape}; the map is made from rows of {wanted} columns")
