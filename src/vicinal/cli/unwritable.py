"""What of an AnnData anndata can read, but not write."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from anndata import AnnData

SLOTS = ("obsm", "varm", "obsp", "varp", "layers", "uns")


def without_unwritable(adata: AnnData) -> tuple[AnnData, list[str]]:
    """Return a copy without what cannot be written, and the names of what it lacks; an index becomes plain text."""
    kept, left_out = adata.copy(), list[str]()
    for name in ("obs", "var"):
        frame = getattr(kept, name)
        bad = [column for column in frame.columns if not _is_writable(frame[[column]].reset_index(drop=True))]
        frame = frame.drop(columns=bad)
        left_out += [f"{name}[{column!r}]" for column in bad]
        if not _is_writable(frame[[]]):
            frame.index = pd.Index([str(label) for label in frame.index], dtype=object)
            left_out.append(f"the kind of {name}'s index")
        setattr(kept, name, frame)
    for name in SLOTS:
        left_out += [f"{name}[{key!r}]" for key in _remove_unwritable(getattr(kept, name))]
    return kept, left_out


def _remove_unwritable(slot: MutableMapping[Any, Any]) -> list[Any]:
    # From 0.13 on, anndata lists .X among the layers, under None.
    bad = [key for key, value in slot.items() if key is not None and not _is_writable(value, key)]
    for key in bad:
        del slot[key]
    return bad


def _is_writable(value: Any, key: Any = "value") -> bool:
    """Tell whether anndata writes a value, by trying it in memory."""
    import h5py  # type: ignore[import-untyped]
    from anndata.io import write_elem

    from .files import nullable_strings

    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf" and isinstance(key, str):
        return True
    try:
        with h5py.File("trial", "w", driver="core", backing_store=False) as file, nullable_strings():
            write_elem(file, key, value)
    except Exception:  # noqa: BLE001  anndata and h5py raise of every kind
        return False
    return True
