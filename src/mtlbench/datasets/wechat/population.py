"""The population of the WeChat simulator: users, feeds, who is shown what on which day, and what they do.

* A feed has an author; its topic is mostly that of its author, and a second topic is mixed in. Both topics, the author
  and the feed itself determine its position in a low-dimensional space. Its tags and keywords name the topics (machine
  tags with their shares); its embedding is its position, rotated into 512 dimensions, with noise.
* A user has a taste for every action, a direction in that space, which rotates by `drift` from day to day.
* The log-odds of an action are a sum of main effects of the user, main effects of the feed (topic, author, length), and
  the inner product of taste and position; see `mtlbench.datasets.planted`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from mtlbench.datasets.draws import Floats, Integers, RankedValues, group_sizes
from mtlbench.datasets.planted import Components, Effects, LabelModel, Term, evenly, fit_label_model
from mtlbench.datasets.simulated_files import check_settings
from mtlbench.datasets.wechat.layout import DAYS, EMBEDDING_WIDTH, POSITIVES, PUBLISHED_FEEDS, PUBLISHED_ROWS

USERS, LARGEST_USER = 20_000, 250_236
LARGEST_FEED = 112_871
AUTHORS, SONGS, SINGERS = 18_789, 25_159, 17_500
MOST_ROWS_OF_A_USER = 980
ROWS_PER_USER = PUBLISHED_ROWS / USERS
USERS_PER_PIECE = 64

ACTIONS = len(POSITIVES)
RATES = {
    "official": tuple(count / PUBLISHED_ROWS for count in POSITIVES.values()),
    "demo": (0.2,) * ACTIONS,
}
OFFICIAL_FROM = 3_000_000
"""Rows from which ``auto`` takes the published rates: fewer hold too few of the rare actions to learn from."""
CEILINGS = (0.866,) * ACTIONS
"""AUC of the true probabilities, an assumption."""
TOPICS = 24
RANK = 2
LOYALTY = 0.85
"""Share of an author's feeds that have the author's topic."""
FEEDS_GROW = 0.9
"""The number of feeds grows as this power of the rows, up to the published one."""
SKEW = 2.0
"""Of the popularity of feeds, authors and topics."""
POSITION = {"topic": 1.0, "author": 0.4, "own": 0.2}
"""Standard deviations of the parts of a feed's position."""
NOISE = 0.5
"""Noise added to an embedding's components; those of the feed's position have a standard deviation of about 1."""
TERMS = {"user": Term({"user": 1.0}), "feed": Term({"topic": 1.0, "author": 0.7, "seconds": 1.0})}
SHARES = {"user": 0.15, "feed": 0.25, "taste": 0.6}


@dataclass(frozen=True, kw_only=True, slots=True)
class Views:
    """Rows of some users, ordered by user and day: int64 ``[R]`` each (users and feeds by number, days from 1)."""

    user: Integers
    feed: Integers
    day: Integers


@dataclass(frozen=True, kw_only=True, slots=True)
class Feeds:
    """F feeds, the most popular ones first.

    Attributes:
        identifier: int64 ``[F]``, as in the files.
        author, topic, second, seconds: int64 ``[F]``.
        share: float64 ``[F]``, of the first topic; the second one has the rest.
        position: float64 ``[F, RANK]``.
    """

    identifier: Integers
    author: Integers
    topic: Integers
    second: Integers
    seconds: Integers
    share: Floats
    position: Floats


@dataclass(frozen=True, kw_only=True)
class WeChatPopulation:
    """Users and feeds, their number fitted to the rows, and how likely actions are; only tables of both are in memory.

    Attributes:
        rows: of user_action.csv.
        seed: of everything.
        rates: ``official`` (the published ones), ``demo`` (20 % of every action), or ``auto``, by ``rows``.
        relatedness: correlation of any two actions' log-odds, 0 to 1.
        drift: radians by which tastes rotate per day; the larger, the less early days say about later ones.
        structure: False makes the labels independent of every input, at the same rates.
    """

    rows: int
    seed: int
    rates: Literal["auto", "official", "demo"] = "demo"
    relatedness: float = 0.5
    drift: float = 0.05
    structure: bool = True

    def __post_init__(self) -> None:
        zero_to_one = {"relatedness": (0, 1), "drift": (0, 1)}
        check_settings(
            "wechat", self, rows=(1000, PUBLISHED_ROWS), seed=(0, 2**63), rates=("auto", *RATES), **zero_to_one
        )

    @cached_property
    def sizes(self) -> Integers:
        """Rows of each user: geometric with about the published mean, at most the published maximum."""
        return group_sizes(self._random("sizes"), self.rows, ROWS_PER_USER * 1.09, MOST_ROWS_OF_A_USER)

    @cached_property
    def users(self) -> Integers:
        """Their numbers in the file, ascending, with gaps."""
        count = len(self.sizes)
        return np.sort(self._random("users").choice(max(LARGEST_USER, 2 * count), count, replace=False)) + 1

    @cached_property
    def feeds(self) -> Feeds:
        random = self._random("feeds")
        count = max(100, round(PUBLISHED_FEEDS * min(1.0, self.rows / PUBLISHED_ROWS) ** FEEDS_GROW))
        identifier = random.permutation(-(-count * (LARGEST_FEED + 1) // PUBLISHED_FEEDS))
        identifier = np.append(0, identifier[identifier > 0])[:count]  # 0 is a feed like any other
        authors = self._authors(count)
        author = authors.at(random.random(count))
        any_topic = RankedValues(TOPICS, SKEW).at(random.random(count))
        topic = np.where(random.random(count) < LOYALTY, author % TOPICS, any_topic)
        second, share = random.integers(0, TOPICS, count), random.uniform(0.6, 1.0, count)
        topics, of_author, own = (
            random.standard_normal((size, RANK)) * deviation
            for size, deviation in zip((TOPICS, authors.size, count), POSITION.values(), strict=True)
        )
        return Feeds(
            identifier=random.permutation(identifier),
            author=author,
            topic=topic,
            second=second,
            seconds=np.minimum(np.floor(4 + random.exponential(40, count)), 60).astype(np.int64),
            share=share,
            position=share[:, None] * topics[topic] + (1 - share)[:, None] * topics[second] + of_author[author] + own,
        )

    def taste(self, user: Integers, day: Integers) -> Floats:
        """The taste of users on days, ``[R, ACTIONS, RANK]``: it rotates from one direction towards another."""
        angle = (self.drift * (day - 1))[:, None, None]
        first, second = self._effects.factors["taste"], self._effects.factors["later taste"]
        return np.cos(angle) * first[user] + np.sin(angle) * second[user]

    def piece(self, first: int) -> Views:
        """The rows of the users ``first``, ``first + 1``, ... of a piece."""
        sizes = self.sizes[first : first + USERS_PER_PIECE]
        user = np.repeat(np.arange(first, first + len(sizes)), sizes)
        random = self._random("piece", first)
        day = random.integers(1, DAYS + 1, len(user))
        return Views(user=user, feed=self._shown(user, random), day=day[np.lexsort((day, user))])

    def components(self, piece: Views) -> Components:
        feeds = self.feeds
        inputs: dict[str, npt.NDArray[Any]] = {
            "user": piece.user,
            "topic": feeds.topic[piece.feed],
            "author": feeds.author[piece.feed],
            "seconds": feeds.seconds[piece.feed] / 60 - 0.5,
        }
        taste = np.einsum("rad,rd->ra", self.taste(piece.user, piece.day), feeds.position[piece.feed])
        return {**self._effects.components(TERMS, inputs), "taste": taste}

    @property
    def pieces(self) -> range:
        """The first user of every piece."""
        return range(0, len(self.sizes), USERS_PER_PIECE)

    @cached_property
    def labels(self) -> LabelModel:
        """The label model, fitted to all rows if they are few, otherwise to an even sample."""
        official = self.rates == "official" or (self.rates == "auto" and self.rows >= OFFICIAL_FROM)
        return fit_label_model(
            (self.components(self.piece(first)) for first in evenly(self.pieces)),
            shares=SHARES,
            rates=RATES["official" if official else "demo"],
            ceilings=CEILINGS,
            relatedness=self.relatedness,
            structure=self.structure,
        )

    def _shown(self, user: Integers, random: np.random.Generator) -> Integers:
        """A feed for each row, by popularity; one that the user was shown before is redrawn once, and may recur."""
        feeds = len(self.feeds.author)
        popular = RankedValues(feeds, SKEW)
        feed = popular.at(random.random(len(user)))
        again = np.ones(len(user), bool)
        again[np.unique(user * feeds + feed, return_index=True)[1]] = False
        feed[again] = popular.at(random.random(int(again.sum())))
        return feed

    def embeddings(self, first: int, last: int) -> Floats:
        """Embeddings of feeds ``first`` to ``last`` (excluded): unit vectors ``[feeds, EMBEDDING_WIDTH]``."""
        turn = self._random("turn").standard_normal((RANK, EMBEDDING_WIDTH))
        position = self.feeds.position[first:last]
        noise = self._random("noise", first).standard_normal((len(position), EMBEDDING_WIDTH))
        vectors = position @ turn + NOISE * noise
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    @cached_property
    def _effects(self) -> Effects:
        users = dict.fromkeys(("user", "taste", "later taste"), RankedValues(len(self.sizes)))
        authors = self._authors(len(self.feeds.author))
        vocabularies = {**users, "topic": RankedValues(TOPICS, SKEW), "author": authors}
        return Effects(seed=self.seed, tasks=ACTIONS, vocabularies=vocabularies, numbers=("seconds",), rank=RANK)

    @staticmethod
    def _authors(feeds: int) -> RankedValues:
        return RankedValues(max(20, feeds * AUTHORS // PUBLISHED_FEEDS), SKEW)

    def _random(self, what: str, number: int = 0) -> np.random.Generator:
        return np.random.default_rng([self.seed, number, *what.encode()])
