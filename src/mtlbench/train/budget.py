"""Training budget: the maximum number of steps of a run, and the steps after which it is validated."""

from dataclasses import dataclass
from itertools import pairwise

from mtlbench.train.progress import Progress
from mtlbench.train.settings import Settings


@dataclass(frozen=True, kw_only=True)
class Budget:
    """Training budget of a run, in steps.

    Attributes:
        bounds: first and last-plus-one position of each batch of an epoch.
        total: maximum number of steps: those of ``trainer.epochs``, or ``trainer.steps`` if fewer.
        every: steps between two evaluations: ``trainer.evaluate_every``, or the length of an epoch.
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
        """The next step that is followed by an evaluation; the last step of the budget always is."""
        return min((step // self.every + 1) * self.every, self.total)

    def batches(self, progress: Progress) -> list[tuple[int, int]]:
        """Batches up to the next evaluation or the end of the epoch, whichever comes first."""
        steps = self.evaluation_after(progress.evaluated) - progress.step
        return self.bounds[progress.position : progress.position + steps]

    def epoch(self, step: int) -> int:
        """The epoch of a step, counted from 1."""
        return -(-step // len(self.bounds))

    def rows(self, step: int) -> int:
        """The number of rows in a number of steps."""
        epochs, position = divmod(step, len(self.bounds))
        return epochs * self.bounds[-1][1] + self.bounds[position][0]


def batch_bounds(rows: int, batch_size: int) -> list[tuple[int, int]]:
    """First and last-plus-one position of each batch of an epoch.

    A single remaining row joins the batch before it: the statistics of a batch of one are undefined.
    """
    starts = list(range(0, rows, batch_size))
    if len(starts) > 1 and rows - starts[-1] == 1:
        del starts[-1]
    return list(pairwise([*starts, rows]))
