"""Event histories of users, and counts of past values before a day."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from mtlbench.datasets.ijcai15.bucket_log import rank_of
from mtlbench.datasets.ijcai15.layout import MISSING, Integers

DAYS = 512
"""More than the days of a year, so that user * DAYS + day is unique."""


@dataclass(frozen=True, slots=True)
class Events:
    """Events of U users, by user, day and line.

    Attributes:
        columns: `EVENT` ``[N]``.
        users: ``[U]``, the index of each among all users, in the order of `rank_of`.
        who: ``[N]``, the position of each event's user in ``users``.
    """

    columns: np.ndarray
    users: Integers
    who: Integers

    @classmethod
    def of(cls, columns: np.ndarray, user_ids: Integers) -> Self:
        """Bring events from the order of their lines into this order."""
        users, who = np.unique(columns["user"], return_inverse=True)
        by_rank = np.argsort(rank_of(user_ids[users]))
        position = np.empty_like(by_rank)
        position[by_rank] = np.arange(len(users))
        who = position[who]
        order = np.argsort(who * DAYS + columns["day"], kind="stable")
        return cls(columns[order], users[by_rank], who[order])


@dataclass(frozen=True, slots=True)
class Past:
    """Events by user, value of one column, and day; G distinct pairs of user and value.

    Attributes:
        who, value: ``[G]``.
        first: ``[G]``, where each pair's events begin.
        day: ``[N]``, of each event.
    """

    who: Integers
    value: Integers
    first: Integers
    day: Integers

    @classmethod
    def of(cls, events: Events, column: str) -> Self:
        """The past of all events that have a value."""
        values = events.columns[column]
        order = np.flatnonzero(values != MISSING)
        order = order[np.lexsort((values[order], events.who[order]))]
        who, value = events.who[order], values[order]
        first = runs_of_equal(who, value)
        return cls(who[first], value[first], first, events.columns["day"][order])

    def before(self, day: int, among: npt.NDArray[np.bool_]) -> tuple[Integers, Integers, Integers]:
        """User, value, and number of events before a day; by user, the most recent first.

        Args:
            day: the first day that does not count.
            among: ``[U]``, which users to include.
        """
        if not len(self.first):
            return self.who, self.value, self.first
        count = np.add.reduceat(self.day < day, self.first, dtype=np.int64)
        met = np.flatnonzero((count > 0) & among[self.who])
        latest = self.day[self.first[met] + count[met] - 1]
        order = met[np.argsort(self.who[met] * DAYS - latest, kind="stable")]
        return self.who[order], self.value[order], count[order]


def runs_of_equal(*columns: Integers) -> Integers:
    """Positions at which runs of equal entries begin."""
    differs = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return np.flatnonzero(np.concatenate((np.ones(min(len(columns[0]), 1), bool), differs)))
