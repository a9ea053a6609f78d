"""The world that the IJCAI-15 simulator plants: users with tastes, items, and how what was done leads to what is done.

* An item has a category, a seller and nearly always a brand; popularity falls as a power of the rank. Every category
  is a direction in a plane.
* A user has a taste, a direction too, and half of what a user meets is the best fitting of a few popular items. So the
  past shows the taste; but it is the past, not the hidden taste, on which labels depend.
* The log-odds of a label are a sum of `SHARES`: of the candidate's category and seller; of the user's profile; of how
  often the user favourited (bought) before; of the weighted mean, over the bags of past categories, sellers and brands,
  of a number that each of these has; and of how the mean direction of the past categories lies to the candidate's.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mtlbench.datasets.ijcai15.history import Events, Past
from mtlbench.datasets.ijcai15.layout import EVENT, MISSING, MONTH_DAYS, Integers
from mtlbench.datasets.ijcai15.samples import LABELS
from mtlbench.datasets.ijcai15.windows import OUTSIDE, Windows

TASKS = 2
PUBLISHED_ROWS, ROWS_PER_USER = 1_862_193, 1_862_193 / 219_973
"""Samples of MSSM, and how many of them a user has."""
SIZES = {"item_id": 219_182, "cat_id": 1_658, "seller_id": 4_995, "brand_id": 8_443}
"""At that size: the items of MSSM's samples, the others as in the whole log."""
GROWTH = {"item_id": 1.0, "cat_id": 0.5, "seller_id": 0.75, "brand_id": 0.75}
"""How a size grows with the rows: as this power of them."""
STEEPNESS = {"item_id": 3.0, "cat_id": 3.0, "seller_id": 3.0, "brand_id": 3.0}
"""A rank is ``floor(size * u ** steepness)`` for a uniform u."""
NO_BRAND, NO_AGE, NO_GENDER = 0.02, 2_217 / 424_170, 6_436 / 424_170
"""Published are 91,015 lines (0.2 %) without a brand: too few to occur in a small simulation."""
FIRST, DOUBLE_ELEVEN, LAST = (int(np.searchsorted(MONTH_DAYS, written)) + 1 for written in (511, 1111, 1112))
"""Days of the year. That the published log goes from 511 to 1112 is said in places, and not checked."""
AGES, GENDERS = 9, 3
DOUBLE_ELEVEN_WEIGHT = 10_582_633 / ((54_925_330 - 10_582_633) / 185)
"""Lines on that day for one on another day."""
EAGERNESS = 0.8
"""Deviation of the logarithm of how often a user favourites, or buys, outside the windows."""
PROPOSALS, OFF_TASTE = 4, 0.5
BAGS = ("cat_id", "seller_id", "brand_id")
SHARES = {
    "candidate": 0.2,
    "profile": 0.1,
    "counts": 0.15,
    "past cat_id": 0.25,
    "past seller_id": 0.1,
    "past brand_id": 0.05,
    "match": 0.15,
}
"""Shares of the variance of a task's log-odds; seven tenths come from the past."""

Floats = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True, slots=True)
class Crowd:
    """Some users and the pairs that they meet; U users, R pairs.

    Attributes:
        first: place of the first user among all; the others follow.
        age, gender: ``[U]``, as written, `MISSING` where nothing is: which says as little as 0 and 2.
        eager: ``[U, TASKS]``, how often a user favourites and buys, for one on average, outside the windows.
        who, item, day, window: int64 ``[R]``, user within the crowd, item, day of the year, and window of each pair; no
            pair stands twice in a window.
    """

    first: int
    age: Integers
    gender: Integers
    eager: Floats
    who: Integers
    item: Integers
    day: Integers
    window: Integers


@dataclass(frozen=True, kw_only=True)
class World:
    """All users and items.

    Attributes:
        rows: samples, to which all sizes are fitted.
        seed: of everything.
        history: mean number of pairs of a user before the first window.
        windows: in which the samples lie.
    """

    rows: int
    seed: int
    history: float
    windows: Windows

    @cached_property
    def sizes(self) -> dict[str, int]:
        """How many items, categories, sellers and brands there are."""
        share = min(1.0, self.rows / PUBLISHED_ROWS)
        return {name: max(50, round(size * share ** GROWTH[name])) for name, size in SIZES.items()}

    @cached_property
    def catalogue(self) -> dict[str, Integers]:
        """Category, seller and brand of every item, numbered from 0."""
        random = np.random.default_rng([self.seed, 1])
        items = self.sizes["item_id"]
        catalogue = {name: self._ranks(random.random(items), name) for name in BAGS}
        catalogue["brand_id"][random.random(items) < NO_BRAND] = MISSING
        return catalogue

    @cached_property
    def direction(self) -> Floats:
        """Of every category, ``[C, 2]``."""
        return _direction(np.random.default_rng([self.seed, 2]).uniform(0, 2 * np.pi, self.sizes["cat_id"]))

    @cached_property
    def effects(self) -> dict[str, Floats]:
        """Standard normal numbers of a candidate's, a past or a profile's values, ``[values, TASKS]``."""
        random = np.random.default_rng([self.seed, 3])
        values = {f"past {name}": self.sizes[name] for name in BAGS}
        values |= {
            "cat_id": self.sizes["cat_id"],
            "seller_id": self.sizes["seller_id"],
            "age": AGES,
            "gender": GENDERS,
        }
        return {name: random.standard_normal((size, TASKS)) for name, size in values.items()}

    def pairs_of_users(self) -> Integers:
        """Pairs of each user, which sum to `rows`: geometric, with the published mean."""
        random = np.random.default_rng([self.seed, 4])
        pairs = random.geometric(1 / ROWS_PER_USER, int(self.rows / ROWS_PER_USER * 1.5) + 100)
        after = np.cumsum(pairs)
        last = int(np.searchsorted(after, self.rows))
        pairs[last] -= after[last] - self.rows
        return pairs[: last + 1]

    def crowd(self, first: int, pairs: Integers) -> Crowd:
        """Users ``first``, ``first + 1``, ... who have so many pairs each."""
        random = np.random.default_rng([self.seed, 5, first])
        users, start, end = len(pairs), self.windows.start(0), self.windows.last
        after = day_weights(end + 1, LAST).sum() / day_weights(FIRST, start - 1).sum()
        counts = (random.geometric(1 / self.history, users), pairs, random.poisson(self.history * after, users))
        spans = ((FIRST, start - 1), (start, end), (end + 1, LAST))
        who = np.concatenate([np.repeat(np.arange(users), count) for count in counts])
        day = np.concatenate([days(random, *span, int(count.sum())) for span, count in zip(spans, counts, strict=True)])
        window = self.windows.of(day)
        taste = random.uniform(0, 2 * np.pi, users)
        item = self._items(random, taste[who])
        within = np.flatnonzero(window != OUTSIDE)
        item[within] = self._distinct(random, who[within] * self.windows.count + window[within], item[within])
        return Crowd(
            first=first,
            age=_unless(random, random.integers(0, AGES, users), NO_AGE),
            gender=_unless(random, random.integers(0, GENDERS, users), NO_GENDER),
            eager=np.exp(EAGERNESS * random.standard_normal((users, TASKS)) - EAGERNESS**2 / 2),
            who=who,
            item=item,
            day=day,
            window=window,
        )

    def events(self, who: Integers, item: Integers, day: Integers, action: Integers) -> np.ndarray:
        """Events by columns; ids count from 1, as published ones."""
        events = np.empty(len(who), EVENT)
        events["user"], events["item_id"], events["day"], events["action"] = who, item + 1, day, action
        for name, values in self.catalogue.items():
            events[name] = np.where(values[item] == MISSING, MISSING, values[item] + 1)
        return events

    def components(self, crowd: Crowd, events: np.ndarray, window: int) -> dict[str, Floats]:
        """Parts of the two scores of the crowd's pairs of a window, not yet scaled: ``[r, TASKS]`` by name in `SHARES`.

        Args:
            crowd: of users.
            events: all that they did before the window; what they did later is not looked at.
            window: its number.
        """
        rows, users, day = crowd.window == window, len(crowd.age), self.windows.start(window)
        who, item = crowd.who[rows], crowd.item[rows]
        category, seller = self.catalogue["cat_id"][item], self.catalogue["seller_id"][item]
        known = Events.of(events, np.arange(users))
        means = {f"past {name}": _means(known, name, day, self.effects[f"past {name}"], users)[who] for name in BAGS}
        past, shown = _means(known, "cat_id", day, self.direction, users)[who], self.direction[category]
        along = (past * shown).sum(axis=1)
        across = past[:, 0] * shown[:, 1] - past[:, 1] * shown[:, 0]
        early = events[events["day"] < day]
        counts = [np.bincount(early["user"][early["action"] == action], minlength=users) for action in LABELS.values()]
        profile = self.effects["age"][np.where(crowd.age == MISSING, 0, crowd.age)]
        profile = profile + self.effects["gender"][np.where(crowd.gender == MISSING, 2, crowd.gender)]
        return {
            "candidate": self.effects["cat_id"][category] + self.effects["seller_id"][seller],
            "profile": profile[who],
            "counts": np.log1p(np.stack(counts, axis=1))[who],
            "match": np.stack([along, across], axis=1),
        } | means

    def _items(self, random: np.random.Generator, taste: Floats) -> Integers:
        """An item for each taste: the best fitting of a few popular ones, or just a popular one."""
        proposed = self._ranks(random.random((len(taste), PROPOSALS)), "item_id")
        fit = (self.direction[self.catalogue["cat_id"][proposed]] * _direction(taste)[:, None]).sum(axis=2)
        chosen = np.where(random.random(len(taste)) < OFF_TASTE, 0, fit.argmax(axis=1))
        return np.take_along_axis(proposed, chosen[:, None], axis=1)[:, 0]

    def _distinct(self, random: np.random.Generator, group: Integers, item: Integers) -> Integers:
        """The same items, but any other one where a group has it already."""
        items = self.sizes["item_id"]
        while True:
            _, first = np.unique(group * items + item, return_index=True)
            again = np.delete(np.arange(len(item)), first)
            if not len(again):
                return item
            item[again] = random.integers(0, items, len(again))

    def _ranks(self, uniform: Floats, name: str) -> Integers:
        return (self.sizes[name] * uniform ** STEEPNESS[name]).astype(np.int64)


def day_weights(first: int, last: int) -> Floats:
    """How many lines the days from one to another have, for one on an ordinary day."""
    return np.where(np.arange(first, last + 1) == DOUBLE_ELEVEN, DOUBLE_ELEVEN_WEIGHT, 1.0)


def days(random: np.random.Generator, first: int, last: int, count: int) -> Integers:
    """So many days from one to another, drawn by their weights."""
    if not count:
        return np.empty(0, np.int64)
    weight = day_weights(first, last)
    return random.choice(np.arange(first, last + 1), size=count, p=weight / weight.sum())


def _means(events: Events, column: str, day: int, numbers: Floats, users: int) -> Floats:
    """Weighted mean of the numbers of what is in each user's bag before a day, ``[users, 2]``; 0 of an empty bag."""
    who, value, count = Past.of(events, column).before(day, np.ones(len(events.users), bool))
    user, weight = events.users[who], np.log1p(count)
    sums = [np.bincount(user, weight * number, users) for number in numbers[value - 1].T]
    return np.stack(sums, axis=1) / np.maximum(np.bincount(user, weight, users), 1e-12)[:, None]


def _unless(random: np.random.Generator, values: Integers, missing: float) -> Integers:
    """The values, but `MISSING` in this share of cases."""
    return np.where(random.random(len(values)) < missing, MISSING, values)


def _direction(angle: Floats) -> Floats:
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)
