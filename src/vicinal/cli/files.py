"""Files of cells: read, and written whole or not at all."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vicinal.contract.errors import InputError

from .paths import is_one_file

if TYPE_CHECKING:
    from anndata import AnnData

EXTRA_FAILED = 3
"""Exit code where the cells are written, but not all that was asked for beside them."""


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


def store(adata: AnnData, target: Path | None, source: str, shown: str) -> tuple[str, int]:
    """Write the cells; return where they are, and the exit code.

    What anndata can read but not write is left out, and said in one line. It is not left out of the file it came
    from: then that stays as it is, and the cells go to another beside it.
    """
    assert target is not None
    try:
        with replacing([target]) as (path,):
            write(adata, path)
        return shown, 0
    except (OSError, MemoryError):
        raise
    except Exception as error:  # noqa: BLE001  what anndata stumbles over, and it has no errors of its own
        return _store_the_rest(adata, target, source, shown, error)


def _store_the_rest(adata: AnnData, target: Path, source: str, shown: str, error: Exception) -> tuple[str, int]:
    from .unwritable import without_unwritable

    kept, left_out = without_unwritable(adata)
    if not left_out:
        raise InputError(f"{target}: cannot be written ({one_line(error)})") from error
    if is_one_file(target, source):
        target = target.with_name(f"{target.stem}-mapped{target.suffix}")
        shown = str(target)
        if target.exists():
            raise InputError(f"{source}: cannot be written with {', '.join(left_out)}; name another OUT") from error
    with replacing([target]) as (path,):
        write(kept, path)
    print(f"vicinal: {shown} is written without {', '.join(left_out)}: {one_line(error)}", file=sys.stderr)
    return shown, EXTRA_FAILED


def one_line(error: BaseException) -> str:
    """Return what an error says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def write(adata: AnnData, path: Path | None) -> None:
    """Write the cells to a file of the kind that its name says."""
    assert path is not None
    with nullable_strings():
        if path.suffix == ".zarr":
            adata.write_zarr(path)
        elif size_is_limited():
            path.write_bytes(_image(adata))
        else:
            adata.write_h5ad(path)


def nullable_strings() -> Any:
    """Let anndata write the strings that it reads; in some versions they have to be allowed."""
    import anndata as ad

    known = hasattr(ad.settings, "allow_write_nullable_strings")
    return ad.settings.override(allow_write_nullable_strings=True) if known else nullcontext()


def size_is_limited() -> bool:
    """Tell whether files may not become larger than a limit (``ulimit -f``)."""
    try:
        import resource
    except ImportError:  # Windows
        return False
    return resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY


def _image(adata: AnnData) -> bytes:
    """Return the bytes of an .h5ad file: HDF5 that cannot finish a file on disk ends the process."""
    import h5py  # type: ignore[import-untyped]
    from anndata.io import write_elem

    with h5py.File("image", "w", driver="core", backing_store=False) as file:
        adata.strings_to_categoricals()
        write_elem(file, "/", adata)
        file.flush()
        image: bytes = file.id.get_file_image()
    return image


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
