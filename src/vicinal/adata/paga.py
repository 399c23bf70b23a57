"""Positions of PAGA's groups, as long as they are still those of the groups in ``obs``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import anndata as ad
import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from vicinal.contract.errors import InputError
from vicinal.contract.schema import Check, Misfit, numbers, text

from .stored import checked_rows

AGAIN = "run sc.tl.paga(adata) and sc.pl.paga(adata, show=False) again"
LIKE = 0.7
"""Correlation, with the recorded links between groups, that those in the present graph must have."""
CLEARLY = 0.5
"""Share of the squared difference that is left if two groups are exchanged, below which they were."""


def read_paga(adata: ad.AnnData, graph: Any) -> dict[str, np.ndarray]:
    """Return the positions of groups, and the group of each cell as a code.

    Parameters
    ----------
    graph
        Stored distances or connectivities, sparse ``(n_obs, n_obs)``, by which the order of the groups can be told;
        None where there are none.

    Raises
    ------
    InputError
        If there are no positions, or it cannot be told that they are those of the groups in ``obs``.
    """
    paga = adata.uns.get("paga")
    if not isinstance(paga, Mapping) or "pos" not in paga:
        raise InputError(
            "init='paga' needs positions in uns['paga']['pos']; run sc.tl.paga(adata) and sc.pl.paga(adata, show=False)"
        )
    name: Any = paga.get("groups")
    _require(text, name, "uns['paga']['groups']")
    if name not in adata.obs:
        raise InputError(f"init='paga': obs has no column {name!r}, the one PAGA was run on")
    groups = adata.obs[name].astype("category").cat
    codes = groups.codes.to_numpy().astype(np.int32)
    positions, links = _positions(paga["pos"]), _links(paga.get("connectivities"))
    _check_number(len(groups.categories), positions, links, name)
    _check_order(codes, len(positions), links, _sizes(adata, name), graph, name)
    return {"paga_positions": positions, "paga_groups": codes}


def _positions(stored: Any) -> NDArray[np.float32]:
    try:
        positions = np.asarray(stored, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"uns['paga']['pos'] cannot be read ({error}): {AGAIN}") from None
    if positions.ndim != 2 or not np.isfinite(positions).all():
        raise InputError(f"uns['paga']['pos'] must be rows of finite numbers, one for each group: {AGAIN}")
    return positions


def _links(stored: Any) -> sparse.csr_matrix | None:
    links = None if stored is None else checked_rows(stored, "uns['paga']['connectivities']")
    if links is not None and not np.isfinite(links.data).all():
        raise InputError(f"uns['paga']['connectivities'] holds NaN or infinity: {AGAIN}")
    return links


def _sizes(adata: ad.AnnData, name: str) -> NDArray[Any] | None:
    stored = adata.uns.get(f"{name}_sizes")
    if stored is None:
        return None
    sizes = np.asarray(stored).ravel()
    _require(numbers, sizes, f"uns['{name}_sizes']")
    return sizes


def _require(schema: Check, value: Any, where: str) -> None:
    try:
        schema(value, where)
    except Misfit as error:
        raise InputError(f"{error}: {AGAIN}") from None


def _check_number(n_groups: int, positions: NDArray[np.float32], links: Any, name: Any) -> None:
    linked = (n_groups, n_groups) if links is None else links.shape
    for what, number in (("positions", len(positions)), ("links", linked[0]), ("links", linked[1])):
        if number != n_groups:
            msg = f"init='paga': uns['paga'] has {what} of {number} groups, and obs[{name!r}] has {n_groups} now"
            raise InputError(f"{msg}: which is which is not recorded. Groups have changed since: {AGAIN}")


def _check_order(
    codes: NDArray[np.int32], n_groups: int, links: Any, then: NDArray[Any] | None, graph: Any, name: str
) -> None:
    """Raise where groups may be in another order than when the positions were made."""
    now = np.bincount(codes[codes >= 0], minlength=n_groups)
    msg = f"init='paga': the groups of obs[{name!r}] have changed since their positions were made"
    if then is not None and (len(then) != n_groups or (now > then).any()):
        raise InputError(f"{msg}: they had {_some(then)} cells and have {_some(now)}. They may be others: {AGAIN}")
    alike = None if links is None or graph is None else _are_linked_alike(codes, n_groups, links, graph)
    if alike is False:
        raise InputError(f"{msg}: their links in the stored graph are not those in uns['paga']: {AGAIN}")
    is_told = alike is not None or n_groups < 3 or (then is None and links is None)
    if not is_told and (then is None or (now != then).any() or len(np.unique(then)) == 1):
        why = "cells are missing, and no stored graph shows" if then is not None else "nothing that is stored shows"
        raise InputError(
            f"init='paga': {why} whether the groups of obs[{name!r}] are in the order they were in: {AGAIN}"
        )


def _some(sizes: NDArray[Any]) -> str:
    shown = ", ".join(f"{size:,}" for size in sizes[:4].tolist())
    return f"{shown}, …" if len(sizes) > 4 else shown


def _are_linked_alike(codes: NDArray[np.int32], n_groups: int, links: Any, graph: Any) -> bool | None:
    """Tell whether groups are linked in a graph as it is recorded; None where links say nothing."""
    pairs = np.triu_indices(n_groups, 1)
    then = _dense(links)
    now = links_between(codes, n_groups, graph)
    if np.ptp(then[pairs]) == 0 or np.ptp(now[pairs]) == 0:
        return None
    if np.corrcoef(then[pairs], now[pairs])[0, 1] < LIKE:
        return False
    off = _difference(then, now)
    if off <= 1e-6 * np.square(then).sum():
        return True
    return all(_difference(then, _exchanged(now, i, j)) > CLEARLY * off for i, j in np.transpose(pairs))


def _dense(links: Any) -> NDArray[np.float64]:
    values = np.asarray(links.toarray() if sparse.issparse(links) else links, dtype=np.float64)
    return np.maximum(values, values.T)


def _difference(then: NDArray[np.float64], now: NDArray[np.float64]) -> float:
    return float(np.square(then - now).sum())


def _exchanged(links: NDArray[np.float64], i: Any, j: Any) -> NDArray[np.float64]:
    order = np.arange(len(links))
    order[[i, j]] = order[[j, i]]
    return links[np.ix_(order, order)]


def links_between(codes: NDArray[np.int32], n_groups: int, graph: Any) -> NDArray[np.float64]:
    """Return the edges between each two groups over those expected by chance, at most 1, as PAGA counts them."""
    known = np.flatnonzero(codes >= 0)
    shape = (len(codes), n_groups)
    member = sparse.csr_matrix((np.ones(len(known)), (known, codes[known])), shape=shape)
    edges = sparse.csr_matrix(graph)
    edges = sparse.csr_matrix((np.ones(edges.nnz), edges.indices, edges.indptr), shape=edges.shape)
    counts = np.asarray((member.T @ edges @ member).todense())
    between = counts + counts.T
    np.fill_diagonal(between, 0)
    of_group = counts.sum(axis=1)
    sizes = np.bincount(codes[known], minlength=n_groups)
    expected = (np.outer(of_group, sizes) + np.outer(sizes, of_group)) / max(1, len(known) - 1)
    return np.minimum(np.divide(between, expected, out=np.zeros_like(between), where=expected > 0), 1.0)
