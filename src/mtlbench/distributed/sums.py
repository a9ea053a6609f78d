"""Sums over the rows of a batch that is distributed over ranks.

There are two kinds of gradients. A loss is a single number of the whole job: each rank backpropagates through its own
rows only, and gradients of parameters are then summed (`mtlbench.distributed.gradients`). A statistic inside the
network (the mean of a batch) is used by the rows of all ranks, so its gradient is the sum of their gradients.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd import Function

from mtlbench.distributed.job import alone
from mtlbench.distributed.ranks import collective


def sum_over_ranks(x: Tensor) -> Tensor:
    """The sum of a tensor over ranks, without gradient."""
    if alone():
        return x
    total = x.detach().clone()
    collective(dist.all_reduce, total)
    return total


def statistic_over_ranks(x: Tensor) -> Tensor:
    """The sum of a tensor over ranks; its gradient is summed over ranks too."""
    return x if alone() else _Statistic.apply(x)


def global_mean(total: Tensor, count: Tensor | int) -> Tensor:
    """``total / count`` with both summed over ranks, 0 where the count is 0; differentiable in this rank's total.

    Args:
        total: sums over this rank's rows, of any shape; 0 where the count is 0.
        count: number, or total weight, of the summed rows (or labels); its shape must broadcast to that of `total`.
    """
    if alone():
        return total / (max(count, 1) if isinstance(count, int) else _nonzero(count))
    counts = torch.as_tensor(count, dtype=torch.float64, device=total.device).expand_as(total)
    sums, counts = sum_over_ranks(torch.stack([total.double(), counts]))
    counts = _nonzero(counts)
    return _Valued.apply(total / counts.to(total.dtype), (sums / counts).to(total.dtype))


def penalties_over_ranks(penalties: Sequence[Tensor], rows: int) -> list[Tensor]:
    """Mean of penalties over ranks, weighted by rows: exact for means over rows and for terms of parameters only."""
    if alone() or not penalties:
        return [*penalties]
    return [*global_mean(torch.stack([*penalties]) * rows, rows).unbind()]


def mean_of_counted(each_B: Tensor, counted_B: Tensor) -> Tensor:
    """(Weighted) mean over the counted rows, 0 if there are none, as a term of a penalty.

    With several ranks, it is scaled so that `penalties_over_ranks` gives the mean over the counted rows of all ranks.

    Args:
        each_B: a value per row; values of rows that are not counted have no effect.
        counted_B: which rows are counted, or their weights (0 or more).
    """
    if counted_B.is_floating_point():
        counted_B = counted_B.to(torch.promote_types(each_B.dtype, torch.float32))
        each_B = each_B * counted_B
    total = each_B.where(counted_B > 0, 0).sum()
    if alone():
        return total / _nonzero(counted_B.sum())
    counts = torch.stack([counted_B.sum(), torch.full_like(counted_B.sum(), len(counted_B))])
    counted, rows = sum_over_ranks(counts.double())
    return total / (_nonzero(counted) * len(counted_B) / rows).to(torch.promote_types(total.dtype, torch.float32))


def _nonzero(count: Tensor) -> Tensor:
    """The count, or 1 where it is 0."""
    return count.where(count > 0, 1)


class _Statistic(Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return sum_over_ranks(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return sum_over_ranks(gradient)


class _Valued(Function):
    """The value of the second tensor, with the gradient of the first."""

    @staticmethod
    def forward(ctx: Any, part: Tensor, value: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return value.clone()

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return gradient, None
