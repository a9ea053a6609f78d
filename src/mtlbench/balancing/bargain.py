"""Nash-MTL: task weights at the Nash bargaining solution, by Newton's method."""

import torch
from torch import Tensor, nn

from mtlbench.checks import at_least

ITERATIONS = 200
"""Maximum number of Newton steps; about ten are taken."""

PRECISE = 1e-10
"""Newton decrement at which the solution has converged."""

OPPOSITE = 1e-8
"""Added to the Gramian of unit vectors: exactly opposite gradients have no solution, with infinite weights."""


class Nash(nn.Module):
    """Nash-MTL: weights with ``G w = 1 / w``, at which no task can gain relatively more than the others lose.

    They minimise ``w^T G w / 2 - sum_t ln w_t``. Scaling the gradient of one task divides its weight and leaves the
    step as it is, so it is solved on gradients of length 1, and the weights are divided by the lengths.

    Shape: Gramian float64 ``[T, T]`` -> ``[T]``.

    Args:
        max_norm: maximum norm of the step; 0 for no limit.

    Raises:
        ValueError: a negative norm, or one that is not finite.

    Paper: Navon et al.: Multi-Task Learning as a Bargaining Game, ICML 2022, Algorithm 1 and Claim 3.1.
    Departure: the paper, and TorchJD, solve a sequence of convex approximations from the solution before; with three
    conflicting tasks TorchJD's can end more than a third of the step away. The problem is convex itself, and damped
    Newton steps solve it exactly, from the same start every time.
    """

    def __init__(self, max_norm: float) -> None:
        super().__init__()
        at_least("balancing.weighting.max_norm", max_norm, 0)
        self.max_norm = max_norm

    def forward(self, gramian_TT: Tensor) -> Tensor:
        length_T = gramian_TT.diagonal().sqrt()
        cosine_TT = gramian_TT / torch.outer(length_T, length_T) + OPPOSITE * torch.eye(len(length_T)).to(gramian_TT)
        w_T = torch.ones_like(length_T)
        for _ in range(ITERATIONS):
            slope_T = cosine_TT @ w_T - 1 / w_T
            move_T = torch.linalg.solve(cosine_TT + (w_T**-2).diag(), slope_T)
            decrement = (slope_T @ move_T).sqrt()
            w_T = w_T - move_T / (1 + decrement)  # a damped step of a self-concordant function keeps w above 0
            if decrement < PRECISE:
                break
        w_T = w_T / length_T
        norm = (w_T @ gramian_TT @ w_T).sqrt()
        return w_T * self.max_norm / norm if norm > self.max_norm > 0 else w_T
