"""GradNorm: balances gradient norms by the relative training rates of the tasks."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtlbench.balancing.learnt import Learnt
from mtlbench.balancing.protocol import Gramian
from mtlbench.checks import at_least
from mtlbench.schema import Task

LEAST = 1e-3
"""Lower bound of the weights: at 0, a task would be ignored for ever."""


class GradNorm(nn.Module):
    """``L = sum_t w_t loss_t``, where w descends along ``sum_t |w_t n_t - mean_j(w_j n_j) r_t^asymmetry|``.

    n_t is the norm of the gradient of loss t with respect to shared parameters, ``r_t = (loss_t / first loss_t)`` over
    its mean is the inverse rate at which the task trains; the target has no gradient. After each step the weights are
    scaled to sum to T.

    Shape: losses ``[T]`` -> scalar.

    Args:
        tasks: the tasks.
        asymmetry: alpha of the paper; 0 equalises norms, larger values favour slow tasks more.
        lr: learning rate of w, by Adam.

    Raises:
        ValueError: a negative asymmetry.

    Paper: Chen, Badrinarayanan, Lee, Rabinovich: GradNorm: Gradient Normalization for Adaptive Loss Balancing in Deep
    Multitask Networks, ICML 2018, Algorithm 1, Eqs. 1 and 2.
    Departure: norms are taken on all that the tasks share, not on its last layer alone, which no model has to name.
    Weights stay above 0.001. The first loss of a task is that of the first batch that observes a label of it. A batch
    in which some task has no gradient leaves the weights as they are.
    """

    first: Tensor

    def __init__(self, *, tasks: Sequence[Task], asymmetry: float, lr: float) -> None:
        super().__init__()
        at_least("balancing.asymmetry", asymmetry, 0)
        self.asymmetry = asymmetry
        self.weights = Learnt(torch.ones(len(tasks)), lr=lr)
        self.register_buffer("first", torch.zeros(len(tasks)))

    def forward(self, losses_T: Tensor, gramian: Gramian) -> Tensor:
        w_T, fixed_T = self.weights.value.detach().clone(), losses_T.detach()
        norm_T = gramian().diagonal().sqrt().to(w_T.dtype)
        self.first.copy_(torch.where(self.first > 0, self.first, fixed_T))
        if bool((norm_T > 0).all()):
            self._learn(norm_T, fixed_T / self.first)
        return (w_T * losses_T).sum()

    @torch.no_grad()
    def _learn(self, norm_T: Tensor, remaining_T: Tensor) -> None:
        w_T = self.weights.value
        target_T = (w_T * norm_T).mean() * (remaining_T / remaining_T.mean()) ** self.asymmetry
        self.weights.descend(torch.sign(w_T * norm_T - target_T) * norm_T)
        w_T.clamp_(min=LEAST)
        w_T.mul_(len(w_T) / w_T.sum())
