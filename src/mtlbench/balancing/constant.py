"""Constant task weights."""

from collections.abc import Sequence

from torch import Tensor, nn

from mtlbench.balancing.protocol import Gramian
from mtlbench.checks import at_least
from mtlbench.schema import Task


class Equal(nn.Module):
    """Every task counts alike: L = sum_t loss_t, a sum, so that no task's weight depends on another.

    Shape: losses ``[T]`` -> scalar. `tasks` is what every balancing is made with; this one has no use for it.
    """

    def __init__(self, *, tasks: Sequence[Task]) -> None:
        super().__init__()

    def forward(self, losses_T: Tensor, gramian: Gramian) -> Tensor:
        return losses_T.sum()


class Fixed(nn.Module):
    """Every task has its own constant weight: L = sum_t weight_t * loss_t.

    Shape: losses ``[T]`` -> scalar.

    Raises:
        ValueError: not one weight per task, or one that is negative or not finite, or all zero.
    """

    def __init__(self, *, tasks: Sequence[Task], weights: Sequence[float]) -> None:
        super().__init__()
        names = [task.name for task in tasks]
        if len(weights) != len(names):
            raise ValueError(
                f"balancing.weights: found {len(weights)} weights {list(weights)}; "
                f"expected {len(names)}, one for each of the tasks {', '.join(names)}, in this order"
            )
        for name, weight in zip(names, weights, strict=True):
            at_least(f"balancing.weights: the weight of task '{name}'", weight, 0)
        if not any(weights):
            raise ValueError(f"balancing.weights: all are 0, nothing would be learnt of {', '.join(names)}")
        self.weights = tuple(weights)

    def forward(self, losses_T: Tensor, gramian: Gramian) -> Tensor:
        # Python floats, not a tensor of weights: nothing to copy to the device, nothing to wait for.
        terms = [weight * loss for weight, loss in zip(self.weights, losses_T.unbind(0), strict=True)]
        return sum(terms[1:], start=terms[0])
