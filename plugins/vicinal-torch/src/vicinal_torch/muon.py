"""The optimiser of networks by name: steps of one size in every direction for hidden layers, Adam for the rest."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.adam import adam

from .side_by_side import side_by_side

MOMENTUM = 0.95
ITERATIONS = 3
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the polynomial whose iteration brings singular values near to 1, chosen to be steep at 0 (Jordan et al. 2024)."""
SMALLEST_SIDE = 16
TINY = 1e-7


class Muon(torch.optim.Optimizer):
    """Momentum whose matrices are made nearly orthogonal before a step.

    Jordan et al. 2024 (https://kellerjordan.github.io/posts/muon). Slopes of a layer lie in few directions; with equal
    singular values the others are gone along as well, and networks reach a loss in about half of Adam's steps. torch's
    own `torch.optim.Muon` works in bfloat16 on matrices alone, which is slow on most processors.

    Parameters
    ----------
    matrices
        Weights of hidden layers.
    others
        All other parameters, which Adam moves.
    lr
        Length of the steps, for both.

    Attributes
    ----------
    pool
        A thread that takes half of the matrices; None for none.
    """

    pool: ThreadPoolExecutor | None = None

    def __init__(self, matrices: Sequence[nn.Parameter], others: Sequence[nn.Parameter], lr: float) -> None:
        groups = [{"params": list(matrices), "is_matrix": True}, {"params": list(others), "is_matrix": False}]
        super().__init__([group for group in groups if group["params"]], {"lr": lr})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Take a step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            given = [parameter for parameter in group["params"] if parameter.grad is not None]
            (self._move_matrices if group["is_matrix"] else self._move_others)(given, group["lr"])
        return loss

    def _move_matrices(self, matrices: list[nn.Parameter], rate: float) -> None:
        directions = side_by_side(orthogonalized, [self._momentum(matrix) for matrix in matrices], self.pool)
        for matrix, direction in zip(matrices, directions, strict=True):
            n_outputs, n_inputs = matrix.shape
            matrix.add_(direction, alpha=-rate * max(1.0, n_outputs / n_inputs) ** 0.5)

    def _momentum(self, matrix: nn.Parameter) -> Tensor:
        """Return the momentum as it will be after one more step by the same slopes (Nesterov)."""
        state = self.state[matrix]
        if not state:
            state["momentum"] = torch.zeros_like(matrix)
        assert matrix.grad is not None
        momentum = state["momentum"].lerp_(matrix.grad, 1 - MOMENTUM)
        return matrix.grad.lerp(momentum, MOMENTUM)

    def _move_others(self, others: list[nn.Parameter], rate: float) -> None:
        for parameter in others:
            state = self.state[parameter]
            if not state:
                state["n_steps"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        states = [self.state[parameter] for parameter in others]
        if not states:
            return
        adam(
            list(others),
            [parameter.grad for parameter in others if parameter.grad is not None],
            [state["exp_avg"] for state in states],
            [state["exp_avg_sq"] for state in states],
            [],
            [state["n_steps"] for state in states],
            fused=others[0].device.type != "mps",
            amsgrad=False,
            beta1=0.9,
            beta2=0.999,
            lr=rate,
            weight_decay=0.0,
            eps=1e-8,
            maximize=False,
        )


def orthogonalized(matrix: Tensor) -> Tensor:
    """Return a matrix with the same singular vectors, and singular values between about 0.7 and 1.2."""
    linear, cubic, quintic = COEFFICIENTS
    is_tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.t() if is_tall else matrix
    x = x / (x.norm() + TINY)
    for _ in range(ITERATIONS):
        square = x @ x.t()
        x = torch.addmm(x, torch.addmm(square, square, square, beta=cubic, alpha=quintic), x, beta=linear)
    return x.t() if is_tall else x
