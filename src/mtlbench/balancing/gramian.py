"""Gramian-based weightings (PCGrad, CAGrad, IMTL-G and others): task weights from inner products of gradients."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from mtlbench.balancing.protocol import Gramian
from mtlbench.schema import Task


class GramianWeights(nn.Module):
    """``L = sum_t w_t loss_t`` with ``w = weighting(G)``, ``G_ij`` the inner product of two tasks' gradients.

    The gradients are those on what the tasks share, so the step on it is the one that the method asks for: most methods
    that bend gradients give a combination of them whose factors follow from G. PCGrad, CAGrad, IMTL-G, GradVac and
    Aligned-MTL are weightings of TorchJD; MGDA, UPGrad and Nash-MTL are ours, exact at any lengths of the gradients.

    Only IMTL-G and Nash-MTL take steps whose direction does not depend on the scale of one task's loss. The others are
    not scale invariant by their papers: PCGrad, GradVac, CAGrad and UPGrad start from the sum or the mean of the
    gradients, which a long one leads; MGDA is led by the shortest, Aligned-MTL turns with the principal axes.

    Shape: losses ``[T]``, Gramian ``[T, T]`` -> scalar.

    Args:
        tasks: the tasks.
        weighting: ``[T, T]`` -> ``[T]``, on the CPU and in float64; what it remembers is in its state.
        scaled: divide G by its mean diagonal before. These methods do not depend on the length of all gradients
            together, but TorchJD takes small absolute numbers for zero (CAGrad would stand still at norms below 0.01).

    Departure: what a task has for itself (a tower) is scaled by the same weight, where papers leave its gradient as it
    is. Penalties are no task: their gradients are added as they are. A batch in which some task has no gradient (none
    of its labels is observed) takes the weights of the batch before it, 1 in the beginning.
    """

    weights: Tensor

    def __init__(self, *, tasks: Sequence[Task], weighting: Callable[[Tensor], Tensor], scaled: bool = True) -> None:
        super().__init__()
        self.weighting, self.scaled = weighting, scaled
        self.register_buffer("weights", torch.ones(len(tasks), dtype=torch.float64))

    def forward(self, losses_T: Tensor, gramian: Gramian) -> Tensor:
        gramian_TT = gramian().cpu()  # solvers work there, and a matrix this small is quick there
        norm_T = gramian_TT.diagonal()
        # What is not finite is not for a solver; the loop stops a run whose losses are not.
        if bool((norm_T > 0).all()) and bool(gramian_TT.isfinite().all()):
            self.weights.copy_(self.weighting(gramian_TT / norm_T.mean() if self.scaled else gramian_TT))
        return (self.weights.to(losses_T) * losses_T).sum()
