"""Files of cells and what is written beside them: read, checked before any work, written whole or not at all."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vicinal.contract.errors import InputError, listing

if TYPE_CHECKING:
    from anndata import AnnData


STORES = (".h5ad", ".zarr")


PICTURES = (".png", ".pdf", ".svg")


def read(path: str) -> AnnData:
    """Return the cells of a file."""
    import anndata as ad

    if not Path(path).exists():
        raise InputError(f"{path}: there is no such file")
    reader, kind = (ad.read_zarr, "a zarr store") if Path(path).is_dir() else (ad.read_h5ad, "an .h5ad file")
    try:
        return reader(path)
    except Exception as error:  # whatever a reader stumbles over, the file is not one of its kind
        raise InputError(f"{path}: cannot be read as {kind} of cells ({type(error).__name__}: {error})") from error


def write(adata: AnnData, path: Path | None) -> None:
    """Write the cells to a file of the kind that its name says."""
    assert path is not None
    if path.suffix == ".zarr":
        adata.write_zarr(path)
    else:
        adata.write_h5ad(path)


def target_of(path: str | None, endings: Sequence[str] = ()) -> Path | None:
    """Return where to write, checked before any work; links are followed, so that they stay links."""
    if path is None:
        return None
    target = Path(os.path.realpath(path))
    if endings and target.suffix not in endings:
        raise InputError(f"{path}: the name must end in one of {listing(endings)}")
    if not target.parent.is_dir():
        raise InputError(f"{path}: there is no folder {str(target.parent)!r} to write to")
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"{path}: the folder {str(target.parent)!r} cannot be written to")
    if target.is_dir() and not _is_zarr_store(target):
        raise InputError(f"{path}: is a folder; name a file")
    return target


def _is_zarr_store(folder: Path) -> bool:
    return folder.suffix == ".zarr" and any((folder / name).is_file() for name in ("zarr.json", ".zgroup"))


@contextmanager
def replacing(targets: Iterable[Path | None]) -> Iterator[list[Path | None]]:
    """Yield a path beside each target; move what was written there once all of it is, else remove it."""
    targets = list(targets)
    with ExitStack() as stack:
        folders = {
            target: Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=".vicinal-", dir=target.parent)))
            for target in targets
            if target is not None
        }
        yield [None if target is None else folders[target] / target.name for target in targets]
        for target, folder in folders.items():
            if target.is_dir():  # a zarr store cannot be replaced in one step
                os.replace(target, folder / "before")
            os.replace(folder / target.name, target)
