"""Bytes and seconds as people read them."""

from __future__ import annotations

MIB = 2**20


def shown_bytes(n_bytes: float) -> str:
    """Return bytes as people read them."""
    mebibytes = n_bytes / MIB
    if mebibytes < 1000:
        return f"{mebibytes:.0f} MiB"
    return f"{mebibytes / 1024:.1f} GiB" if mebibytes < 100 * 1024 else f"{mebibytes / 1024:,.0f} GiB"


def shown_seconds(seconds: float) -> str:
    """Return seconds as people read them."""
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
