"""The loss along the optimisation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from vicinal.adata.read import check_adata
from vicinal.adata.record import HISTORY, check
from vicinal.contract.arguments import checks_arguments
from vicinal.contract.errors import InputError, did_you_mean, listing

if TYPE_CHECKING:
    from anndata import AnnData
    from matplotlib.axes import Axes


DEFAULT, VALIDATION = "umap", "validation"
MOST_INSIDE = 3
"""Parts whose names find room among the lines."""


@checks_arguments
def loss(adata: AnnData, key: str | None = None, *, ax: Axes | None = None, show: bool | None = None) -> Axes:
    """Draw the loss of a map and its parts against the epoch.

    Parameters
    ----------
    adata
        Annotated data with a map made by `vicinal.tl.embed`.
    key
        Key of the map in ``uns``; None for the only one that has a history, or ``umap``.
    ax
        Where to draw; None for a new figure.
    show
        True to show the figure at once; otherwise that is left to the caller, or to the notebook.

    Returns
    -------
    The Axes: one line a part, and the total; dashed, in the colour of its part, what cells that are never trained on
    have.

    Raises
    ------
    InputError
        If there is no such map, or it has no loss history.
    """
    import matplotlib.pyplot as plt

    check_adata(adata)
    key, entry = _history(adata, key)
    ax = plt.subplots(figsize=(4.5, 3.2), layout="constrained")[1] if ax is None else ax
    epochs = np.asarray(entry["loss_epoch"])
    parts = {name: np.asarray(values) for name, values in sorted(entry.get("loss_parts", {}).items())}
    trained = [name for name in parts if not name.startswith(VALIDATION)]
    colors = {name: f"C{i}" for i, name in enumerate(trained)} | {VALIDATION: "black"}
    for name, values in parts.items():
        color = colors.get(name.removeprefix(f"{VALIDATION}_"))
        dashed = "--" if name.startswith(VALIDATION) else "-"
        ax.plot(epochs, values, dashed, linewidth=1.2, color=color, label=name.replace("_", " "))
    ax.plot(epochs, np.asarray(entry["loss"]), color="black", linewidth=2, label="total")
    ax.set(xlabel="epoch", ylabel="loss", title=key)
    ax.spines[["top", "right"]].set_visible(False)
    beside = {"loc": "upper left", "bbox_to_anchor": (1.0, 1.0)} if len(parts) > MOST_INSIDE else {}
    ax.legend(frameon=False, **beside)
    if show:
        plt.show()
    return ax


def _history(adata: AnnData, key: str | None) -> tuple[str, Mapping[str, Any]]:
    known = [
        name for name, entry in adata.uns.items() if isinstance(entry, Mapping) and {"loss", "loss_epoch"} <= set(entry)
    ]
    if key is None:
        key = known[0] if len(known) == 1 else DEFAULT
    if key in known:
        entry = adata.uns[key]
        check(HISTORY, entry, f"uns[{key!r}]")
        lengths = {len(entry["loss_epoch"]), len(entry["loss"]), *map(len, entry.get("loss_parts", {}).values())}
        if len(lengths) > 1:
            raise InputError(f"uns[{key!r}] has losses of different lengths; make the map again with vc.tl.embed")
        return key, entry
    found = "holds no loss history (made by another tool, or projected)" if key in adata.uns else "is not in adata.uns"
    msg = f"key={key!r} {found}; maps with a loss history are {listing(known)}.{did_you_mean(key, known)}"
    raise InputError(msg)
