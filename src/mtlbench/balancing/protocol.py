"""Interface between the training loop and a balancing method."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

Gramian = Callable[[], Tensor]
"""Returns the Gramian ``[T, T]`` of the tasks' gradients of shared parameters; each call takes T backward passes."""


class Balancing(Protocol):
    """A balancing method: maps the losses ``[T]`` of a step to a scalar to minimise, in addition to penalties of
    blocks.

    It is constructed with ``tasks=``. The derivative of the scalar with respect to a task's loss is the task's weight
    in this step, which is logged. All memory must be in its state, so that a run resumes bit for bit.
    """

    def __call__(self, losses_T: Tensor, gramian: Gramian) -> Tensor: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state_dict: dict[str, Any]) -> Any: ...


@runtime_checkable
class AfterStep(Protocol):
    """A balancing method that uses the losses of a batch after its step."""

    def after_step(self, losses: Callable[[], Tensor]) -> None:
        """Called after the update; `losses` computes the losses ``[T]`` of the same batch again, without a graph."""
        ...


@runtime_checkable
class AfterEpoch(Protocol):
    """A balancing method that updates after each epoch."""

    def after_epoch(self) -> None:
        """Called at the end of each epoch."""
        ...
