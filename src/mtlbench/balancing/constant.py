"""Constant task weights."""

from collections.abc import Sequence

from torch import Tensor, nn

from mtlbench.balancing.protocol import Gramian
from mtlbench.checks import at_least
from mtlbench.schema import Task


class Equal(nn.Module):
    """Equal weights: L = sum_t loss_t, a sum, so that a task's weight does not depend on the number of tasks.

    Shape: losses ``[T]`` -> scalar. `tasks` is an argument of every balancing method; it is not used here.
    """

    def __init__(self, *, tasks: Sequence[Task]) -> None:
        super().__init__()

    def forward(self, losses_T: Tensor, gramian: Gramian) -> Tensor:
        return losses_T.sum()


class Fixed(nn.Module):
    """A constant weight per task: L = sum_t weight_t * loss_t.

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
        # Python floats, not a tensor of weights, so that nothing is copied to the device.
        terms = [weight * loss for weight, loss in zip(self.weights, losses_T.unbind(0), strict=True)]
        return sum(terms[1:], start=terms[0])
