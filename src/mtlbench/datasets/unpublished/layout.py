"""The fields of unpublished data, and the statistics from which a stand-in is made."""

from dataclasses import dataclass

PROFILE = {"segment": 20, "city": 300, "age": 8}
"""Attributes of a user, and how many values each has."""

OFFER = {"category": 20, "owner": 100}
"""The same for an item."""


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """Statistics of a data set.

    Attributes:
        name: as in ``dataset=<name>``.
        item: name of the field of what is shown.
        labels: the two tasks, in order.
        rates: share of positive rows of each.
        ceilings: AUC of the true probabilities of each label, for the second of chained labels on rows where the first
            is positive; our choice, as none are published.
        chained: whether the second label occurs only together with the first.
        rows, users, items: as published.
    """

    name: str
    item: str
    labels: tuple[str, ...]
    rates: tuple[float, ...]
    ceilings: tuple[float, ...] = (0.78, 0.78)
    chained: bool
    rows: int
    users: int
    items: int
