"""Consecutive label windows of days: actions within a window are predicted from all actions before it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from mtlbench.datasets.ijcai15.layout import MONTH_DAYS

OUTSIDE = -1


@dataclass(frozen=True, slots=True)
class Windows:
    """Consecutive windows of equal length, numbered from 0 in the order of time; days are days of the year.

    Attributes:
        count: how many.
        days: of each.
        last: last day of the last one.
    """

    count: int
    days: int
    last: int

    def start(self, window: int) -> int:
        """First day of a window."""
        return self.last + 1 - (self.count - window) * self.days

    def of(self, day: npt.NDArray[np.integer]) -> npt.NDArray[np.int64]:
        """The window of each day, `OUTSIDE` where there is none."""
        window = (day.astype(np.int64) - self.start(0)) // self.days
        return np.where((window >= 0) & (window < self.count), window, OUTSIDE)

    def require(self, first: int, last: int) -> None:
        """Reject a log of the days ``first`` to ``last`` that ends before the windows do, or begins with them."""
        if last < self.last or self.start(0) <= first:
            raise ValueError(
                f"the log goes from {MONTH_DAYS[first - 1]} to {MONTH_DAYS[last - 1]}; dataset.windows={self.count} of "
                f"dataset.window_days={self.days} end on {MONTH_DAYS[self.last - 1]}. It must not end before then (see "
                f"dataset.last_day), and must begin more than {self.count * self.days} days earlier"
            )
