"""Which rows train, which select, which are scored: rules that a data set's configuration names.

A rule is a function ``rule(candidates, *, parameters...) -> int8 [rows]`` of `TRAIN`, `VALID` and `TEST`. It is a pure
function of the rows and its parameters, so a split is the same on every machine.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
import pyarrow as pa

TRAIN, VALID, TEST = 0, 1, 2
"""Positions in `store.SPLITS`."""

LEFT_OUT = -1
"""A row that belongs to no split because it was rejected."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """What a rule may look at; R rows in file order.

    Attributes:
        test: bool ``[R]``, whether the publisher put the row into its test part.
        pointers: by dimension table: int32 ``[R]``, the table row that each row points at.
        keys: by dimension table: the key of each table row.
    """

    test: np.ndarray
    pointers: Mapping[str, np.ndarray]
    keys: Mapping[str, pa.Array]


def by_key(candidates: Candidates, *, table: str, fraction: float, seed: int) -> np.ndarray:
    """Validation is a fraction of the training part's keys of one dimension table; test is the publisher's test part.

    All rows of a key stand on one side, so nothing about a user's session is known from training. Whether a key is in
    validation depends on the key and the seed alone, not on which other keys there are.

    Args:
        candidates: the rows.
        table: dimension table whose keys are divided.
        fraction: expected share of keys, above 0 and below 1.
        seed: another seed, another division.
    """
    if not 0 < fraction < 1:
        raise ValueError(f"split by_key: dataset.split.fraction is {fraction}; allowed: above 0 and below 1")
    if table not in candidates.keys:
        raise ValueError(
            f"split by_key: the data set has no dimension table '{table}'; "
            f"allowed: {', '.join(candidates.keys) or 'none'}"
        )
    chosen = mix(hash_keys(candidates.keys[table]), seed) < np.uint64(int(fraction * 2**64))
    result = np.where(chosen, np.int8(VALID), np.int8(TRAIN))[candidates.pointers[table]]
    result[candidates.test] = TEST
    return result


def halve_test(candidates: Candidates, *, seed: int) -> np.ndarray:
    """The publisher's test part divided at random exactly 1:1 into validation and test (test takes an odd row)."""
    rows = candidates.test.nonzero()[0]
    shuffled = rows[np.argsort(mix(np.arange(len(rows), dtype=np.uint64), seed), kind="stable")]
    result = np.full(len(candidates.test), TRAIN, np.int8)
    result[shuffled[: len(rows) // 2]] = VALID
    result[shuffled[len(rows) // 2 :]] = TEST
    return result


def hash_keys(keys: pa.Array) -> np.ndarray:
    """A 64-bit hash of every key, the same on every machine and in every version."""
    digests = b"".join(blake2b(str(key).encode(), digest_size=8).digest() for key in keys.to_pylist())
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def mix(values: np.ndarray, seed: int) -> np.ndarray:
    """Spread uint64 values evenly over all of uint64: the output function of splitmix64, started at ``seed``.

    numpy's own generators may change their stream between versions; a split must not.
    """
    with np.errstate(over="ignore"):
        state = (values + np.uint64(seed % 2**64) * np.uint64(0xD1342543DE82EF95) + np.uint64(1)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))
