"""Training budget: how many steps a run takes at most, and after which of them validation is measured."""

from dataclasses import dataclass
from itertools import pairwise

from mtlbench.train.progress import Progress
from mtlbench.train.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Steps of a run, by its settings and its number of training rows.

    Attributes:
        bounds: first and last-plus-one position of each batch of an epoch.
        total: steps at most: those of ``trainer.epochs``, or ``trainer.steps`` where that is less.
        every: steps between two evaluations: ``trainer.evaluate_every``, or those of an epoch.
    """

    bounds: list[tuple[int, int]]
    total: int
    every: int

    @classmethod
    def of(cls, settings: Settings, rows: int) -> "Budget":
        bounds = batch_bounds(rows, settings.batch_size)
        limits = [settings.steps, None if settings.epochs is None else settings.epochs * len(bounds)]
        return cls(
            bounds=bounds,
            total=min(limit for limit in limits if limit is not None),
            every=settings.evaluate_every or len(bounds),
        )

    def evaluation_after(self, step: int) -> int:
        """The first step after a given one at which validation is measured; at the last of the budget it always is."""
        return min((step // self.every + 1) * self.every, self.total)

    def batches(self, progress: Progress) -> list[tuple[int, int]]:
        """Batches up to the next evaluation or the end of the epoch, whichever comes first."""
        steps = self.evaluation_after(progress.evaluated) - progress.step
        return self.bounds[progress.position : progress.position + steps]

    def epoch(self, step: int) -> int:
        """The epoch that a step is in, the first is 1."""
        return -(-step // len(self.bounds))

    def rows(self, step: int) -> int:
        """Rows that so many steps train on."""
        epochs, position = divmod(step, len(self.bounds))
        return epochs * self.bounds[-1][1] + self.bounds[position][0]


def batch_bounds(rows: int, batch_size: int) -> list[tuple[int, int]]:
    """First and last-plus-one position of each batch of an epoch.

    A single row left over joins the batch before it: statistics of a batch of one are not defined.
    """
    starts = list(range(0, rows, batch_size))
    if len(starts) > 1 and rows - starts[-1] == 1:
        del starts[-1]
    return list(pairwise([*starts, rows]))
