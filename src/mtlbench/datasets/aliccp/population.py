"""The world that the Ali-CCP simulator plants: users, items, what is shown to whom, and how likely a click is.

Whatever a user or an item is, is a pure function of its number (a hash of it) or of a small table, so 300,000 users
and 3 million items cost no memory, and every piece of the data can be made by itself.

* Every category owns a run of items, of shops, of brands and of intention nodes; an item's shop, brand (71 % have one)
  and nodes lie within its category's runs. Popularity falls as a power of the rank.
* A user has a profile (13 % have none) and five favourite categories. The *past items* of a user at some moment give
  the behaviour bags; an impression shows a past item, an item of a past item's category, or any item, in shares
  that lead to the published coverages of the crosses.
* Either task's log-odds are a sum of main effects (profile, category, scenario, item), of low-rank interactions of
  the profile with category and brand, and of an interaction of the favourite categories with the category. Missing
  values add nothing, so nothing hidden is needed to predict.
* On demand, behaviours that match matter: ln(1 + how many of the key's past items are of the same kind as the item). A
  mean over a bag does not know how many there are, and a kind is one of 24; attention finds them.
* On demand, scenarios have an effect of their own that is another one in the test part.
"""

from dataclasses import dataclass
from functools import cached_property
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

from mtlbench.datasets.aliccp.layout import BY_CODE

PUBLISHED_ROWS = 42_300_135
KEYS_PER_PIECE = 512
ROWS_PER_KEY = 57.9
USERS = 294_883
TASKS = 2
RANK = 2
TRAIN, TEST = 0, 1
FAVOURITES = 5

GROWTH = {"205": 0.75, "206": 0.5, "207": 0.7, "216": 0.6, "210": 0.5}
"""How a vocabulary grows with the rows, up to the published size: a power below 1, as distinct words of a text do."""
STEEPNESS = {"users": 1.3, "206": 2.5, "item": 4.0, "207": 2.0, "216": 3.0, "121": 2.0}
"""A rank is ``floor(size * u ** steepness)`` for a uniform u: the first tenth of the categories gets 40 % of draws."""

PROFILE_SIZES = {"121": 97, "122": 13, "124": 2, "125": 7, "126": 3, "127": 3, "128": 2, "129": 4}
PROFILE_KNOWN = 0.87
KNOWN_WITHIN_PROFILE = {"126": 0.42 / 0.87, "129": 0.64 / 0.87}
USER_KNOWN = 0.9978
BRAND_KNOWN = 0.71
NODES_MEAN, NODES_MOST, NODES_REMEMBERED = 6.1, 14, 2
NO_PAST = 0.05
FROM_FAVOURITES = 0.7
SHOW_PAST_ITEM, SHOW_PAST_CATEGORY = 0.17, 0.55
SCENARIOS = (0.38, 0.0075)
"""Published shares of the first two values of field 301 (the third has the rest)."""

INTERACTING = {"121": 1.0, "125": 0.7, "124": 0.7}
"""Profile fields whose values have factors, and their standard deviation."""
BRAND_FACTORS = 0.25
SHARES = {"main": 0.05, "profile": 0.9, "taste": 0.05}
"""Shares of the variance of a task's log-odds, of what neither behaviours nor a scenario shift leave to them."""
SCENARIO_SHARE = 0.15
"""Share of the scenarios' own effect, where it shifts."""
KINDS = 24
"""Kinds of categories: a behaviour matches an item whose category is of the same kind."""
SPREAD = 1.9
"""Standard deviation of a task's log-odds: a best possible AUC of about 0.83 for clicks at a rate of 0.2."""

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Some keys (moments of a user) with their impressions, which are consecutive; numbers count from 0, -1 is missing.

    Attributes:
        key: uint64 ``[K]``, the common_feature_index.
        profile: by field code (101 included), int64 ``[K]``.
        past_key, past_category, past_item: int64 ``[P]``, past items of all keys, in the order of the keys.
        row_key: int64 ``[R]``, which of the keys each impression belongs to.
        category, item, scenario: int64 ``[R]``.
        components: float64 ``[R, TASKS]`` by name in `World.shares`: parts of the two scores, not yet scaled.
    """

    key: npt.NDArray[np.uint64]
    profile: dict[str, Integers]
    past_key: Integers
    past_category: Integers
    past_item: Integers
    row_key: Integers
    category: Integers
    item: Integers
    scenario: Integers
    components: dict[str, Floats]


@dataclass(frozen=True, kw_only=True)
class World:
    """A population large enough for so many training rows.

    Attributes:
        rows: training rows, to which the vocabularies are fitted.
        seed: of everything.
        past_items: mean number of past items of a key.
        behaviour: share of the log-odds' variance that behaviours of the item's kind have.
        shift: how far the scenarios' effect in the test part is from that in training, 0 to 1 (the opposite).
    """

    rows: int
    seed: int
    past_items: float
    behaviour: float = 0.0
    shift: float = 0.0

    @cached_property
    def shares(self) -> dict[str, float]:
        """Shares of the variance of a task's log-odds, by component."""
        planted = {"behaviour": self.behaviour, "scenario": SCENARIO_SHARE if self.shift else 0.0}
        rest = 1 - sum(planted.values())
        return {name: share * rest for name, share in SHARES.items()} | {n: s for n, s in planted.items() if s}

    @cached_property
    def sizes(self) -> dict[str, int]:
        """Size of each growing vocabulary, by field code."""
        share = min(1.0, self.rows / PUBLISHED_ROWS)
        return {code: max(30, round(BY_CODE[code].ids * share**power)) for code, power in GROWTH.items()}

    @cached_property
    def users(self) -> int:
        return max(20, round(USERS * min(1.0, self.rows / PUBLISHED_ROWS)))

    @cached_property
    def runs(self) -> dict[str, Integers]:
        """Where each category's items, shops, brands and nodes begin, and where the last ones end: ``[C + 1]``."""
        categories = self.sizes["206"]
        edges = (np.arange(categories + 1) / categories) ** (1 / STEEPNESS["206"])
        # Half of a vocabulary goes to the categories evenly, half by their popularity.
        share = (np.arange(categories + 1) / categories + edges) / 2
        return {
            code: np.floor(share * max(self.sizes[code], 4 * categories)).astype(np.int64)
            for code in ("205", "207", "216", "210")
        }

    def keys_of(self, part: int, rows: int) -> Integers:
        """Impressions of each key of a part, which sum to ``rows``: geometric, with the published mean."""
        keys = int(rows / ROWS_PER_KEY * 1.5) + 100
        size = 1 + np.floor(-np.log(self._uniform("size", part, np.arange(keys))) * (ROWS_PER_KEY - 0.5)).astype(int)
        after = np.cumsum(size)
        last = int(np.searchsorted(after, rows))
        assert last < keys, "more rows than keys could hold"
        size[last] -= after[last] - rows
        return size[: last + 1]

    def piece(self, part: int, first: int, sizes: Integers) -> Piece:
        """Keys ``first``, ``first + 1``, ... of a part, which have so many impressions each."""
        number = np.arange(first, first + sizes.size)
        random = np.random.Generator(np.random.PCG64([self.seed, part, first]))
        user = self._rank(self._uniform("user", part, number), self.users, "users")
        past_key, past_category, past_item = self._past(user, random)
        row_key = np.repeat(np.arange(sizes.size), sizes)
        category, item = self._shown(row_key, past_key, past_category, past_item, random)
        scenario = np.searchsorted(np.cumsum(SCENARIOS), self._uniform("scenario", user))[row_key]
        profile = self.profile(user)
        components = self._components(user, profile, row_key, category, item, scenario)
        if self.behaviour:
            components["behaviour"] = self._matches(past_key, past_category, row_key, category, sizes.size)
        if self.shift:
            components["scenario"] = self._scenario_effect(scenario, part)
        return Piece(
            key=self._hash("key", part, number),
            profile=profile,
            past_key=past_key,
            past_category=past_category,
            past_item=past_item,
            row_key=row_key,
            category=category,
            item=item,
            scenario=scenario,
            components=components,
        )

    def profile(self, user: Integers) -> dict[str, Integers]:
        """Field 101 and the profile fields of users."""
        known = self._uniform("known", user) < PROFILE_KNOWN
        values = {}
        for code, size in PROFILE_SIZES.items():
            value = self._rank(self._uniform(code, user), size, code)
            here = known & (self._uniform(code + " known", user) < KNOWN_WITHIN_PROFILE.get(code, 1.0))
            values[code] = np.where(here, value, -1)
        values["122"] = np.where(known, values["121"] * PROFILE_SIZES["122"] // PROFILE_SIZES["121"], -1)
        # A user without a profile keeps the id: no published common line is empty.
        named = (self._uniform("named", user) < USER_KNOWN) | ~known
        return {"101": np.where(named, user, -1), **values}

    def shop(self, category: Integers, item: Integers) -> Integers:
        return self._within("207", category, self._uniform("shop", item))

    def brand(self, category: Integers, item: Integers) -> Integers:
        brand = self._within("216", category, self._uniform("brand", item))
        return np.where(self._uniform("branded", item) < BRAND_KNOWN, brand, -1)

    def nodes(self, category: Integers, item: Integers) -> tuple[Integers, Integers]:
        """How many intention nodes an item has, and which: they follow each other, around its category's run."""
        begin = self.runs["210"][category]
        length = self.runs["210"][category + 1] - begin
        most = np.minimum(NODES_MOST, length)
        count = 1 + np.floor(self._uniform("nodes", item) * (2 * NODES_MEAN - 1)).astype(int)
        count = np.minimum(count, most)
        step = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
        start = np.floor(self._uniform("first node", item) * length).astype(int)
        return count, np.repeat(begin, count) + (np.repeat(start, count) + step) % np.repeat(length, count)

    def _past(self, user: Integers, random: np.random.Generator) -> tuple[Integers, Integers, Integers]:
        count = 1 + np.floor(-np.log(random.random(user.size)) * (self.past_items / (1 - NO_PAST) - 0.5)).astype(int)
        count[random.random(user.size) < NO_PAST] = 0
        key = np.repeat(np.arange(user.size), count)
        liked = self._favourite(user[key], random.integers(0, FAVOURITES, key.size))
        any_category = self._rank(random.random(key.size), self.sizes["206"], "206")
        category = np.where(random.random(key.size) < FROM_FAVOURITES, liked, any_category)
        return key, category, self._within("205", category, random.random(key.size), "item")

    def _shown(
        self,
        row_key: Integers,
        past_key: Integers,
        past_category: Integers,
        past_item: Integers,
        random: np.random.Generator,
    ) -> tuple[Integers, Integers]:
        counts = np.bincount(past_key, minlength=int(row_key[-1]) + 1)
        begin, count = (np.cumsum(counts) - counts)[row_key], counts[row_key]
        which = begin + np.floor(random.random(row_key.size) * count).astype(int)
        past_category, past_item = np.append(past_category, 0), np.append(past_item, 0)  # where keys without any point
        how = np.where(count > 0, random.random(row_key.size), 1.0)
        any_category = self._rank(random.random(row_key.size), self.sizes["206"], "206")
        category = np.where(how < SHOW_PAST_ITEM + SHOW_PAST_CATEGORY, past_category[which], any_category)
        fresh = self._within("205", category, random.random(row_key.size), "item")
        return category, np.where(how < SHOW_PAST_ITEM, past_item[which], fresh)

    def _components(
        self,
        user: Integers,
        profile: dict[str, Integers],
        row_key: Integers,
        category: Integers,
        item: Integers,
        scenario: Integers,
    ) -> dict[str, Floats]:
        """Parts of the log-odds, float64 ``[R, TASKS]`` each, before scaling."""
        brand = self.brand(category, item)
        wish = np.sum([spread * self._factors(code, profile[code]) for code, spread in INTERACTING.items()], axis=0)
        offer = self._factors("206", category) + BRAND_FACTORS * self._factors("216", brand)
        taste = np.mean(
            [self._factors("taste", self._favourite(user, np.full(user.size, which))) for which in range(FAVOURITES)],
            axis=0,
        )
        # A value's own effect is its first factor: what helps to learn the one helps to learn the other.
        main = [
            self._factors(code, value)[..., 0]
            for code, value in (("121", profile["121"][row_key]), ("206", category), ("301", scenario))
        ]
        item_effect = np.stack([self._normal(f"item {task}", item) for task in range(TASKS)], axis=1)
        return {
            "main": np.sum(main, axis=0) + 0.5 * item_effect,
            "profile": (wish[row_key] * offer).sum(axis=2),
            "taste": (taste[row_key] * self._factors("taste", category)).sum(axis=2),
        }

    @cached_property
    def kinds(self) -> Integers:
        """The kind of every category: ``[TASKS, C]``."""
        hashes = [self._hash(f"kind {task}", np.arange(self.sizes["206"])) for task in range(TASKS)]
        return (np.stack(hashes) % np.uint64(KINDS)).astype(np.int64)

    def _matches(
        self, past_key: Integers, past_category: Integers, row_key: Integers, category: Integers, keys: int
    ) -> Floats:
        """ln(1 + past items of the impression's kind), float64 ``[R, TASKS]``; each task has kinds of its own."""
        scores = []
        for kind in self.kinds:
            past = np.bincount(past_key * KINDS + kind[past_category], minlength=keys * KINDS)
            scores.append(np.log1p(past[row_key * KINDS + kind[category]]))
        return np.stack(scores, axis=1)

    def _scenario_effect(self, scenario: Integers, part: int) -> Floats:
        """1 and -1 for the two large scenarios, moved towards the opposite in the test part; float64 ``[R, TASKS]``."""
        effect = np.array([1.0, 0.0, -1.0])[scenario]
        return np.stack([effect * (1 - 2 * self.shift * (part == TEST))] * TASKS, axis=1)

    def _factors(self, what: str, value: Integers) -> Floats:
        """Float ``[..., TASKS, RANK]``; zero where the value is missing."""
        return self._tables[what][value]

    @cached_property
    def _tables(self) -> dict[str, npt.NDArray[np.float32]]:
        """Factors by vocabulary; the last row, which -1 hits, is zero."""
        random = np.random.Generator(np.random.PCG64([self.seed, 1 << 32]))
        categories = self.sizes["206"]
        sizes = {
            "206": categories,
            "216": int(self.runs["216"][-1]),
            "taste": categories,
            "301": len(SCENARIOS) + 1,
            **{code: PROFILE_SIZES[code] for code in INTERACTING},
        }
        tables = {}
        for what, size in sizes.items():
            tables[what] = random.standard_normal((size + 1, TASKS, RANK), np.float32)
            if what in ("206", *INTERACTING):
                edges = np.linspace(0, 1, size + 1) ** (1 / STEEPNESS.get(what, 1.0))
                tables[what] -= np.einsum("v,vtr->tr", np.diff(edges), tables[what][:-1])
            tables[what][-1] = 0
        return tables

    def _favourite(self, user: Integers, which: Integers) -> Integers:
        return self._rank(self._uniform("favourite", user, which), self.sizes["206"], "206")

    def _within(self, code: str, category: Integers, uniform: Floats, steepness: str = "") -> Integers:
        """A rank within the category's run of a vocabulary."""
        begin = self.runs[code][category]
        return begin + self._rank(uniform, self.runs[code][category + 1] - begin, steepness or code)

    @staticmethod
    def _rank(uniform: Floats, size: int | Integers, steepness: str) -> Integers:
        return np.floor(size * uniform ** STEEPNESS.get(steepness, 1.0)).astype(np.int64)

    def _normal(self, what: str, number: Integers) -> Floats:
        """Nearly standard normal numbers, one for each number: four uniforms, summed."""
        draws = [self._uniform(f"{what} {draw}", number) for draw in range(4)]
        return (np.sum(draws, axis=0) - 2.0) * np.sqrt(3.0)

    def _uniform(self, what: str, *numbers: int | Integers) -> Floats:
        """Uniform on (0, 1), a function of the seed, of what it is for, and of the numbers."""
        return ((self._hash(what, *numbers) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53

    def _hash(self, what: str, *numbers: int | Integers) -> npt.NDArray[np.uint64]:
        """64 well-mixed bits (the finaliser of SplitMix64, once per number)."""
        purpose = int.from_bytes(blake2b(f"{self.seed} {what}".encode(), digest_size=8).digest(), "little")
        state = np.array([purpose], np.uint64)
        for number in numbers:
            state = state ^ np.asarray(number).astype(np.uint64)
            state = state + np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
        return state
