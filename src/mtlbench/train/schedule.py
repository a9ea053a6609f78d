"""Learning-rate schedule: a scheduler of torch for each optimizer, by step or by validation score."""

from collections.abc import Callable, Sequence
from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

SchedulerFactory = Callable[[Optimizer, int], LRScheduler]
"""Makes the scheduler of an optimizer for a run of so many steps."""


class Schedule:
    """The schedulers of a run; they act on all optimizers alike, each from its own learning rate.

    Args:
        factory: makes them; ``None``: learning rates stay as they are.
        optimizers: of the run.
        steps: of the whole run, early stopping aside.
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
        """Lower learning rates where the mean of the validation scores that select weights has stopped rising."""
        defined = [score for score in scores if score is not None]
        for scheduler in self._schedulers:
            if isinstance(scheduler, ReduceLROnPlateau):
                scheduler.step(sum(defined) / len(defined))

    def state_dict(self) -> dict[str, Any]:
        return {str(number): scheduler.state_dict() for number, scheduler in enumerate(self._schedulers)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        for number, scheduler in enumerate(self._schedulers):
            scheduler.load_state_dict(state_dict[str(number)])
