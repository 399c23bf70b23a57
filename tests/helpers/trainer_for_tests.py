"""An optimizer that owns its loop and trains networks, as a plugin would bring it; nothing in it learns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from networks_for_tests import a_fitted_model

from vicinal.api import BackendSpec, Capabilities, InputError, NoParams, child_seed, generator
from vicinal.plugin.manager import get_manager
from vicinal.plugin.report import Registered

STARTED: list[Training] = []
"""Those that were started since the backends were put there."""


@dataclass(frozen=True, kw_only=True)
class TrainerParams:
    n_epochs: int = 12
    encoder: str | None = None
    encoder_params: Mapping[str, Any] = field(default_factory=dict)
    continue_from: Any = None
    validation: Any = None
    landmark_positions: Any = None
    ends_at: int | None = None
    fails_at: int | None = None
    model: bool = False


class Trainer:
    def __init__(self, params: TrainerParams) -> None:
        self.params = params

    def networks(self) -> dict[str, tuple[str, Mapping[str, Any]]]:
        return {} if self.params.encoder is None else {"encoder": (self.params.encoder, self.params.encoder_params)}

    def takes_callback(self, callback: Any) -> bool:
        return isinstance(callback, Listener)

    def check(self, **sizes: Any) -> None:
        self.sizes = sizes
        if sizes["n_features"] == 3:
            raise InputError("dims: 3 features are not a row of this network")

    def start(self, request: Any) -> Training:
        STARTED.append(Training(self.params, request))
        return STARTED[-1]

    def apply(self, module: Any, network: Any, rows: np.ndarray, n_jobs: int) -> np.ndarray:
        if module == "other":
            raise InputError("the encoder does not fit the weights")
        return rows[:, : network.output_dims[0]] * module


class Training:
    """Steps drawn for each epoch anew; a loss of its own, one part of it in every other epoch."""

    def __init__(self, params: TrainerParams, request: Any) -> None:
        self.params, self.request = params, request
        self.epoch, self.n_epochs, self.layout = 0, params.n_epochs, request.layout.copy()
        self.stopped_by: str | None = None
        self.answers: list[bool] = []
        self.overrides: list[Mapping[str, Any]] = []

    def run(self, n_epochs: int, pause: Callable[[], bool], **overrides: Any) -> None:
        self.overrides.append(overrides)
        self.stopped_by = None
        for _ in range(n_epochs):
            if self.epoch == self.params.ends_at:
                self.stopped_by = "Patience"
                return
            if self.epoch == self.params.fails_at:
                raise ZeroDivisionError("of the trainer's own")
            self._move()
            self.answers.append(pause())
            if self.answers[-1]:
                return

    def _move(self) -> None:
        draw = generator(child_seed(self.request.seed, f"epoch {self.epoch}"))
        self.layout = self.layout + draw.normal(size=self.layout.shape).astype(np.float32)
        self.epoch += 1

    def step(self, n_epochs: int, **overrides: Any) -> None:
        self.run(n_epochs, lambda: False, **overrides)

    def losses(self) -> dict[str, float]:
        losses = {"loss": np.float32(100 - self.epoch), "attraction": 60.0, "repulsion": 40.0 - self.epoch}
        return losses if self.epoch % 2 else {**losses, "validation": 7.0 + self.epoch}

    def state(self) -> Mapping[str, np.ndarray]:
        return {"layout": self.layout.copy()}

    def restore(self, state: Mapping[str, np.ndarray], epoch: int) -> None:
        self.layout, self.epoch = state["layout"].copy(), epoch

    def model(self) -> Any:
        n_features, n_components = self.request.representation.shape[1], self.layout.shape[1]
        return a_fitted_model(n_features, n_components) if self.params.model else None


class Listener:
    """A callback that only the trainer understands."""


@dataclass(frozen=True, kw_only=True)
class BuilderParams:
    width: int = 6


class Builder:
    def __init__(self, params: BuilderParams) -> None:
        self.params = params

    def build(self, request: Any) -> Any:
        return self.params.width * request.n_inputs


SPECS = (
    BackendSpec(
        api_version=1,
        stage="optimizer",
        name="trainer",
        target=f"{__name__}:Trainer",
        params=TrainerParams,
        capabilities=Capabilities(inputs=("representation",), forms=("kernel",)),
    ),
    BackendSpec(api_version=1, stage="network", name="wide", target=f"{__name__}:Builder", params=BuilderParams),
    BackendSpec(api_version=1, stage="network", name="plain", target=f"{__name__}:Builder", params=NoParams),
)


@contextmanager
def installed() -> Iterator[list[Training]]:
    """Have the backends among those that are installed, as of a distribution ``plugin``."""
    registered = get_manager()._registered
    entries = {(s.stage, s.name): [Registered(spec=s, distribution="plugin", version="1")] for s in SPECS}
    registered |= entries
    STARTED.clear()
    try:
        yield STARTED
    finally:
        for name in entries:
            del registered[name]
