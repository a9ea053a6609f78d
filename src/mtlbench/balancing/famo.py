"""FAMO: fast adaptive multi-task optimization, equal relative loss decrease without per-task gradients."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mtlbench.balancing.learnt import Learnt
from mtlbench.balancing.protocol import Gramian
from mtlbench.schema import Task


class FAMO(nn.Module):
    """``L = c sum_t z_t ln loss_t`` with ``z = softmax(w)`` and ``1 / c = sum_t z_t / loss_t``, which has no gradient.

    So a task weighs ``c z_t / loss_t``, and the weights sum to 1. After each step the losses of its batch are measured
    again (one more forward pass), and w descends along ``dz / dw`` times ``ln loss_before - ln loss_after``: what has
    fallen faster weighs less from now on.

    Shape: losses ``[T]`` -> scalar.

    Args:
        tasks: the tasks.
        lr: learning rate of w, by Adam.
        weight_decay: draws w to 0, hence the z to each other (gamma of the paper).

    Paper: Liu, Feng, Stone, Liu: FAMO: Fast Adaptive Multitask Optimization, NeurIPS 2023, Algorithm 1.
    Departure: a task without any observed label in a batch has loss 0, and no part in z for this batch. The second
    forward pass is one of training: it draws noise anew and moves running statistics.
    """

    def __init__(self, *, tasks: Sequence[Task], lr: float, weight_decay: float) -> None:
        super().__init__()
        self.logits = Learnt(torch.zeros(len(tasks)), lr=lr, weight_decay=weight_decay)
        self._before = torch.zeros(len(tasks))

    def forward(self, losses_T: Tensor, gramian: Gramian) -> Tensor:
        self._before = fixed_T = losses_T.detach()
        part_T = torch.where(fixed_T > 0, torch.softmax(self.logits.value.detach(), dim=0) / fixed_T, 0.0)
        # Its value differs from the logarithms' by a constant, its gradient does not.
        return (part_T / part_T.sum().clamp(min=torch.finfo(part_T.dtype).tiny) * losses_T).sum()

    def after_step(self, losses: Callable[[], Tensor]) -> None:
        before_T, after_T = self._before, losses()
        both_T = (before_T > 0) & (after_T > 0)
        fallen_T = torch.where(both_T, before_T.log() - after_T.log(), 0.0)
        z_T = torch.softmax(self.logits.value.detach(), dim=0)
        self.logits.descend(z_T * (fallen_T - (z_T * fallen_T).sum()))
