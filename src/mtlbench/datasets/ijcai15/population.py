"""The population of the IJCAI-15 simulator: users with tastes, items, and how past actions lead to later ones.

* An item has a category, a seller and nearly always a brand; popularity falls as a power of the rank. Every category
  is a direction in a plane.
* A user has a taste, also a direction, and half of the items that a user sees are the best fitting of a few popular
  ones. So the past reflects the taste; but labels depend on the past, not on the hidden taste.
* The log-odds of a label are a sum of components with these `SHARES`: the candidate's category and seller; the user's
  profile; how often the user favourited (bought) before; the weighted mean, over the bags of past categories, sellers
  and brands, of an effect of each; and the mean direction of the past categories relative to the candidate's.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from mtlbench.datasets.draws import Floats, RankedValues, group_sizes
from mtlbench.datasets.ijcai15.history import Events, Past
from mtlbench.datasets.ijcai15.layout import EVENT, MISSING, MONTH_DAYS, Integers
from mtlbench.datasets.ijcai15.samples import LABELS
from mtlbench.datasets.ijcai15.windows import OUTSIDE, Windows
from mtlbench.datasets.planted import Components, Effects, Term
from mtlbench.datasets.simulated_files import check_settings

TASKS = 2
PUBLISHED_ROWS, ROWS_PER_USER = 1_862_193, 1_862_193 / 219_973
"""Samples of MSSM, and how many of them a user has."""
SIZES = {"item_id": 219_182, "cat_id": 1_658, "seller_id": 4_995, "brand_id": 8_443}
"""Sizes at that number of rows: items as in MSSM's samples, the others as in the whole log."""
GROWTH = {"item_id": 1.0, "cat_id": 0.5, "seller_id": 0.75, "brand_id": 0.75}
"""A size grows as this power of the rows."""
SKEW = 3.0
"""Of the popularity of items, categories, sellers and brands."""
NO_BRAND, NO_AGE, NO_GENDER = 0.02, 2_217 / 424_170, 6_436 / 424_170
"""91,015 published lines (0.2 %) have no brand: too few to occur in a small simulation."""
FIRST, DOUBLE_ELEVEN, LAST = (int(np.searchsorted(MONTH_DAYS, written)) + 1 for written in (511, 1111, 1112))
"""Days of the year. Some sources say that the published log goes from 511 to 1112; that is not checked."""
AGES, GENDERS = 9, 3
DOUBLE_ELEVEN_WEIGHT = 10_582_633 / ((54_925_330 - 10_582_633) / 185)
"""Lines on that day, relative to another day."""
EAGERNESS = 0.8
"""Deviation of the logarithm of how often a user favourites, or buys, outside the windows."""
PROPOSALS, OFF_TASTE = 4, 0.5
USERS_PER_CROWD = 1024
BAGS = ("cat_id", "seller_id", "brand_id")
TERMS = {"candidate": Term({"cat_id": 1.0, "seller_id": 1.0}), "profile": Term({"age": 1.0, "gender": 1.0})}
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Crowd:
    """Some users and their pairs (items that they see); U users, R pairs.

    Attributes:
        first: index of the first user among all; the others follow.
        age, gender: ``[U]``, as written; `MISSING` where empty, which means unknown, as 0 and 2 do.
        eager: ``[U, TASKS]``, how often a user favourites and buys outside the windows, relative to the average.
        who, item, day, window: int64 ``[R]``, user within the crowd, item, day of the year, and window of each pair; no
            pair occurs twice in a window.
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
class IJCAI15Population:
    """All users and items.

    Attributes:
        rows: samples of all windows, which determine all sizes.
        seed: of everything.
        relatedness: correlation of the two tasks' log-odds, 0 to 1.
        structure: False makes the labels independent of every input, at the same rates.
        history: mean number of pairs of a user before the first window; a pair is two lines.
        windows: in which the samples lie.
    """

    rows: int
    seed: int
    relatedness: float
    structure: bool
    history: float
    windows: Windows

    def __post_init__(self) -> None:
        most = 100 * PUBLISHED_ROWS
        check_settings("ijcai15", self, rows=(100, most), seed=(0, 2**63), relatedness=(0, 1), history=(1, 1000))

    @cached_property
    def vocabularies(self) -> dict[str, RankedValues]:
        """Items, categories, sellers and brands."""
        share = min(1.0, self.rows / PUBLISHED_ROWS)
        return {name: RankedValues(max(50, round(size * share ** GROWTH[name])), SKEW) for name, size in SIZES.items()}

    @cached_property
    def catalogue(self) -> dict[str, Integers]:
        """Category, seller and brand of every item, numbered from 0."""
        random = np.random.default_rng([self.seed, 1])
        items = self.vocabularies["item_id"].size
        catalogue = {name: self.vocabularies[name].at(random.random(items)) for name in BAGS}
        catalogue["brand_id"][random.random(items) < NO_BRAND] = MISSING
        return catalogue

    @cached_property
    def direction(self) -> Floats:
        """Direction of every category, ``[C, 2]``."""
        angle = np.random.default_rng([self.seed, 2]).uniform(0, 2 * np.pi, self.vocabularies["cat_id"].size)
        return _direction(angle)

    @cached_property
    def effects(self) -> Effects:
        """Effects of the candidate's, the past's and the profile's values."""
        vocabularies = {f"past {name}": self.vocabularies[name] for name in BAGS}
        vocabularies |= {name: self.vocabularies[name] for name in ("cat_id", "seller_id")}
        vocabularies |= {"age": RankedValues(AGES), "gender": RankedValues(GENDERS)}
        return Effects(seed=self.seed, tasks=TASKS, vocabularies=vocabularies)

    @cached_property
    def pairs_of_users(self) -> Integers:
        """Pairs of each user, which sum to `rows`; geometric, with the published mean."""
        return group_sizes(np.random.default_rng([self.seed, 4]), self.rows, ROWS_PER_USER)

    @property
    def crowds(self) -> range:
        """The first user of every crowd."""
        return range(0, len(self.pairs_of_users), USERS_PER_CROWD)

    def crowd(self, first: int, users: int = USERS_PER_CROWD) -> Crowd:
        """The users ``first``, ``first + 1``, ... and their pairs."""
        pairs = self.pairs_of_users[first : first + users]
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
        """Events as `EVENT`; ids count from 1, as published ones do."""
        events = np.empty(len(who), EVENT)
        events["user"], events["item_id"], events["day"], events["action"] = who, item + 1, day, action
        for name, values in self.catalogue.items():
            events[name] = np.where(values[item] == MISSING, MISSING, values[item] + 1)
        return events

    def components(self, crowd: Crowd, events: np.ndarray, window: int) -> Components:
        """Parts of the two scores of the crowd's pairs of a window, not yet scaled: ``[r, TASKS]`` by name in `SHARES`.

        Args:
            crowd: of users.
            events: all that they did before the window; later events are ignored.
            window: its number.
        """
        rows, users, day = crowd.window == window, len(crowd.age), self.windows.start(window)
        who, item = crowd.who[rows], crowd.item[rows]
        category, seller = self.catalogue["cat_id"][item], self.catalogue["seller_id"][item]
        known = Events.of(events, np.arange(users))
        means = {name: _means(known, name, day, self.effects.factors[f"past {name}"][..., 0], users) for name in BAGS}
        past, shown = _means(known, "cat_id", day, self.direction, users)[who], self.direction[category]
        along = (past * shown).sum(axis=1)
        across = past[:, 0] * shown[:, 1] - past[:, 1] * shown[:, 0]
        early = events[events["day"] < day]
        counts = [np.bincount(early["user"][early["action"] == action], minlength=users) for action in LABELS.values()]
        age = np.where(crowd.age == MISSING, 0, crowd.age)
        gender = np.where(crowd.gender == MISSING, 2, crowd.gender)
        inputs = {"cat_id": category, "seller_id": seller, "age": age[who], "gender": gender[who]}
        return {
            **self.effects.components(TERMS, inputs),
            "counts": np.log1p(np.stack(counts, axis=1))[who],
            "match": np.stack([along, across], axis=1),
            **{f"past {name}": mean[who] for name, mean in means.items()},
        }

    def _items(self, random: np.random.Generator, taste: Floats) -> Integers:
        """An item for each taste: the best fitting of a few popular ones, or any popular one."""
        proposed = self.vocabularies["item_id"].at(random.random((len(taste), PROPOSALS)))
        fit = (self.direction[self.catalogue["cat_id"][proposed]] * _direction(taste)[:, None]).sum(axis=2)
        chosen = np.where(random.random(len(taste)) < OFF_TASTE, 0, fit.argmax(axis=1))
        return np.take_along_axis(proposed, chosen[:, None], axis=1)[:, 0]

    def _distinct(self, random: np.random.Generator, group: Integers, item: Integers) -> Integers:
        """The same items, with those that a group already has replaced by random ones."""
        items = self.vocabularies["item_id"].size
        while True:
            _, first = np.unique(group * items + item, return_index=True)
            again = np.delete(np.arange(len(item)), first)
            if not len(again):
                return item
            item[again] = random.integers(0, items, len(again))


def day_weights(first: int, last: int) -> Floats:
    """Lines on each day from first to last, relative to an ordinary day."""
    return np.where(np.arange(first, last + 1) == DOUBLE_ELEVEN, DOUBLE_ELEVEN_WEIGHT, 1.0)


def days(random: np.random.Generator, first: int, last: int, count: int) -> Integers:
    """``count`` days from first to last, drawn by their weights."""
    if not count:
        return np.empty(0, np.int64)
    weight = day_weights(first, last)
    return random.choice(np.arange(first, last + 1), size=count, p=weight / weight.sum())


def _means(events: Events, column: str, day: int, numbers: Floats, users: int) -> Floats:
    """Weighted mean of the numbers of the values in each user's bag before a day, ``[users, 2]``; 0 if it is empty."""
    who, value, count = Past.of(events, column).before(day, np.ones(len(events.users), bool))
    user, weight = events.users[who], np.log1p(count)
    sums = [np.bincount(user, weight * number, users) for number in numbers[value - 1].T]
    return np.stack(sums, axis=1) / np.maximum(np.bincount(user, weight, users), 1e-12)[:, None]


def _unless(random: np.random.Generator, values: Integers, missing: float) -> Integers:
    """The values, of which this share is replaced by `MISSING`."""
    return np.where(random.random(len(values)) < missing, MISSING, values)


def _direction(angle: Floats) -> Floats:
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)
