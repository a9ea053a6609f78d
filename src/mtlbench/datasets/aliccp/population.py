"""The population of the Ali-CCP simulator: users, items, what is shown to whom, and how likely a click is.

All attributes of a user or an item are functions of its number (a hash), so 300,000 users and 3 million items need
little memory, and every piece of the data can be drawn separately.

* Every category has a range of items, of shops, of brands and of intention nodes; an item's shop, brand (71 % have one)
  and nodes lie within its category's ranges. Popularity falls as a power of the rank.
* A user has a profile (13 % have none) and five favourite categories. The *past items* of a user at some moment give
  the behaviour bags; an impression shows a past item, an item of a past item's category, or any item, in shares
  that lead to the published coverages of the crosses.
* Each task's log-odds are a sum of main effects (profile, category, scenario, item), of low-rank interactions of
  the profile with category and brand, and of an interaction of the favourite categories with the category; see
  `mtlbench.datasets.planted`. Missing values add nothing, so no hidden value is needed to predict.
* Optionally (`behaviour`), ln(1 + number of the key's past items of the same kind as the item) is added. A mean over a
  bag does not show how many there are, and a kind is one of 24; attention finds them.
* Optionally (`shift`), scenarios have a further effect, which differs in the test part.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt

from mtlbench.datasets.aliccp.layout import BY_CODE
from mtlbench.datasets.draws import (
    TEST,
    TRAIN,
    Floats,
    Integers,
    RankedValues,
    group_sizes,
    hashed,
    hashed_uniform,
    ranks,
)
from mtlbench.datasets.planted import Components, Effects, LabelModel, Term, evenly, fit_label_model
from mtlbench.datasets.simulated_files import check_settings

PUBLISHED_ROWS = 42_300_135
KEYS_PER_PIECE = 512
ROWS_PER_KEY = 57.9
USERS = 294_883
FAVOURITES = 5

CLICK_AND_CONVERSION = {"official": (1_644_256 / PUBLISHED_ROWS, 8_802 / 1_644_256), "demo": (0.2, 0.2)}
"""Rate of clicks, and of conversions among the clicks. Official: counts of the published training file."""
OFFICIAL_FROM = 5_000_000
"""Rows from which ``auto`` takes the official rates: fewer hold too few conversions (2 per 10,000) to learn from."""
CEILINGS, CEILINGS_WITH_BEHAVIOUR = (0.852, 0.862), (0.876, 0.886)
"""AUC of the true probabilities of a click, and of a conversion after a click; an assumption."""
TRIPLES, PAST_ITEMS, SATURATION = 40.0, 12.0, 0.83
"""Twelve past items give 40 distinct categories, shops, brands and nodes on average, and further items fewer: the
number grows as this power of the past items (measured from 20 to 300 triples; accurate to 10 %)."""

GROWTH = {"205": 0.75, "206": 0.5, "207": 0.7, "216": 0.6, "210": 0.5}
"""How a vocabulary grows with the rows, up to the published size: a power below 1, as in Heaps' law."""
SKEW = {"users": 1.3, "206": 2.5, "item": 4.0, "207": 2.0, "216": 3.0, "121": 2.0}
"""Of popularity; 1 for the others. The first tenth of the categories gets 40 % of the draws."""

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

TERMS = {
    "main": Term({"121": 1.0, "206": 1.0, "301": 1.0, "item": 0.5}),
    "profile": Term({"121": 1.0, "125": 0.7, "124": 0.7}, {"206": 1.0, "216": 0.25}),
}
SHARES = {"main": 0.05, "profile": 0.9, "taste": 0.05}
"""Shares of the variance of a task's score without behaviours and scenario shift, which scale these shares down."""
SCENARIO_SHARE = 0.15
"""Share of the scenarios' further effect, if `shift` is not 0."""
KINDS = 24
"""Kinds of categories: a behaviour matches an item whose category is of the same kind."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Impressions:
    """Some keys (moments of a user) with their impressions, which are consecutive; numbers count from 0, -1 is missing.

    Attributes:
        key: uint64 ``[K]``, the common_feature_index.
        profile: by field code (101 included), int64 ``[K]``.
        past_key, past_category, past_item: int64 ``[P]``, past items of all keys, in the order of the keys.
        row_key: int64 ``[R]``, which of the keys each impression belongs to.
        category, item, scenario: int64 ``[R]``.
        components: parts of the log-odds of a click and of a conversion after a click.
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
    components: Components


@dataclass(frozen=True, kw_only=True)
class AliCCPPopulation:
    """Users and items, their number fitted to the training rows, and how labels depend on them.

    Attributes:
        rows, test_rows: lines of the two skeleton files; the vocabularies are fitted to the training rows.
        seed: of everything.
        rates: ``official`` (3.9 % clicks, 0.54 % of them convert), ``demo`` (20 %, 20 %), or ``auto``, by ``rows``.
        relatedness: correlation of the two tasks' log-odds, 0 to 1.
        structure: False makes the labels independent of every input, at the same rates.
        history: mean number of behaviour triples of a common row, within a tenth (published: about 510).
        behaviour: share of the log-odds' variance that is due to behaviours of the item's kind.
        shift: how far the scenarios' effect in the test part is from that in training, 0 to 1 (the opposite).
        contradictions: share of the impressions without a click that are nevertheless marked as converted.
    """

    rows: int
    test_rows: int
    seed: int
    rates: Literal["auto", "official", "demo"] = "demo"
    relatedness: float = 0.5
    structure: bool = True
    history: float = TRIPLES
    behaviour: float = 0.0
    shift: float = 0.0
    contradictions: float = 0.0

    def __post_init__(self) -> None:
        check_settings(
            "aliccp",
            self,
            rows=(100, PUBLISHED_ROWS),
            test_rows=(100, PUBLISHED_ROWS),
            seed=(0, 2**63),
            rates=("auto", *CLICK_AND_CONVERSION),
            relatedness=(0, 1),
            history=(5, 2000),
            contradictions=(0, 1),
            behaviour=(0, 0.8),
            shift=(0, 1),
        )

    @property
    def past_items(self) -> float:
        """Mean number of past items of a key."""
        return PAST_ITEMS * (self.history / TRIPLES) ** (1 / SATURATION)

    @cached_property
    def shares(self) -> dict[str, float]:
        """Shares of the variance of a task's score, by component."""
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

    @property
    def categories(self) -> RankedValues:
        return RankedValues(self.sizes["206"], SKEW["206"])

    @cached_property
    def runs(self) -> dict[str, Integers]:
        """Where each category's range of items, shops, brands and nodes begins, and the last one ends: ``[C + 1]``."""
        categories = self.sizes["206"]
        edges = np.append(0, np.cumsum(self.categories.popularity))
        # Half of a vocabulary is divided among the categories evenly, half by their popularity.
        share = (np.arange(categories + 1) / categories + edges) / 2
        return {
            code: np.floor(share * max(self.sizes[code], 4 * categories)).astype(np.int64)
            for code in ("205", "207", "216", "210")
        }

    def pieces(self, part: int) -> list[tuple[int, int, Integers]]:
        """For each piece: part, first key, and impressions per key (geometric, with the published mean)."""
        random = np.random.default_rng([self.seed, part, 1 << 33])
        sizes = group_sizes(random, self.rows if part == TRAIN else self.test_rows, ROWS_PER_KEY)
        return [(part, first, sizes[first : first + KEYS_PER_PIECE]) for first in range(0, sizes.size, KEYS_PER_PIECE)]

    def piece(self, part: int, first: int, sizes: Integers) -> Impressions:
        """Keys ``first``, ``first + 1``, ... of a part, with these numbers of impressions."""
        number = np.arange(first, first + sizes.size)
        random = np.random.default_rng([self.seed, part, first])
        user = RankedValues(self.users, SKEW["users"]).at(self._uniform("user", part, number))
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
        return Impressions(
            key=hashed(self.seed, "key", part, number),
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
            value = RankedValues(size, SKEW.get(code, 1.0)).at(self._uniform(code, user))
            here = known & (self._uniform(code + " known", user) < KNOWN_WITHIN_PROFILE.get(code, 1.0))
            values[code] = np.where(here, value, -1)
        values["122"] = np.where(known, values["121"] * PROFILE_SIZES["122"] // PROFILE_SIZES["121"], -1)
        # A user without a profile always has an id: no published common line is empty.
        named = (self._uniform("named", user) < USER_KNOWN) | ~known
        return {"101": np.where(named, user, -1), **values}

    def shop(self, category: Integers, item: Integers) -> Integers:
        return self._within("207", category, self._uniform("shop", item))

    def brand(self, category: Integers, item: Integers) -> Integers:
        brand = self._within("216", category, self._uniform("brand", item))
        return np.where(self._uniform("branded", item) < BRAND_KNOWN, brand, -1)

    def nodes(self, category: Integers, item: Integers) -> tuple[Integers, Integers]:
        """How many intention nodes an item has, and which: consecutive ones, cyclic within its category's range."""
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
        any_category = self.categories.at(random.random(key.size))
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
        past_category, past_item = np.append(past_category, 0), np.append(past_item, 0)  # for keys without any
        how = np.where(count > 0, random.random(row_key.size), 1.0)
        any_category = self.categories.at(random.random(row_key.size))
        category = np.where(how < SHOW_PAST_ITEM + SHOW_PAST_CATEGORY, past_category[which], any_category)
        fresh = self._within("205", category, random.random(row_key.size), "item")
        return category, np.where(how < SHOW_PAST_ITEM, past_item[which], fresh)

    @cached_property
    def labels(self) -> LabelModel:
        """Fitted to all training rows if they are few, otherwise to evenly spread pieces of them."""
        rates = self.rates
        if rates == "auto":
            rates = "official" if self.rows >= OFFICIAL_FROM else "demo"
        return fit_label_model(
            (self.piece(*which).components for which in evenly(self.pieces(TRAIN))),
            shares=self.shares,
            rates=CLICK_AND_CONVERSION[rates],
            ceilings=CEILINGS_WITH_BEHAVIOUR if self.behaviour else CEILINGS,
            relatedness=self.relatedness,
            structure=self.structure,
            parents=(None, 0),
        )

    def _components(
        self,
        user: Integers,
        profile: dict[str, Integers],
        row_key: Integers,
        category: Integers,
        item: Integers,
        scenario: Integers,
    ) -> dict[str, Floats]:
        inputs = {code: profile[code][row_key] for code in ("121", "124", "125")}
        inputs |= {"206": category, "216": self.brand(category, item), "301": scenario, "item": item}
        taste = self._effects.factors["taste"]
        liked = self._favourite(user[:, None], np.arange(FAVOURITES))
        wish = taste[liked].mean(axis=1)
        return self._effects.components(TERMS, inputs) | {"taste": (wish[row_key] * taste[category]).sum(axis=2)}

    @cached_property
    def kinds(self) -> Integers:
        """The kind of every category: ``[2, C]``."""
        hashes = [hashed(self.seed, f"kind {task}", np.arange(self.sizes["206"])) for task in range(2)]
        return (np.stack(hashes) % np.uint64(KINDS)).astype(np.int64)

    def _matches(
        self, past_key: Integers, past_category: Integers, row_key: Integers, category: Integers, keys: int
    ) -> Floats:
        """ln(1 + past items of the impression's kind), float64 ``[R, 2]``; each task has its own kinds."""
        scores = []
        for kind in self.kinds:
            past = np.bincount(past_key * KINDS + kind[past_category], minlength=keys * KINDS)
            scores.append(np.log1p(past[row_key * KINDS + kind[category]]))
        return np.stack(scores, axis=1)

    def _scenario_effect(self, scenario: Integers, part: int) -> Floats:
        """1 and -1 for the two large scenarios, moved towards the opposite in the test part; float64 ``[R, 2]``."""
        effect = np.array([1.0, 0.0, -1.0])[scenario]
        return np.stack([effect * (1 - 2 * self.shift * (part == TEST))] * 2, axis=1)

    @cached_property
    def _effects(self) -> Effects:
        vocabularies = {
            "121": RankedValues(PROFILE_SIZES["121"], SKEW["121"]),
            "124": RankedValues(PROFILE_SIZES["124"]),
            "125": RankedValues(PROFILE_SIZES["125"]),
            "206": self.categories,
            "216": RankedValues(int(self.runs["216"][-1])),
            "301": RankedValues(len(SCENARIOS) + 1),
            "item": RankedValues(int(self.runs["205"][-1])),
            "taste": self.categories,
        }
        return Effects(seed=self.seed, tasks=2, vocabularies=vocabularies, rank=2)

    def _favourite(self, user: Integers, which: Integers) -> Integers:
        return self.categories.at(self._uniform("favourite", user, which))

    def _within(self, code: str, category: Integers, uniform: Floats, skew: str = "") -> Integers:
        """A rank within the category's range of a vocabulary."""
        begin = self.runs[code][category]
        return begin + ranks(uniform, self.runs[code][category + 1] - begin, SKEW[skew or code])

    def _uniform(self, what: str, *numbers: int | Integers) -> Floats:
        return hashed_uniform(self.seed, what, *numbers)
