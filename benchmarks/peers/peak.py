"""The most memory a process has held since it was asked to watch (Linux)."""

from __future__ import annotations

from pathlib import Path

MIB = 2**20
PROCESS = Path("/proc/self")


def resident(field: str = "VmRSS") -> int:
    """Return the bytes held now."""
    status = (PROCESS / "status").read_text().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith(f"{field}:")) * 1024


def watch() -> int:
    """Forget what was held at most until now, and return the bytes held now."""
    (PROCESS / "clear_refs").write_text("5")
    return resident()


def most() -> int:
    """Return the bytes held at most since `watch`."""
    return resident("VmHWM")
