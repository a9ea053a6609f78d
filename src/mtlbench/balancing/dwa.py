"""Dynamic weight average (DWA): tasks whose loss falls more slowly get more weight in the next epoch."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtlbench.balancing.protocol import Gramian
from mtlbench.checks import in_range
from mtlbench.schema import Task


class DynamicWeightAverage(nn.Module):
    """``w_t = T softmax_t(r_t / temperature)``, ``r_t`` = mean loss of the last epoch / of the one before it.

    The weights sum to the number of tasks and are 1 in the first two epochs.

    Shape: losses ``[T]`` -> scalar.

    Args:
        tasks: the tasks.
        temperature: the higher, the more equal the weights.

    Raises:
        ValueError: a temperature that is not above 0.

    Paper: Liu, Johns, Davison: End-to-End Multi-Task Learning with Attention, CVPR 2019, Eq. 7.
    Departure: the mean is over the batches that observe a label of the task; a task without any in an epoch has r = 1.
    """

    total: Tensor
    batches: Tensor
    means: Tensor

    def __init__(self, *, tasks: Sequence[Task], temperature: float) -> None:
        super().__init__()
        in_range("balancing.temperature", temperature, gt=0)
        self.temperature = temperature
        self.register_buffer("total", torch.zeros(len(tasks), dtype=torch.float64))
        self.register_buffer("batches", torch.zeros(len(tasks), dtype=torch.int64))
        # Mean losses of the epoch before the last one, and of the last one; 0 where there is none.
        self.register_buffer("means", torch.zeros(2, len(tasks), dtype=torch.float64))

    def forward(self, losses_T: Tensor, gramian: Gramian) -> Tensor:
        fixed_T = losses_T.detach()
        self.total += fixed_T
        self.batches += fixed_T > 0
        return (self.weights().to(losses_T.dtype) * losses_T).sum()

    def weights(self) -> Tensor:
        """Those of the current epoch, ``[T]``."""
        before_T, last_T = self.means
        ratio_T = torch.where((before_T > 0) & (last_T > 0), last_T / before_T, 1.0)
        return len(ratio_T) * torch.softmax(ratio_T / self.temperature, dim=0)

    def after_epoch(self) -> None:
        mean_T = self.total / self.batches.clamp(min=1)
        self.means.copy_(torch.stack([self.means[1], mean_T]))
        self.total.zero_()
        self.batches.zero_()
