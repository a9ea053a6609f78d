"""Interface between the training loop and a balancing method."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

Gramian = Callable[[], Tensor]
"""Inner products ``[T, T]`` of the tasks' gradients on what the tasks share; T backward passes when it is called."""


class Balancing(Protocol):
    """Losses ``[T]`` of a step -> the scalar whose gradient is followed, beside the penalties that blocks add.

    Made with ``tasks=``. The derivative of the scalar by a task's loss is the weight of this task in this step; the
    journal has it. What a balancing remembers is in its state, so that a run resumes to the bit.
    """

    def __call__(self, losses_T: Tensor, gramian: Gramian) -> Tensor: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


@runtime_checkable
class AfterStep(Protocol):
    """A balancing that learns from what a step has done to the losses of its batch."""

    def after_step(self, losses: Callable[[], Tensor]) -> None:
        """Called when the model has moved; `losses` measures the same batch again, ``[T]``, without a graph."""
        ...


@runtime_checkable
class AfterEpoch(Protocol):
    """A balancing that counts epochs."""

    def after_epoch(self) -> None:
        """Called when all batches of an epoch are done."""
        ...
