"""The world that the WeChat simulator plants: users, feeds, who is shown what on which day, how likely an action is.

* A feed has an author; its topic is that of its author, mostly, and a second topic is mixed in. A feed's place in a
  space of few dimensions follows from both topics, its author and itself. Its tags and keywords name the topics
  (machine tags with their shares); its embedding is its place, turned into 512 dimensions, with noise.
* A user has a taste for every action, a direction in that space, which turns by `World.drift` from day to day.
* The log-odds of an action are a sum of what the user does anyway, what the feed invites to, and taste times place.
* Whatever differs between actions is ``sqrt(r) shared + sqrt(1 - r) own`` of standard normals; r is the relatedness.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from mtlbench.datasets.wechat.layout import DAYS, EMBEDDING_WIDTH, POSITIVES, PUBLISHED_FEEDS, PUBLISHED_ROWS

USERS, LARGEST_USER = 20_000, 250_236
LARGEST_FEED = 112_871
AUTHORS, SONGS, SINGERS = 18_789, 25_159, 17_500
MOST_ROWS_OF_A_USER = 980
ROWS_PER_USER = PUBLISHED_ROWS / USERS
USERS_PER_PIECE = 64

ACTIONS = len(POSITIVES)
TOPICS = 24
RANK = 2
LOYALTY = 0.85
"""Share of an author's feeds that have the author's topic."""
FEEDS_GROW = 0.9
"""The number of feeds grows as this power of the rows, up to the published one."""
STEEPNESS = 2.0
"""A popularity rank is ``floor(size * u ** STEEPNESS)`` for a uniform u."""
PLACE = {"topic": 1.0, "author": 0.4, "own": 0.2}
"""Deviations of what makes up a feed's place."""
NOISE = 0.5
"""Noise of an embedding's components beside the feed's place, whose components have about a unit each."""
SHARES = {"user": 0.15, "feed": 0.25, "taste": 0.6}
"""Shares of the variance of an action's log-odds."""

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]


@dataclass(frozen=True, kw_only=True, slots=True)
class Piece:
    """Rows of some users, ordered by user and day: int64 ``[R]`` each (users and feeds by number, days from 1), and
    the parts of the log-odds by name in `SHARES`, float64 ``[R, ACTIONS]``, not yet scaled."""

    user: Integers
    feed: Integers
    day: Integers
    parts: dict[str, Floats]


@dataclass(frozen=True, kw_only=True, slots=True)
class Feeds:
    """F feeds, the most popular ones first.

    Attributes:
        identifier: int64 ``[F]``, as in the files.
        author, topic, second, seconds: int64 ``[F]``.
        share: float64 ``[F]``, of the first topic; the second one has the rest.
        place: float64 ``[F, RANK]``.
        effect: float64 ``[F, ACTIONS]``, what each invites to.
    """

    identifier: Integers
    author: Integers
    topic: Integers
    second: Integers
    seconds: Integers
    share: Floats
    place: Floats
    effect: Floats


@dataclass(frozen=True, kw_only=True)
class World:
    """A population large enough for so many rows; tables of users and feeds are its only memory.

    Attributes:
        rows: of the file.
        seed: of everything.
        relatedness: correlation of what any two actions depend on.
        drift: radians by which a taste turns per day.
    """

    rows: int
    seed: int
    relatedness: float
    drift: float

    @cached_property
    def sizes(self) -> Integers:
        """Rows of each user: geometric with the published mean, at most the published maximum; they sum to `rows`."""
        random = self._random("sizes")
        sizes = np.zeros(0, np.int64)
        while sizes.sum() < self.rows:
            more = 1 + np.floor(random.exponential(ROWS_PER_USER * 1.09, 256))
            sizes = np.append(sizes, np.minimum(more, MOST_ROWS_OF_A_USER).astype(np.int64))
        last = int(np.searchsorted(np.cumsum(sizes), self.rows))
        sizes = sizes[: last + 1]
        sizes[last] -= sizes.sum() - self.rows
        return sizes

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
        identifier = np.append(0, identifier[identifier > 0])[:count]  # number 0 is a feed like any other
        authors = max(20, count * AUTHORS // PUBLISHED_FEEDS)
        author = _rank(random.random(count), authors)
        any_topic = _rank(random.random(count), TOPICS)
        topic = np.where(random.random(count) < LOYALTY, author % TOPICS, any_topic)
        second, share = random.integers(0, TOPICS, count), random.uniform(0.6, 1.0, count)
        topics = random.standard_normal((TOPICS, RANK)) * PLACE["topic"]
        authors_place = random.standard_normal((authors, RANK)) * PLACE["author"]
        own = random.standard_normal((count, RANK)) * PLACE["own"]
        place = share[:, None] * topics[topic] + (1 - share)[:, None] * topics[second] + authors_place[author] + own
        seconds = np.minimum(np.floor(4 + random.exponential(40, count)), 60).astype(np.int64)
        effect = self._mixed(random, TOPICS)[topic] + 0.7 * self._mixed(random, authors)[author]
        effect += (seconds / 60 - 0.5)[:, None] * self._mixed(random, 1)
        return Feeds(
            identifier=random.permutation(identifier),
            author=author,
            topic=topic,
            second=second,
            seconds=seconds,
            share=share,
            place=place,
            effect=effect,
        )

    @cached_property
    def tastes(self) -> Floats:
        """Two directions per user and action, between which the taste turns: ``[2, users, ACTIONS, RANK]``."""
        random = self._random("tastes")
        mixed = [self._mixed(random, 2 * len(self.sizes)) for _ in range(RANK)]
        return np.stack(mixed, axis=-1).reshape(2, len(self.sizes), ACTIONS, RANK)

    @cached_property
    def habits(self) -> Floats:
        """What a user does whatever is shown: ``[users, ACTIONS]``."""
        return self._mixed(self._random("habits"), len(self.sizes))

    def taste(self, user: Integers, day: Integers) -> Floats:
        """The taste of users on days, ``[R, ACTIONS, RANK]``."""
        angle = (self.drift * (day - 1))[:, None, None]
        return np.cos(angle) * self.tastes[0, user] + np.sin(angle) * self.tastes[1, user]

    def piece(self, first: int) -> Piece:
        """The rows of the users ``first``, ``first + 1``, ... of a piece."""
        sizes = self.sizes[first : first + USERS_PER_PIECE]
        user = np.repeat(np.arange(first, first + len(sizes)), sizes)
        random = self._random("piece", first)
        day = random.integers(1, DAYS + 1, len(user))
        day = day[np.lexsort((day, user))]
        feed = self._shown(user, random)
        taste = np.einsum("rad,rd->ra", self.taste(user, day), self.feeds.place[feed])
        return Piece(
            user=user,
            feed=feed,
            day=day,
            parts={"user": self.habits[user], "feed": self.feeds.effect[feed], "taste": taste},
        )

    def _shown(self, user: Integers, random: np.random.Generator) -> Integers:
        """A feed for each row, by popularity; one that the user was shown before is drawn once more, and may stay."""
        feeds = len(self.feeds.author)
        feed = _rank(random.random(len(user)), feeds)
        again = np.ones(len(user), bool)
        again[np.unique(user * feeds + feed, return_index=True)[1]] = False
        feed[again] = _rank(random.random(int(again.sum())), feeds)
        return feed

    def embeddings(self, first: int, last: int) -> Floats:
        """Embeddings of feeds ``first`` to ``last`` (excluded): unit vectors ``[feeds, EMBEDDING_WIDTH]``."""
        turn = self._random("turn").standard_normal((RANK, EMBEDDING_WIDTH))
        place = self.feeds.place[first:last]
        noise = self._random("noise", first).standard_normal((len(place), EMBEDDING_WIDTH))
        vectors = place @ turn + NOISE * noise
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def _mixed(self, random: np.random.Generator, count: int) -> Floats:
        """Standard normals ``[count, ACTIONS]`` whose correlation between actions is the relatedness."""
        drawn = random.standard_normal((count, 1 + ACTIONS))
        return np.sqrt(self.relatedness) * drawn[:, :1] + np.sqrt(1 - self.relatedness) * drawn[:, 1:]

    def _random(self, what: str, number: int = 0) -> np.random.Generator:
        return np.random.Generator(np.random.PCG64([self.seed, number, *what.encode()]))


def _rank(uniform: Floats, size: int) -> Integers:
    return np.floor(size * uniform**STEEPNESS).astype(np.int64)
