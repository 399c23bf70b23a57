"""Python without docstrings, which anndata needs while it is imported."""

from __future__ import annotations

import sys


def require_docstrings() -> None:
    """Raise `ImportError` where anndata cannot be imported because docstrings are left out."""
    if sys.flags.optimize < 2:
        return
    try:
        import anndata  # noqa: F401
    except AttributeError as error:
        msg = "anndata needs docstrings, which python -OO and PYTHONOPTIMIZE=2 leave out; use -O or PYTHONOPTIMIZE=1"
        raise ImportError(msg) from error
