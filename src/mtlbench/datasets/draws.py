"""Random draws for simulators: popularity ranks, group sizes, and hashes that need no memory."""

from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating]
Integers = npt.NDArray[np.integer]

TRAIN, TEST = 0, 1
"""Parts of a data set that is published in two."""


@dataclass(frozen=True, slots=True)
class RankedValues:
    """The values of an id, the most popular one first.

    Attributes:
        size: how many there are.
        skew: a value is ``floor(size * u ** skew)`` of a uniform u. 1: all equally popular; 2: the first tenth has a
            third of the draws.
    """

    size: int
    skew: float = 1.0

    def at(self, uniform: Floats) -> Integers:
        """The values at these quantiles."""
        return ranks(uniform, self.size, self.skew)

    @property
    def popularity(self) -> Floats:
        """Share of the draws of each value, ``[size]``."""
        return np.diff((np.arange(self.size + 1) / self.size) ** (1 / self.skew))


def ranks(uniform: Floats, size: int | Integers, skew: float) -> Integers:
    """Popularity ranks ``floor(size * uniform ** skew)``."""
    return np.floor(size * uniform**skew).astype(np.int64)


def group_sizes(random: np.random.Generator, total: int, mean: float, most: int | None = None) -> Integers:
    """Sizes of groups (rows of a user, products of a page) that sum to ``total``: geometric, at most ``most``."""
    sizes = random.geometric(1 / mean, int(total / mean * 1.5) + 100).clip(1, most)
    after = np.cumsum(sizes)
    last = int(np.searchsorted(after, total))
    assert last < sizes.size, "more rows than the groups could hold"
    sizes[last] -= after[last] - total
    return sizes[: last + 1]


def hashed(seed: int, what: str, *numbers: int | Integers) -> npt.NDArray[np.uint64]:
    """64 well-mixed bits, a function of the seed, the purpose and the numbers (SplitMix64's finalizer, per number)."""
    purpose = int.from_bytes(blake2b(f"{seed} {what}".encode(), digest_size=8).digest(), "little")
    state = np.array([purpose], np.uint64)
    for number in numbers:
        state = state ^ np.asarray(number).astype(np.uint64)
        state = state + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return state


def hashed_uniform(seed: int, what: str, *numbers: int | Integers) -> Floats:
    """Uniform on (0, 1), a function of the seed, the purpose and the numbers."""
    return ((hashed(seed, what, *numbers) >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
