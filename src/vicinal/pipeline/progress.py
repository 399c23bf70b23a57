"""The bar of a run: named after the method, at its end when the run is, and legible in a saved notebook."""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tqdm.std import tqdm

DELAY = 0.5
"""Seconds that pass before there is a bar."""


class NotebookBar(tqdm):
    """A bar as text whose last state is what a saved notebook shows; a widget would be saved as it began."""

    _shown: Any = None

    def __init__(self, **options: Any) -> None:
        super().__init__(file=io.StringIO(), **options)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Show the bar where it is, or replace what is shown."""
        from IPython.display import display

        text = {"text/plain": str(self) if msg is None else msg}
        if self._shown is None:
            self._shown = display(text, raw=True, display_id=True)
        else:
            self._shown.update(text, raw=True)
        return True


@contextmanager
def progress(n_epochs: int, method: str) -> Iterator[Any]:
    """Yield a bar of the epochs of a run, silent where nobody would see it."""
    options: dict[str, Any] = {"total": n_epochs, "desc": method, "unit": "epoch", "delay": DELAY, "leave": True}
    with NotebookBar(**options) if _in_notebook() else tqdm(**options, disable=not _in_terminal()) as bar:
        try:
            yield bar
        finally:
            bar.total = bar.n  # a callback may have ended it sooner


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return shell is not None and hasattr(shell.get_ipython(), "kernel")


def _in_terminal() -> bool:
    return sys.stderr is not None and sys.stderr.isatty()
