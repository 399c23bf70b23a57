"""How an optimisation is divided, and what goes on along it: phases, snapshots, callbacks, checkpoints."""

from __future__ import annotations

import dataclasses
import itertools
import numbers
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vicinal.contract.data import Layout
from vicinal.contract.errors import InputError
from vicinal.contract.options import EmbedOptions
from vicinal.contract.showing import described

from .phases import Phase, read_phases

CHECKPOINTS = 10
"""Checkpoints a run writes unless told otherwise."""

Callback = Callable[[int, Layout, float], Any]


@dataclass(frozen=True, kw_only=True)
class Course:
    """What is done on the way.

    Attributes
    ----------
    phases
        Parts of the optimisation, in order; none where it is all of a piece.
    whose_phases
        Who wants them.
    snapshots
        Epochs at which the layout is kept.
    callbacks
        Called with epoch, layout and loss wherever the loss is recorded.
    handed_on
        Those that the optimizer calls itself.
    checkpoint
        File the run is kept in.
    checkpoint_every
        Epochs between two checkpoints; None for a tenth of all.
    """

    phases: tuple[Phase, ...] = ()
    whose_phases: str = "given"
    snapshots: tuple[int, ...] = ()
    callbacks: tuple[Callback, ...] = ()
    handed_on: tuple[Any, ...] = ()
    checkpoint: str | None = None
    checkpoint_every: int | None = None

    @property
    def notes(self) -> tuple[str, ...]:
        """What of this is there, for people."""
        notes = []
        if self.snapshots:
            notes.append(f"snapshots at epochs {', '.join(map(str, self.snapshots))}")
        if self.checkpoint is not None:
            often = "ten times" if self.checkpoint_every is None else f"every {self.checkpoint_every} epochs"
            notes.append(f"checkpoint {self.checkpoint!r}, written {often}")
        return tuple(notes)

    @property
    def shown_phases(self) -> str:
        """The phases, for people."""
        return f"{', then '.join(map(str, self.phases))}  ({self.whose_phases})"

    @property
    def phase_ends(self) -> list[int]:
        """The epoch that each phase ends at."""
        return list(itertools.accumulate(phase.n for phase in self.phases))

    def overrides_at(self, epoch: int) -> Mapping[str, Any]:
        """Return what the phase that an epoch begins in replaces."""
        ahead = (phase.overrides for phase, end in zip(self.phases, self.phase_ends, strict=True) if epoch < end)
        return next(ahead, {})

    def stretches(self, first: int, last: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
        """Yield where to go, from one epoch to another, without leaving a phase, and what that phase replaces."""
        for stop in [*(end for end in self.phase_ends if first < end < last), last]:
            yield stop, self.overrides_at(first)
            first = stop

    def checkpoints(self, n_epochs: int) -> range:
        """Return the epochs at which a run is kept."""
        if self.checkpoint is None:
            return range(0)
        every = self.checkpoint_every or max(1, -(-n_epochs // CHECKPOINTS))
        return range(every, n_epochs + 1, every)


def plan_course(options: EmbedOptions) -> Course:
    """Return what is asked for along the way.

    Raises
    ------
    InputError
        If a phase, a snapshot, a callback, the checkpoint's path or how often it is written cannot be used.
    """
    phases = () if options.phases is None else read_phases(options.phases)
    _check_sum(phases, options.n_epochs)
    return Course(
        phases=phases,
        snapshots=_snapshots(options.n_epochs),
        callbacks=_callbacks(options.callbacks),
        checkpoint=_checkpoint(options.checkpoint),
        checkpoint_every=_checkpoint_every(options.checkpoint_every, options.checkpoint),
    )


def hand_on_callbacks(course: Course, optimizer: Any) -> Course:
    """Leave to an optimizer those of the callbacks that it takes.

    Raises
    ------
    InputError
        If a callback is neither a function nor one that the optimizer takes.
    """
    takes = getattr(optimizer, "takes_callback", lambda callback: False)
    own = tuple(callback for callback in course.callbacks if not takes(callback))
    for callback in own:
        if not callable(callback):
            wanted = "give a function of (epoch, layout, loss), or a list of such"
            raise InputError(f"callbacks holds {described(callback)}, which cannot be called; {wanted}")
    handed_on = tuple(callback for callback in course.callbacks if takes(callback))
    return dataclasses.replace(course, callbacks=own, handed_on=handed_on)


def planned_epochs(options: EmbedOptions) -> Any:
    """Return the number of epochs that is asked for, which phases or a list of snapshots may stand for."""
    if options.phases is not None:
        return sum(phase.n for phase in read_phases(options.phases))
    return _snapshots(options.n_epochs)[-1] if _is_list(options.n_epochs) else options.n_epochs


def _check_sum(phases: Sequence[Phase], n_epochs: Any) -> None:
    """Raise `InputError` where a number of epochs is given too, and is not that of the phases."""
    total = sum(phase.n for phase in phases)
    if not phases or n_epochs is None:
        return
    snapshots = _snapshots(n_epochs)
    if snapshots[-1] > total if snapshots else n_epochs != total:
        allowed = f"leave n_epochs out, or list epochs up to {total} to keep the map at"
        raise InputError(f"n_epochs={n_epochs!r} is not allowed: the phases have {total} epochs in all; {allowed}")


def _is_list(n_epochs: Any) -> bool:
    return isinstance(n_epochs, list | tuple | range) or (isinstance(n_epochs, np.ndarray) and n_epochs.ndim == 1)


def _snapshots(n_epochs: Any) -> tuple[int, ...]:
    if not _is_list(n_epochs):
        return ()
    epochs = list(n_epochs)
    increasing = all(map(_is_integer, epochs)) and all(a < b for a, b in itertools.pairwise([-1, *epochs]))
    if not epochs or not increasing:
        allowed = "give the epochs to keep the map at as whole numbers from 0, increasing, such as [0, 50, 200]"
        raise InputError(f"n_epochs={n_epochs!r} is not allowed; {allowed}")
    return tuple(map(int, epochs))


def _callbacks(given: Any) -> tuple[Callback, ...]:
    if given is None:
        return ()
    is_one = callable(given) or not isinstance(given, Iterable) or np.ndim(given) == 0  # type: ignore[arg-type]
    return (given,) if is_one else tuple(given)


def _checkpoint(given: Any) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str | os.PathLike) or not isinstance(os.fspath(given), str) or not os.fspath(given):
        raise InputError(f"checkpoint={given!r} is not allowed; give the path of a file")
    path = os.fspath(given)
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise InputError(f"checkpoint={path!r} is a folder; name a file")
    if not target.parent.is_dir():
        raise InputError(f"checkpoint={path!r}: there is no folder {str(target.parent)!r}; make it first")
    if not os.access(target.parent, os.W_OK):
        raise InputError(f"checkpoint={path!r}: the folder {str(target.parent)!r} cannot be written to")
    return path


def _checkpoint_every(given: Any, checkpoint: Any) -> int | None:
    if given is None:
        return None
    if not _is_integer(given) or given < 1:
        raise InputError(f"checkpoint_every={given!r} is not allowed; give a number of epochs, 1 or more")
    if checkpoint is None:
        raise InputError(f"checkpoint_every={given} says how often, but not where; give checkpoint=PATH too")
    return int(given)


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
