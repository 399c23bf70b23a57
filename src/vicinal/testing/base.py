"""What every backend must do, whatever its stage."""

# ruff: noqa: D102  the name of a check says what it checks

from __future__ import annotations

import importlib
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, TypeVar

import numpy as np
import pytest

from vicinal.contract.errors import InputError
from vicinal.contract.spec import METHOD_OF_STAGE, BackendSpec
from vicinal.plugin.admission import check_spec

T = TypeVar("T")

SMALL = range(1, 41)
"""Numbers of cells for which a backend must work, or say why it cannot."""


class Conformance(ABC):
    """Base of the conformance classes.

    Attributes
    ----------
    spec
        The backend's spec.
    params
        Parameters that differ from their defaults.
    """

    stage: ClassVar[str]
    spec: ClassVar[BackendSpec]
    params: ClassVar[Mapping[str, Any]] = {}

    def make_backend(self) -> Any:
        """Return a backend built as the host builds it."""
        module, _, name = self.spec.target.partition(":")
        return getattr(importlib.import_module(module), name)(self.spec.params(**self.params))

    @abstractmethod
    def exercise(self) -> Any:
        """Use the backend once, from its parameters to its result."""

    def test_spec_is_admitted(self) -> None:
        check_spec(self.spec)
        assert self.spec.stage == self.stage, f"{type(self).__name__} tests a {self.stage}, not a {self.spec.stage}"

    def test_backend_has_the_method_of_its_stage(self) -> None:
        method = METHOD_OF_STAGE[self.stage]
        assert callable(getattr(self.make_backend(), method, None)), f"a {self.stage} needs a method {method!r}"

    def test_leaves_no_trace(self, capfd: pytest.CaptureFixture[str]) -> None:
        capfd.readouterr()
        with untouched_random_states():
            self.exercise()
        assert capfd.readouterr().out == "", "stdout belongs to the user; use logging.getLogger('vicinal')"


@contextmanager
def untouched_random_states() -> Iterator[None]:
    """Fail if the block seeds or draws from a global generator."""
    before = random.getstate(), _numpy_state()
    yield
    assert random.getstate() == before[0], "Python's global random state has changed"
    assert _numpy_state() == before[1], "numpy's global random state has changed"


def unless_refused(work: Callable[[], T]) -> T | None:
    """Return the result of the work, or None if it raised `InputError`: the clear way to say no."""
    try:
        return work()
    except InputError as error:
        assert str(error), "an InputError must say what is allowed"
        return None


def _numpy_state() -> tuple[Any, ...]:
    name, keys, *rest = np.random.get_state(legacy=True)
    return (name, np.asarray(keys).tobytes(), *rest)
