"""What is said, and to whom: the ``vicinal`` logger, and scanpy's verbosity where scanpy is in use."""

from __future__ import annotations

import logging
import sys
from typing import Any

LEVELS = (logging.ERROR, logging.WARNING, logging.INFO, logging.INFO, logging.DEBUG)
"""By ``scanpy.settings.verbosity``: errors, warnings, info, hints, debug."""
ON_STDERR = logging.StreamHandler()
"""Used where there is no other handler, as `logging.lastResort` is, which takes warnings only."""


class Logger(logging.Logger):
    """A logger that heeds scanpy's verbosity as long as nobody has set a level for it, or for all loggers."""

    def isEnabledFor(self, level: int) -> bool:
        """Tell whether a record is wanted."""
        verbosity = scanpy_verbosity()
        if verbosity is None or self.level != logging.NOTSET or logging.root.level != logging.WARNING:
            return super().isEnabledFor(level)
        return not self.disabled and self.manager.disable < level and level >= LEVELS[verbosity]

    def callHandlers(self, record: logging.LogRecord) -> None:
        """Give a record to the handlers there are."""
        if self.hasHandlers() or logging.lastResort is None or scanpy_verbosity() is None:
            super().callHandlers(record)
        else:
            ON_STDERR.stream = sys.stderr
            ON_STDERR.handle(record)


def scanpy_verbosity() -> int | None:
    """Return 0 to 4, or None where scanpy is not in use."""
    found: Any = getattr(getattr(sys.modules.get("scanpy"), "settings", None), "verbosity", None)
    found = getattr(found, "value", found)
    return min(max(found, 0), len(LEVELS) - 1) if isinstance(found, int) else None


logger = logging.getLogger("vicinal")
if type(logger) is logging.Logger:  # one that an application has put in its place stays
    logger.__class__ = Logger


def added(slot: str, n_obs: int, seconds: float) -> None:
    """Log, at the end of a call, what has been added."""
    logger.info("added %s, %s cells, %.1f s", slot, f"{n_obs:,}", seconds)
