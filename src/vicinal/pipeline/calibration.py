"""What a unit of each stage's work takes on this machine: a small file that `vicinal warmup` writes."""

from __future__ import annotations

import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from vicinal.plugin.discovery import version_of
from vicinal.plugin.report import BUILTIN_DISTRIBUTION

FOLDER = "VICINAL_CACHE"
"""Environment variable that names another folder than the user's cache."""
SCHEMA = 1


def calibration_path() -> Path:
    """Return where the calibration is kept.

    Raises
    ------
    RuntimeError
        If the user has no home folder.
    """
    named = os.environ.get(FOLDER)
    if named:
        return Path(named) / "calibration.json"
    from platformdirs import user_cache_path

    return user_cache_path("vicinal", appauthor=False) / "calibration.json"


def read_calibration() -> dict[str, float]:
    """Return seconds a unit by name; empty where there is none of this version, or the file cannot be read."""
    try:
        found = json.loads(calibration_path().read_text(encoding="utf-8"))
        if (found["schema"], found["vicinal"]) != (SCHEMA, version_of(BUILTIN_DISTRIBUTION)):
            return {}
        seconds = {str(name): float(unit) for name, unit in found["seconds"].items()}
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    return {name: unit for name, unit in seconds.items() if math.isfinite(unit) and unit > 0}


def write_calibration(seconds: Mapping[str, float]) -> Path:
    """Keep seconds a unit by name; the file appears whole or not at all.

    Raises
    ------
    OSError, RuntimeError
        If the folder cannot be written to, or there is none.
    """
    path = calibration_path()
    text = json.dumps({"schema": SCHEMA, "vicinal": version_of(BUILTIN_DISTRIBUTION), "seconds": dict(seconds)})
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".vicinal-", dir=path.parent) as folder:
        written = Path(folder) / path.name
        written.write_text(text, encoding="utf-8")
        os.replace(written, path)
    return path
