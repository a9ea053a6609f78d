"""Dice activation: a leaky ReLU whose threshold adapts to the distribution of its input."""

import torch
from torch import Tensor, nn

from mtlbench.distributed.job import alone
from mtlbench.distributed.sums import statistic_over_ranks, sum_over_ranks

EPSILON = 1e-8
"""Added to the variance, as in the authors' code."""
MOMENTUM = 0.1
"""Weight of a batch in the running statistics, torch's usual one."""


class Dice(nn.Module):
    """``p s + alpha (1 - p) s`` with ``p = sigmoid((s - mean) / sqrt(var + epsilon))``, unit by unit.

    Mean and variance are those of the batch in training (of all processes), and running ones in evaluation, so that
    rows do not depend on each other there. Positions that are not counted (padding of a history) enter neither: longer
    padding changes nothing.

    Shape: ``[E, B, H]``, and ``counted`` bool ``[B]`` or ``None`` -> ``[E, B, H]``.

    Args:
        stacks: E, layers side by side, each with its own statistics.
        width: H.

    Raises:
        ValueError: a batch of one row in training, which has no variance.

    Paper: Zhou et al.: Deep Interest Network for Click-Through Rate Prediction (DIN), KDD 2018. The units' alpha
    starts at 0.
    Departure: the authors' code multiplies the sigmoid's argument by another trained factor, which starts at 0, and
    never updates the statistics; neither is in the paper, nor here.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, stacks: int, width: int) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(stacks, 1, width))
        self.register_buffer("mean", torch.zeros(stacks, 1, width))
        self.register_buffer("variance", torch.ones(stacks, 1, width))

    def forward(self, s_EBH: Tensor, counted_B: Tensor | None = None) -> Tensor:
        # In float32 under autocast too: statistics of eight significant bits would shift the threshold.
        exact_EBH = s_EBH.to(torch.promote_types(s_EBH.dtype, torch.float32))
        mean_E1H, variance_E1H = self._statistics(exact_EBH, counted_B) if self.training else (self.mean, self.variance)
        p_EBH = torch.sigmoid((exact_EBH - mean_E1H) * torch.rsqrt(variance_E1H + EPSILON))
        return (exact_EBH * (p_EBH + self.alpha * (1 - p_EBH))).to(s_EBH.dtype)

    def _statistics(self, s_EBH: Tensor, counted_B: Tensor | None) -> tuple[Tensor, Tensor]:
        """Mean and (biased) variance of the rows that count; the running ones move towards them."""
        if counted_B is None and alone():
            if s_EBH.shape[1] < 2:
                raise ValueError(
                    "Dice in training got a batch of one row, which has no variance; allowed: two rows or more (set "
                    "trainer.batch_size above 1, or choose an activation of relu)"
                )
            rows = torch.full((), s_EBH.shape[1], dtype=s_EBH.dtype, device=s_EBH.device)
            variance_E1H, mean_E1H = torch.var_mean(s_EBH, dim=1, keepdim=True, correction=0)
        else:
            weight_B1 = (s_EBH.new_ones(s_EBH.shape[1]) if counted_B is None else counted_B.to(s_EBH.dtype))[:, None]
            rows = sum_over_ranks(weight_B1.sum()).clamp(min=1)
            mean_E1H = statistic_over_ranks((weight_B1 * s_EBH).sum(dim=1, keepdim=True)) / rows
            apart_EBH = weight_B1 * (s_EBH - mean_E1H).square()
            variance_E1H = statistic_over_ranks(apart_EBH.sum(dim=1, keepdim=True)) / rows
        self._remember(mean_E1H.detach(), variance_E1H.detach(), rows)
        return mean_E1H, variance_E1H

    def _remember(self, mean_E1H: Tensor, variance_E1H: Tensor, rows: Tensor) -> None:
        """Move the running statistics (of the unbiased variance). A single row has no variance."""
        share = (MOMENTUM * (rows > 1)).to(self.mean.dtype)
        unbiased_E1H = variance_E1H * rows / (rows - 1).clamp(min=1)
        self.mean.lerp_(mean_E1H.to(self.mean.dtype), share)
        self.variance.lerp_(unbiased_E1H.to(self.variance.dtype), share)
