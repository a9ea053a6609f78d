"""Learning-rate schedule: a torch scheduler per optimizer, by step or by validation score."""

from collections.abc import Callable, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

SchedulerFactory = Callable[[Optimizer, int], LRScheduler]
"""Builds the scheduler of an optimizer for a given total number of steps."""


class Schedule:
    """The schedulers of a run: the same schedule for all optimizers, each from its own learning rate.

    Args:
        factory: builds a scheduler; ``None`` keeps learning rates constant.
        optimizers: the optimizers of the run.
        steps: steps of the whole run, without early stopping.
    """

    def __init__(self, factory: SchedulerFactory | None, optimizers: Sequence[Optimizer], steps: int) -> None:
        self._schedulers = [factory(optimizer, steps) for optimizer in optimizers] if factory is not None else []

    def __bool__(self) -> bool:
        return bool(self._schedulers)

    def after_step(self) -> None:
        """Set the learning rates of the next step."""
        for scheduler in self._schedulers:
            if not isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step()

    def after_evaluation(self, scores: Sequence[float | None]) -> None:
        """Lower learning rates if the mean of the selection scores on validation rows has stopped rising."""
        defined = [score for score in scores if score is not None]
        for scheduler in self._schedulers:
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(sum(defined) / len(defined))

    def state_dict(self) -> dict[str, Any]:
        return {str(number): scheduler.state_dict() for number, scheduler in enumerate(self._schedulers)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for number, scheduler in enumerate(self._schedulers):
            scheduler.load_state_dict(state_dict[str(number)])
