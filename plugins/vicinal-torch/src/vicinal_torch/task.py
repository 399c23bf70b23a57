"""What is trained, on what, and by which losses: all that does not change along the training."""

from __future__ import annotations

import copy
import dataclasses
import itertools
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from vicinal.api import InputError, NetworkRequest, OptimizeRequest, TorchForm, child_seed

from .losses import Batch, global_correlation_loss, landmark_loss, pair_losses, reconstruction_loss
from .networks import Table, check_shape, check_state
from .params import TorchParams
from .rows import Rows, Statistics
from .sampling import Draw, EdgeSampler

SMALLEST_BATCH, BATCH = 256, 2048
"""Edges in a batch: half as many as cells, within these."""
OWN_NAMES = ("loss", "attraction", "repulsion", "reconstruction", "global_correlation", "landmarks", "validation")


@dataclass(frozen=True, kw_only=True)
class Task:
    """The losses of a batch, and what they need.

    Attributes
    ----------
    dims
        Shape of one row.
    held_out
        Boolean ``(n_obs,)``: cells never trained on; None for none.
    statistics
        Of the rows that are trained on; None without a network.
    """

    request: OptimizeRequest
    params: TorchParams
    dims: tuple[int, ...]
    held_out: NDArray[np.bool_] | None
    statistics: Statistics | None

    @property
    def n_components(self) -> int:
        """Dimensions of the map."""
        return self.request.layout.shape[1]

    @property
    def trained(self) -> NDArray[np.bool_] | None:
        """The cells that are trained on; None for all."""
        return None if self.held_out is None else ~self.held_out

    @property
    def needs_rows(self) -> bool:
        """Whether its losses look at the cells' rows."""
        return self.params.parametric or self.params.global_correlation_loss_weight > 0

    @property
    def batch_size(self) -> int:
        """Edges in a batch, as asked for, or as many as a number of cells is worth."""
        return self.params.batch_size or min(max(self.request.graph.n_obs // 2, SMALLEST_BATCH), BATCH)

    @property
    def form(self) -> TorchForm:
        """The objective's losses."""
        return self.request.objective.form("torch")

    @property
    def repulsion_factor(self) -> float:
        """What a mean over pairs is worth against one over edges.

        In the objective's own terms a negative sample moves one cell; where gradients are taken it moves both.
        """
        return self.request.objective.negative_sample_rate * (1.0 if self.request.graph.directed else 0.5)

    def sampler(self, device: torch.device, n_parts: int = 1) -> EdgeSampler:
        """Return what draws batches of the trained cells, or parts of batches."""
        size = -(-self.batch_size // n_parts)
        uniform = self.params.negatives == "uniform"
        return EdgeSampler(self.request.graph, size, self.trained, device, uniform=uniform)

    def modules(self) -> dict[str, nn.Module]:
        """Return the untrained modules, by role."""
        if not self.params.parametric:
            return {"encoder": Table(torch.tensor(self.request.layout))}
        roles = ("encoder", "decoder") if self.params.reconstruction else ("encoder",)
        return {role: self._module(role) for role in roles}

    def _module(self, role: str) -> nn.Module:
        """Return a network built by name, or a copy of the user's; checked on two rows."""
        request = self._of_encoder() if role == "encoder" else self._of_decoder()
        given = getattr(self.params, role)
        module = self.request.networks[role].build(request) if isinstance(given, str) else _copied(role, given)
        check_state(role, module)
        check_shape(role, module, torch.zeros(2, *request.input_dims), request.output_dims)
        return module

    def _of_encoder(self) -> NetworkRequest:
        assert self.statistics is not None
        return NetworkRequest(
            input_dims=self.dims,
            output_dims=(self.n_components,),
            input_center=self.statistics.center,
            input_scale=self.statistics.scale,
            seed=child_seed(self.request.seed, "encoder"),
        )

    def _of_decoder(self) -> NetworkRequest:
        assert self.statistics is not None
        layout, is_logit = self.request.layout, self.params.reconstruction_loss == "bce"
        spread = max(float(layout.std()), 1e-6)
        deviation = np.full_like(self.statistics.center, self.statistics.deviation)
        return NetworkRequest(
            input_dims=(self.n_components,),
            output_dims=self.dims,
            input_center=layout.mean(axis=0),
            input_scale=np.full(self.n_components, spread, dtype=np.float32),
            output_center=None if is_logit else self.statistics.center,
            output_scale=None if is_logit else deviation,
            seed=child_seed(self.request.seed, "decoder"),
        )


class Losses:
    """The losses of batches, on a device.

    Parameters
    ----------
    rows
        The cells' rows; None without a network.
    of_others
        Whether they are of cells that are not in the map.
    """

    def __init__(
        self, task: Task, modules: nn.ModuleDict, rows: Rows | None, device: torch.device, *, of_others: bool = False
    ) -> None:
        self._task, self._modules, self._rows, self._form = task, modules, rows, task.form
        params, deviation = task.params, 1.0 if task.statistics is None else task.statistics.deviation
        self._reconstruction = reconstruction_loss(params.reconstruction_loss, deviation**2)
        self._landmark = params.landmark_loss if callable(params.landmark_loss) else landmark_loss
        positions, labels = task.request.arrays.get("landmark_positions"), task.request.labels
        self._positions = None if of_others else _on(device, positions)
        self._labels = None if of_others else _on(device, labels)
        self._extra = named(params.extra_losses)

    def of_pairs(self, draw: Draw, counted: Tensor) -> dict[str, Tensor]:
        """Return the objective's losses alone, and the reconstruction's of those cells that count, boolean ``(n,)``."""
        batch = self._batch(draw.cells)
        losses = pair_losses(self._form, batch.places, draw, self._task.repulsion_factor)
        if batch.reconstruction is not None:
            keep = counted[draw.cells]
            batch = dataclasses.replace(batch, rows=batch.rows[keep], reconstruction=batch.reconstruction[keep])
        return losses | self._of_reconstruction(batch)

    def of(self, draw: Draw) -> dict[str, Tensor]:
        """Return every loss of a batch by name, weighted, so that they add up."""
        params, batch = self._task.params, self._batch(draw.cells)
        losses = pair_losses(self._form, batch.places, draw, self._task.repulsion_factor)
        losses |= self._of_reconstruction(batch)
        if params.global_correlation_loss_weight:
            weight = params.global_correlation_loss_weight
            losses["global_correlation"] = weight * global_correlation_loss(batch.rows, batch.places)
        if batch.landmarks is not None:
            losses["landmarks"] = params.landmark_loss_weight * self._of_landmarks(batch)
        for name, extra in self._extra.items():
            losses[name] = _number("extra_losses", extra, extra(batch))
        return losses

    def _batch(self, cells: Tensor) -> Batch:
        encoder = self._modules["encoder"]
        rows = torch.empty(len(cells), 0) if self._rows is None else self._rows.take(cells)
        places = encoder(cells if isinstance(encoder, Table) else rows).float()
        return Batch(
            cells=cells,
            rows=rows,
            places=places,
            reconstruction=self._decoded(places),
            labels=None if self._labels is None else self._labels[cells],
            landmarks=None if self._positions is None else self._positions[cells],
        )

    def _decoded(self, places: Tensor) -> Tensor | None:
        if "decoder" not in self._modules:
            return None
        return self._modules["decoder"](places if self._task.params.autoencoder_loss else places.detach()).float()

    def _of_reconstruction(self, batch: Batch) -> dict[str, Tensor]:
        if batch.reconstruction is None:
            return {}
        weight = self._task.params.reconstruction_loss_weight
        found = self._reconstruction(batch.reconstruction, batch.rows)
        return {"reconstruction": weight * _number("reconstruction_loss", self._reconstruction, found)}

    def _of_landmarks(self, batch: Batch) -> Tensor:
        assert batch.landmarks is not None
        there = batch.landmarks.isfinite().all(1)
        if not there.any():
            return batch.places.sum() * 0
        found = self._landmark(batch.places[there], batch.landmarks[there])
        return _number("landmark_loss", self._landmark, found)


def name_of(loss: object) -> str:
    """Return the name by which a user's loss is reported."""
    return getattr(loss, "__name__", type(loss).__name__).replace("<lambda>", "extra").replace("/", "_")


def named(losses: Iterable[Callable[[Batch], Tensor]]) -> dict[str, Callable[[Batch], Tensor]]:
    """Return users' losses by names of which no two are the same, nor that of a loss that is always there."""
    found: dict[str, Callable[[Batch], Tensor]] = {}
    for loss in losses:
        name = name_of(loss)
        names = (name if i == 1 else f"{name}_{i}" for i in itertools.count(1))
        found[next(name for name in names if name not in found and name not in OWN_NAMES)] = loss
    return found


def _number(argument: str, loss: object, value: Any) -> Tensor:
    """Return what a user's loss gave; raise `InputError` unless it is one number as a tensor."""
    if isinstance(value, Tensor) and value.numel() == 1:
        return value.reshape(())
    given = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    raise InputError(f"{argument}: {name_of(loss)!r} gave {given}; it must give a tensor that holds one number")


def _copied(role: str, module: nn.Module) -> nn.Module:
    try:
        return copy.deepcopy(module).cpu().train()
    except Exception as error:  # a user's module may hold anything
        raise InputError(f"{role} cannot be copied, as it must be to be trained: {error}") from error


def _on(device: torch.device, values: np.ndarray | None) -> Tensor | None:
    return None if values is None else torch.tensor(values).to(device)
