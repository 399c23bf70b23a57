"""The optimizer `torch`: checks what it is asked for, then trains."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vicinal.api import Capabilities, FittedNetwork, InputError, NetworkBuilder, OptimizeRequest, child_seed, generator

from .params import TorchParams

if TYPE_CHECKING:
    from .optimization import TorchOptimization

ACCELERATORS = ("auto", "cpu", "cuda", "gpu", "mps")
PLAIN: dict[str, Any] = {
    **{"encoder": "mlp", "decoder": "mlp", "torch_optimizer": None, "continue_from": None},
    **{"logger": False, "devices": 1, "trainer_params": {}},
}
"""What needs no trial before the work."""


class TorchOptimizer:
    """Trains a network to map cells, or moves each cell by itself.

    ParametricUMAP (Sainburg, McInnes and Gentner 2021, doi:10.1162/neco_a_01434): edges are drawn by weight, their
    ends mapped, and the network moved along the slope of the objective.
    """

    def __init__(self, params: TorchParams) -> None:
        self.params = params
        for role in ("encoder", "decoder"):
            if not isinstance(getattr(params, role), str):
                from .networks import check_module

                check_module(role, getattr(params, role))
        for name, value in described(params).items():
            setattr(self, name, value)

    @property
    def capabilities(self) -> Capabilities:
        """What it can do: the same bits for any number of threads where no module or function is the user's."""
        from .specs import OPTIMIZER

        is_deterministic = self.params.is_plain and self.params.accelerator in ("auto", "cpu")
        return dataclasses.replace(OPTIMIZER.capabilities, deterministic=is_deterministic)

    def networks(self) -> dict[str, tuple[str, Mapping[str, Any]]]:
        """Return the networks that are named, by role."""
        roles = ("encoder", "decoder") if self.params.reconstruction else ("encoder",)
        named = {role: (getattr(self.params, role), getattr(self.params, f"{role}_params")) for role in roles}
        return {role: pair for role, pair in named.items() if self.params.parametric and isinstance(pair[0], str)}

    def takes_callback(self, callback: Any) -> bool:
        """Tell whether a callback is one of Lightning's."""
        import sys

        if "lightning" not in sys.modules and "pytorch_lightning" not in sys.modules:
            return False  # nobody can have made one
        from lightning.pytorch import Callback

        _refuse_other_lightning(callback)
        return isinstance(callback, Callback)

    def check(
        self,
        *,
        n_obs: int,
        n_components: int,
        n_features: int,
        arrays: Mapping[str, np.ndarray],
        has_fixed: bool,
        networks: Mapping[str, NetworkBuilder],
        callbacks: tuple[Any, ...],
    ) -> None:
        """Raise `InputError` where sizes do not fit, or what the user gave cannot be used, before any work."""
        params = self.params
        if has_fixed and params.parametric:
            raise InputError("fixed: a network moves all cells; give landmark_positions=, or parametric=False")
        if params.dims is not None and int(np.prod(params.dims)) != n_features:
            raise InputError(f"dims={params.dims} are {int(np.prod(params.dims))} numbers; a row has {n_features}")
        mask = self._held_out(n_obs, arrays, seed=0)
        if mask is not None and (mask.all() or not mask.any()):
            left = f"{int((~mask).sum())} of {n_obs} cells are left to train on, {int(mask.sum())} to validate on"
            raise InputError(f"validation: {left}; both are needed")
        _check_device(params.accelerator)
        self._check_model(n_features, n_components)
        if callbacks or any(getattr(params, name) != default for name, default in PLAIN.items()):
            from .trial import try_out

            try_out(params, n_features=n_features, n_components=n_components, networks=networks, callbacks=callbacks)

    def _check_model(self, n_features: int, n_components: int) -> None:
        model = self.params.continue_from
        if model is None:
            return
        fitted = getattr(model, "fitted", None)
        if fitted is None:
            raise InputError("continue_from: the model has no network to go on from; give one made by parametric_umap")
        takes, makes = (int(np.prod(dims)) for dims in (fitted.encoder.input_dims, fitted.encoder.output_dims))
        if (takes, makes) != (n_features, n_components):
            msg = f"continue_from: its network maps {takes} columns to {makes} dimensions, here {n_features} to"
            raise InputError(f"{msg} {n_components} are wanted")

    def start(self, request: OptimizeRequest) -> TorchOptimization:
        """Return a training before its first epoch, the network having learned the first layout."""
        from .optimization import TorchOptimization
        from .rows import statistics
        from .task import Task

        rows = request.representation
        held_out = self._held_out(len(request.layout), request.arrays, child_seed(request.seed, "held out"))
        trained = None if held_out is None else ~held_out
        is_network = self.params.parametric and rows is not None
        if self.params.reconstruction and self.params.reconstruction_loss == "bce":
            _check_shares(rows)
        task = Task(
            request=request,
            params=self.params,
            dims=self.params.dims or ((rows.shape[1],) if rows is not None else (0,)),
            held_out=held_out,
            statistics=statistics(rows, trained) if is_network and rows is not None else None,
        )
        optimization = TorchOptimization(task)
        self._record(optimization)
        return optimization

    def apply(self, module: Any, network: FittedNetwork, rows: NDArray[np.float32], n_jobs: int) -> NDArray[np.float32]:
        """Return what a network without layers makes of rows, ``(n, n_outputs)``."""
        from .inference import apply_stored
        from .networks import check_module

        check_module("network", module)
        return apply_stored(module, network, rows, n_jobs)

    def _held_out(self, n_obs: int, arrays: Mapping[str, np.ndarray], seed: int) -> NDArray[np.bool_] | None:
        """Return which cells are not trained on; None for none."""
        given = self.params.validation
        if isinstance(given, int | float) and given is not None:
            mask = np.zeros(n_obs, dtype=bool)
            mask[generator(seed).choice(n_obs, round(given * n_obs), replace=False)] = True
            return mask
        return arrays.get("validation")

    def _record(self, optimization: TorchOptimization) -> None:
        """Keep what was left open as it was chosen."""
        from .optimization import WARM_START_STEPS
        from .updates import LEARNING_RATES

        params, schedule = self.params, optimization.schedule
        self.n_training_epochs, self.loss_report_frequency = schedule.n_training_epochs, schedule.loss_report_frequency
        self.batch_size = optimization.batch_size
        self.learning_rate = params.learning_rate or LEARNING_RATES[params.parametric]
        is_warm = params.parametric and params.continue_from is None
        given = WARM_START_STEPS if params.warm_start_steps is None else params.warm_start_steps
        self.warm_start_steps = given if is_warm else 0
        self.accelerator = str(optimization.device)


def described(params: TorchParams) -> dict[str, str]:
    """Return the parameters that are no plain values as words, by which they are recorded."""
    functions = ("encoder", "decoder", "torch_optimizer", "reconstruction_loss", "landmark_loss")
    words = {name: _name(getattr(params, name)) for name in functions if callable(getattr(params, name))}
    if params.dims is not None:
        words["dims"] = str(tuple(params.dims))
    if params.extra_losses:
        words["extra_losses"] = ", ".join(map(_name, params.extra_losses))
    if hasattr(params.continue_from, "manifest"):
        words["continue_from"] = params.continue_from.manifest.fingerprint
    plain = {
        name: value for name, value in params.trainer_params.items() if isinstance(value, bool | int | float | str)
    }
    if plain:
        words["trainer_params"] = ", ".join(f"{name}={value!r}" for name, value in sorted(plain.items()))
    return words


def _name(given: Any) -> str:
    return getattr(given, "__qualname__", type(given).__qualname__)


def _check_shares(rows: NDArray[np.float32] | None) -> None:
    if rows is not None and rows.size and (rows.min() < 0 or rows.max() > 1):
        msg = f"reconstruction_loss='bce' needs rows between 0 and 1; here they are {rows.min():g} to {rows.max():g}"
        raise InputError(msg)


def _check_device(accelerator: str) -> None:
    if accelerator not in ACCELERATORS:
        raise InputError(f"accelerator={accelerator!r} is not allowed; give one of {', '.join(ACCELERATORS)}")
    if accelerator in ("auto", "cpu"):
        return
    import torch

    there = {"cuda": torch.cuda.is_available(), "gpu": torch.cuda.is_available()}
    there["mps"] = torch.backends.mps.is_available()
    if not there[accelerator]:
        raise InputError(f"accelerator={accelerator!r} is not available here; give 'auto' or 'cpu'")


def _refuse_other_lightning(callback: Any) -> None:
    """Say which of the two distributions of Lightning is used: their classes are not each other's."""
    names = [f"{base.__module__}.{base.__qualname__}" for base in type(callback).__mro__]
    if "pytorch_lightning.callbacks.callback.Callback" in names:
        given = f"a {type(callback).__name__} of pytorch_lightning"
        raise InputError(f"callbacks holds {given}; take it from lightning.pytorch.callbacks")
