"""Muon, an optimizer that needs few steps (10_speed.ipynb)."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

# Of the polynomial a x + b x^3 + c x^5. It lifts small numbers quickly, and keeps large ones
# between about 0.7 and 1.2: K. Jordan et al., "Muon: An optimizer for hidden layers in neural
# networks", 2024.
_A, _B, _C = 3.4445, -4.7750, 2.0315


def orthogonalized(matrix: Tensor, rounds: int = 3) -> Tensor:
    """Keep the directions of a matrix, and make their strengths about equal.

    In terms of the singular value decomposition `U S V'`, it is about `U V'`: `rounds` of a
    polynomial bring the larger singular values to between 0.7 and 1.2; small ones need more.

    Args:
        matrix: floating point, `[rows, columns]`.
        rounds: 3 is enough for training here; 5 comes closer to `U V'`.

    Returns:
        A tensor of the same shape and dtype; zeros for a matrix of zeros.
    """
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    wide = wide / (wide.norm() + 1e-7)  # now no singular value is over 1
    if len(wide) > 1:  # a single row is done: its length is 1
        # The rounds change the left side only, so they run on the small square matrix M M'.
        left, gram = None, wide @ wide.T
        for index in range(rounds):
            factor = torch.addmm(gram, gram, gram, beta=_B, alpha=_C)
            factor.diagonal().add_(_A)
            left = factor if left is None else factor @ left
            if index < rounds - 1:
                gram = factor @ gram @ factor
        wide = wide if left is None else left @ wide
    return wide if matrix.shape[0] <= matrix.shape[1] else wide.T


class Muon(torch.optim.Optimizer):
    """Momentum, then orthogonalized: each step moves a layer in all directions about equally far.

    A filter bank `[out, in, height, width]` counts as a matrix with a row for each filter. A bias
    or a scale is a matrix of one row: its step is the momentum, brought to length 1. Every step is
    scaled so that a weight moves by about a fifth of the learning rate, whatever its layer's
    size, as under AdamW: J. Liu et al., "Muon is scalable for LLM training", 2025. PyTorch's own
    Muon takes matrices only, no filters and no biases.

    Args:
        weights: what to train.
        lr: the learning rate, a number; on a GPU a tensor too, for CUDA graphs.
        momentum: Nesterov's, 0 to below 1.
        weight_decay: decoupled from the gradient, as in AdamW.
    """

    def __init__(
        self,
        weights: Iterable[Tensor],
        lr: float | Tensor,
        momentum: float = 0.7,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(weights, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Change the weights by their gradients; weights without one stay as they are."""
        if closure is not None:
            raise TypeError("Muon takes no closure: call backward() before step()")
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._step_one(weight, weight.grad, group)

    def _step_one(self, weight: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[weight]
        if not state:
            state["momentum"] = torch.zeros_like(weight)
        momentum = state["momentum"].mul_(group["momentum"]).add_(gradient)
        ahead = gradient.add(momentum, alpha=group["momentum"])
        matrix = orthogonalized(ahead.flatten(1) if ahead.dim() > 1 else ahead.reshape(1, -1))
        if group["weight_decay"]:
            weight.mul_(1 - group["lr"] * group["weight_decay"])
        scale = 0.2 * max(matrix.shape) ** 0.5
        weight.sub_(matrix.reshape(weight.shape) * (group["lr"] * scale))
