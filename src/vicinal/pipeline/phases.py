"""Parts of an optimisation with parameters of their own: as users give them, and as optimizers divide themselves."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from vicinal.contract.data import MOST_EPOCHS
from vicinal.contract.errors import InputError, did_you_mean, listing
from vicinal.contract.showing import described


@dataclass(frozen=True, kw_only=True)
class Phase:
    """Epochs with parameters of their own.

    Attributes
    ----------
    n
        How many.
    overrides
        What replaces parameters of the optimizer for these, by name.
    """

    n: int
    overrides: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        values = ", ".join(f"{name}={value}" for name, value in self.overrides.items())
        return f"{self.n} epochs with {values}" if values else f"{self.n} epochs"

    def to_dict(self) -> dict[str, Any]:
        """Return it as it is given."""
        return {"n": self.n, **self.overrides}


def read_phases(given: Any) -> tuple[Phase, ...]:
    """Return phases that a user gives.

    Raises
    ------
    InputError
        If they are no list of mappings, each with a number of epochs.
    """
    allowed = "give a list of dicts such as [{'n': 250, 'learning_rate': 0.5}, {'n': 500}], n a number of epochs"
    if not isinstance(given, Sequence) or isinstance(given, str | bytes) or not given:
        shown = f"={given!r}" if isinstance(given, Sequence) else f": a {type(given).__name__}"
        raise InputError(f"phases{shown} is not allowed; {allowed}")
    return tuple(_phase(i, entry, allowed) for i, entry in enumerate(given))


def _phase(i: int, given: Any, allowed: str) -> Phase:
    if not isinstance(given, Mapping) or not all(isinstance(name, str) for name in given):
        raise InputError(f"phases[{i}]={given!r} is not allowed; {allowed}")
    if "n" not in given:
        raise InputError(f"phases[{i}]={dict(given)!r} has no 'n', the number of its epochs; {allowed}")
    n = given["n"]
    if not _is_integer(n) or not 1 <= n <= MOST_EPOCHS:
        allowed = f"give a number of epochs, 1 or more and at most {MOST_EPOCHS:,}"
        raise InputError(f"phases[{i}] has n={described(n)}, which is not allowed; {allowed}")
    plain = {name: value.item() if isinstance(value, np.generic) else value for name, value in given.items()}
    return Phase(n=int(n), overrides={name: plain[name] for name in sorted(plain) if name != "n"})


def check_takes_phases(name: str, optimizer: Any, fields: Sequence[str] | None) -> None:
    """Raise `InputError` where an optimizer cannot be led through phases.

    Parameters
    ----------
    name, optimizer
        Its name, and itself or its class.
    fields
        Its parameters; None where it is built already.
    """
    why = ""
    if not getattr(optimizer, "overrides", ()):
        why = "which cannot be led through them"
    elif fields is not None and "n_epochs" not in fields:
        why = "which has no n_epochs to be told how many there are"
    if why:
        hint = "leave phases out, or take an optimizer such as 'numba_sgd'"
        raise InputError(f"phases is not allowed with optimizer={name!r}, {why}; {hint}")


def check_phases(phases: Sequence[Phase], name: str, optimizer: Any, *, objective: Any, forms: Sequence[str]) -> None:
    """Check given phases against what an optimizer takes on the way.

    Raises
    ------
    InputError
        If it does not take what a phase replaces, or not that value, or plans another number of epochs.
    """
    allowed = getattr(optimizer, "overrides_for", lambda *_: optimizer.overrides)(objective, forms)
    check = getattr(optimizer, "check_overrides", lambda overrides: None)
    for i, phase in enumerate(phases):
        for key in phase.overrides:
            if key not in allowed:
                hint = did_you_mean(key, [*allowed, "n"])
                msg = f"phases[{i}] holds {key!r}; besides 'n', the optimizer {name!r} takes {listing(allowed)}"
                raise InputError(f"{msg} on the way.{hint}")
        try:
            check(phase.overrides)
        except InputError as error:
            raise InputError(f"phases[{i}]: {error}") from error
    total, planned = sum(phase.n for phase in phases), getattr(getattr(optimizer, "params", None), "n_epochs", None)
    if planned is not None and planned != total:
        msg = f"the phases have {total} epochs in all, but the optimizer {name!r} is to take n_epochs={planned}"
        raise InputError(f"{msg}; give it as many, or other phases")


def own_phases(optimizer: Any, n_obs: int) -> tuple[Phase, ...]:
    """Return the phases that an optimizer divides itself into where the user gives none."""
    schedule = getattr(optimizer, "schedule", lambda n_obs: ())(n_obs)
    phases = (dict(entry) for entry in schedule)
    return tuple(Phase(n=int(entry.pop("n")), overrides=entry) for entry in phases if entry["n"])


def _is_integer(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)
