"""Uncertainty weighting: task weights from learned noise levels (homoscedastic uncertainty)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtlbench.balancing.learnt import Learnt
from mtlbench.balancing.protocol import Gramian
from mtlbench.schema import Task


class Uncertainty(nn.Module):
    """``L = sum_t exp(-s_t) loss_t + s_t / 2`` with the learnt log-variance ``s_t = ln sigma_t^2``, at first 0.

    At rest ``exp(s_t) = 2 loss_t``: each task then weighs ``1 / (2 loss_t)``.

    Shape: losses ``[T]`` -> scalar.

    Args:
        tasks: the tasks.
        lr: learning rate of the log-variances.

    Paper: Kendall, Gal, Cipolla: Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
    Semantics, CVPR 2018, the form of its classification loss (1 / sigma^2, not 1 / (2 sigma^2)).
    Departure: the log-variances have an Adam of their own, whatever moves the model. A batch without any observed
    label of a task gives that task's log-variance no gradient. Regression tasks have the form of the others: in that of
    the paper, ``exp(-s_t) loss_t / 2 + s_t / 2``, the weight at rest is the same.
    """

    def __init__(self, *, tasks: Sequence[Task], lr: float) -> None:
        super().__init__()
        self.log_variance = Learnt(torch.zeros(len(tasks)), lr=lr)

    def forward(self, losses_T: Tensor, gramian: Gramian) -> Tensor:
        s_T, fixed_T = self.log_variance.value.detach().clone(), losses_T.detach()
        self.log_variance.descend(torch.where(fixed_T > 0, 0.5 - torch.exp(-s_T) * fixed_T, 0.0))
        return (torch.exp(-s_T) * losses_T + s_T / 2).sum()
