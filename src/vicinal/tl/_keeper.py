"""The file a run is kept in, and what is said where the run is interrupted."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from vicinal.contract.errors import ModelError
from vicinal.contract.source import Source
from vicinal.models.checkpoint import read_checkpoint, save_checkpoint, take_up
from vicinal.models.ours import CHECKPOINT, kind_of_file
from vicinal.models.write import remove_unfinished
from vicinal.pipeline.plan import Plan
from vicinal.pipeline.run import Run

logger = logging.getLogger("vicinal")


class Keeper:
    """Starts a run, from its checkpoint where there is one, and keeps it.

    Raises
    ------
    ModelError
        If there is a file under the checkpoint's name that is damaged or no checkpoint.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._run: Run | None = None
        self.path = plan.course.checkpoint
        self._saved = None if self.path is None or not os.path.exists(self.path) else read_checkpoint(self.path)

    def start(self, source: Source) -> Run:
        """Return the run before its optimisation, or where its checkpoint left it.

        Raises
        ------
        ModelError
            If the checkpoint belongs to other data or other arguments.
        """
        logger.debug("%s", self._plan)
        run = Run(self._plan, source, keep=None if self.path is None else self._save)
        if self.path is not None:
            if self._saved is not None:
                take_up(self._saved, self.path, run)
                logger.info("Resumed from checkpoint %r at epoch %d of %d", self.path, run.epoch, run.n_epochs)
            remove_unfinished(self.path)
        self._run = run
        return run

    def remove(self) -> None:
        """Remove the checkpoint: what it was kept for is done. What has taken its place meanwhile stays."""
        if self.path is not None and kind_of_file(self.path) in (None, CHECKPOINT):
            Path(os.path.realpath(self.path)).unlink(missing_ok=True)
            remove_unfinished(self.path)

    @contextmanager
    def watching(self, otherwise: str) -> Iterator[None]:
        """Keep the run when it is interrupted, and say so.

        Parameters
        ----------
        otherwise
            What becomes of it where there is no checkpoint.

        Raises
        ------
        KeyboardInterrupt
            With a message that says at which epoch it stopped, and how to go on.
        """
        try:
            yield
        except KeyboardInterrupt as interrupt:
            message = self._interrupted(otherwise)
            logger.info(message)
            raise KeyboardInterrupt(message) from interrupt

    def _interrupted(self, otherwise: str) -> str:
        run = self._run
        if run is None:
            kept = "" if self._saved is None else f"; checkpoint {self.path!r} is as it was"
            return f"interrupted before the optimisation{kept or '; nothing was kept'}"
        where = f"interrupted at epoch {run.epoch} of {run.n_epochs}"
        if self.path is None:
            return f"{where}; {otherwise}"
        if not self._save(run):
            return f"{where}; the checkpoint could not be written"
        return f"{where}; to go on from there, call it again with the same data, arguments and checkpoint={self.path!r}"

    def _save(self, run: Run) -> bool:
        """Write the checkpoint; a full disk costs the checkpoint, not the run."""
        assert self.path is not None
        try:
            save_checkpoint(self.path, run)
        except (OSError, ModelError) as error:
            logger.warning("Checkpoint %r could not be written at epoch %d: %s", self.path, run.epoch, error)
            return False
        logger.debug("Checkpoint %r written at epoch %d", self.path, run.epoch)
        return True
