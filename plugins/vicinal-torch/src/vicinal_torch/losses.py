"""What a batch is trained by: the objective's losses, and those that may be added."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vicinal.api import TorchForm

from .sampling import Draw

CLIP = 10.0
TINY = 1e-10


@dataclass(frozen=True, kw_only=True)
class Batch:
    """What a user's own loss may look at.

    Attributes
    ----------
    cells
        int64 ``(m,)``: which cells, in the order of their names.
    rows
        float32 ``(m, *dims)``; without a network ``(m, 0)``.
    places
        float32 ``(m, n_components)``, from which gradients flow.
    reconstruction
        What the decoder makes of the places, ``(m, *dims)``; None without one.
    labels
        int64 ``(m,)``, -1 for unknown; None where no labels were named.
    landmarks
        ``(m, n_components)``, NaN for none; None where none were given.
    """

    cells: Tensor
    rows: Tensor
    places: Tensor
    reconstruction: Tensor | None = None
    labels: Tensor | None = None
    landmarks: Tensor | None = None


def pair_losses(form: TorchForm, places: Tensor, draw: Draw, repulsion_factor: float) -> dict[str, Tensor]:
    """Return the mean attraction of the edges, and what keeps cells apart, weighted against it."""
    columns = places.t().contiguous()
    heads, tails = columns[:, : draw.n_edges], columns[:, draw.n_walks : draw.n_walks + draw.n_edges]
    squared = (heads - torch.stack([tails, *_others(columns, draw)])).square().sum(1)
    # A cell that meets itself has nothing to be kept apart from.
    differ = torch.stack([others[0] for others in _others(draw.cells[None], draw)]) != draw.cells[: draw.n_edges]
    attraction, apart = form.attraction(squared[0]).mean(), form.repulsion(squared[1:])
    return {"attraction": attraction, "repulsion": (apart * differ).mean() * repulsion_factor}


def _others(columns: Tensor, draw: Draw) -> list[Tensor]:
    """Return, for each shift, the cells so far from the beginnings of edges, around the batch or its uniform cells."""
    around = columns[:, -draw.n_uniform :] if draw.n_uniform else columns
    around = around.repeat(1, 1 - (-draw.n_edges // around.shape[1]))
    return [around[:, shift : shift + draw.n_edges] for shift in draw.shifts]


def global_correlation_loss(rows: Tensor, places: Tensor) -> Tensor:
    """Return minus the correlation of distances between consecutive rows and between their places.

    As ParametricUMAP does: both are brought to mean 0 and deviation 1 over the whole batch, and what is beyond 10 is
    cut.
    """
    far, apart = (_consecutive(values.flatten(1)) for values in (rows, places))
    far, apart = far - far.mean(), apart - apart.mean()
    return -(far * apart).sum() / (far.square().sum() * apart.square().sum()).add(TINY).sqrt()


def _consecutive(values: Tensor) -> Tensor:
    values = ((values - values.mean()) / values.std(unbiased=False).add(TINY)).clamp(-CLIP, CLIP)
    return (values[1:] - values[:-1]).square().sum(1).add(TINY).sqrt()


def landmark_loss(places: Tensor, positions: Tensor) -> Tensor:
    """Return the mean distance of places from where they should be; the root is of a number above 0."""
    return (places - positions).square().sum(1).add(TINY).sqrt().mean()


def reconstruction_loss(kind: str | Callable[[Tensor, Tensor], Tensor], variance: float) -> Callable[..., Tensor]:
    """Return the function of ``(made, rows)``: of the squared error, as a share of the variance; or of logits."""
    if callable(kind):
        return kind
    if kind == "bce":
        return torch.nn.functional.binary_cross_entropy_with_logits
    return lambda made, rows: torch.nn.functional.mse_loss(made, rows) / variance
