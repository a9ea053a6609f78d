"""Split rules, named by configurations, which assign rows to training, validation and test.

A rule is a function ``rule(candidates, *, parameters...) -> int8 [rows]`` of `TRAIN`, `VALID`, `TEST` and `UNASSIGNED`.
It is a pure function of the rows and its parameters, so a split is the same on every machine.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

import numpy as np
import pyarrow as pa

from mtlbench.checks import at_least, in_range

TRAIN, VALID, TEST = 0, 1, 2
"""Positions in `store.SPLITS`."""

UNASSIGNED = -1
"""A row in no split, because it was rejected or is excluded by the rule."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SplitInput:
    """Input of a split rule, for R rows in file order.

    Attributes:
        test: bool ``[R]``, whether the row is in the publisher's test part.
        valid: likewise for a validation part; ``None`` if there is none.
        pointers: by dimension table, int32 ``[R]``, the table row of each row.
        keys: by dimension table, the key of each table row.
        columns: functions that read, on demand, a label (int8, or float64 for a regression task) or ``group``,
            ``source``, ``time`` (int64) of the rows.
    """

    test: np.ndarray
    valid: np.ndarray | None = None
    pointers: Mapping[str, np.ndarray]
    keys: Mapping[str, pa.Array]
    columns: Mapping[str, Callable[[], np.ndarray]] = field(default_factory=dict)

    def column(self, name: str) -> np.ndarray:
        """A label, or ``group``, ``source``, ``time``: ``[R]``.

        Raises:
            ValueError: the rows have no such column.
        """
        if name not in self.columns:
            raise ValueError(
                f"the split needs column '{name}', which the rows do not have; "
                f"allowed: {', '.join(self.columns) or 'none'}"
            )
        return self.columns[name]()


def by_key(candidates: SplitInput, *, table: str, fraction: float, seed: int) -> np.ndarray:
    """Validation is a fraction of the training part's keys of one dimension table; test is the publisher's test part.

    All rows of a key are in the same split, so that nothing about a user's session is known from training. Whether a
    key is in validation depends only on the key and the seed, not on other keys.

    Args:
        candidates: the rows.
        table: dimension table whose keys are divided.
        fraction: expected fraction of keys, above 0 and below 1.
        seed: seed of the division.

    Raises:
        ValueError: the fraction is out of range, or the dimension table does not exist.
    """
    in_range("split by_key: dataset.split.fraction", fraction, gt=0, lt=1)
    if table not in candidates.keys:
        raise ValueError(
            f"split by_key: the data set has no dimension table '{table}'; "
            f"allowed: {', '.join(candidates.keys) or 'none'}"
        )
    chosen = splitmix64(hash_keys(candidates.keys[table]), seed) < np.uint64(int(fraction * 2**64))
    result = np.where(chosen, np.int8(VALID), np.int8(TRAIN))[candidates.pointers[table]]
    result[candidates.test] = TEST
    return result


def given(candidates: SplitInput) -> np.ndarray:
    """Validation and test are the given parts for them; all other rows are training rows.

    Raises:
        ValueError: there is no such part.
    """
    valid = np.zeros(len(candidates.test), bool) if candidates.valid is None else candidates.valid
    if absent := [name for name, part in (("valid", valid), ("test", candidates.test)) if not part.any()]:
        raise ValueError(
            f"split given: no rows were given for {', '.join(absent)}. Name their files (rows.{absent[0]} in the "
            "schema of dataset=parquet), or choose another dataset.split_rule"
        )
    result = np.where(valid, np.int8(VALID), np.int8(TRAIN))
    result[candidates.test] = TEST
    return result


def halve_test(candidates: SplitInput, *, seed: int) -> np.ndarray:
    """The publisher's test part, divided at random exactly 1:1 into validation and test (test gets an odd row)."""
    return _halved(candidates.test.nonzero()[0], len(candidates.test), seed)


def by_time(candidates: SplitInput, *, valid: int, test: int, skip: int = 0) -> np.ndarray:
    """Test is the last ``test`` distinct times (days, windows), validation the ``valid`` before, training the rest.

    Args:
        candidates: the rows.
        valid, test: numbers of distinct times.
        skip: number of last times in no split, as if the log had ended before them, so that one log gives several
            splits, each tested on rows later than its training rows.

    Raises:
        ValueError: a split has no time, ``skip`` is negative, or there is a published test part.
    """
    _refuse_test_part("by_time", candidates)
    at_least("split by_time: dataset.split.skip", skip, 0)
    time = candidates.column("time")
    every = np.unique(time)
    distinct = every[: len(every) - skip]
    if min(valid, test, len(distinct) - valid - test) < 1:
        without = f" and dataset.split.skip={skip}" if skip else ""
        raise ValueError(
            f"split by_time: dataset.split.valid={valid} and dataset.split.test={test}{without} of {len(every)} "
            f"distinct times ({every[:3].tolist()} ...); each must be 1 or more and leave at least one for training"
        )
    result = np.full(len(time), TRAIN, np.int8)
    result[time >= distinct[-valid - test]] = VALID
    result[time >= distinct[-test]] = TEST
    result[time > distinct[-1]] = UNASSIGNED
    return result


def halve_last_times(candidates: SplitInput, *, times: int, seed: int) -> np.ndarray:
    """The last ``times`` distinct times (days, windows), divided at random 1:1 into validation and test.

    All earlier rows are training rows; test gets an odd row.

    Raises:
        ValueError: no time is left for training, or there is a published test part.
    """
    _refuse_test_part("halve_last_times", candidates)
    time = candidates.column("time")
    distinct = np.unique(time)
    if not 1 <= times < len(distinct):
        raise ValueError(
            f"split halve_last_times: dataset.split.times={times} of {len(distinct)} distinct times; allowed: 1 or "
            "more, and at least one left for training"
        )
    return _halved((time >= distinct[-times]).nonzero()[0], len(time), seed)


def by_train_time(candidates: SplitInput, *, valid: int) -> np.ndarray:
    """Validation is the training part's last ``valid`` distinct times (days); test is the publisher's test part.

    Raises:
        ValueError: no time is left for training.
    """
    time = candidates.column("time")
    distinct = np.unique(time[~candidates.test])
    if not 1 <= valid < len(distinct):
        raise ValueError(
            f"split by_train_time: dataset.split.valid={valid} of the training part's {len(distinct)} distinct times; "
            "allowed: 1 or more, and at least one left for training"
        )
    result = np.where(time >= distinct[-valid], np.int8(VALID), np.int8(TRAIN))
    result[candidates.test] = TEST
    return result


def by_group(candidates: SplitInput, *, valid: float, test: float, seed: int) -> np.ndarray:
    """Every group (user, page) is in a single split, determined by its number and the seed.

    Args:
        candidates: the rows.
        valid, test: expected fractions of groups.
        seed: seed of the division.

    Raises:
        ValueError: the fractions are out of range, or there is a published test part.
    """
    _refuse_test_part("by_group", candidates)
    return _drawn("by_group", candidates.column("group").astype(np.uint64), valid, test, seed)


def by_train_group(candidates: SplitInput, *, valid: float, seed: int) -> np.ndarray:
    """Validation is a fraction of the training part's groups (pages, users); test is the publisher's test part.

    Args:
        candidates: the rows.
        valid: expected fraction of the training part's groups.
        seed: seed of the division.

    Raises:
        ValueError: the fraction is out of range, or the rows have no groups.
    """
    in_range("split by_train_group: dataset.split.valid", valid, gt=0, lt=1)
    chosen = splitmix64(candidates.column("group").astype(np.uint64), seed) < np.uint64(int(valid * 2**64))
    result = np.where(chosen, np.int8(VALID), np.int8(TRAIN))
    result[candidates.test] = TEST
    return result


def at_random(candidates: SplitInput, *, valid: float, test: float, seed: int) -> np.ndarray:
    """Every row is assigned independently, by its number in file order and the seed.

    Args:
        candidates: the rows.
        valid, test: expected fractions of rows.
        seed: seed of the division.

    Raises:
        ValueError: the fractions are out of range, or there is a published test part.
    """
    _refuse_test_part("at_random", candidates)
    return _drawn("at_random", np.arange(len(candidates.test), dtype=np.uint64), valid, test, seed)


def stratified(candidates: SplitInput, *, label: str, folds: int, seed: int) -> np.ndarray:
    """Stratified folds (scikit-learn's shuffled `StratifiedKFold`): test, validation, and the rest.

    With 10 folds and seed 2018 this is the rule of AutoInt and of Criteo_x4 (reczoo/Datasets), whose published files
    were made with scikit-learn 0.19.1; later versions shuffle differently, so folds have other rows but equal rates.
    """
    from sklearn.model_selection import StratifiedKFold  # takes a second to import

    _refuse_test_part("stratified", candidates)
    labels = candidates.column(label)
    if labels.dtype != np.int8:
        raise ValueError(f"split stratified: '{label}' is {labels.dtype}; allowed: a label of 0 and 1")
    if folds < 3 or np.bincount(labels, minlength=2).min() < folds:
        raise ValueError(
            f"split stratified: dataset.split.folds is {folds}, and the rarer value of '{label}' occurs in "
            f"{np.bincount(labels, minlength=2).min()} rows; allowed: at least 3 folds, and at most one per such row"
        )
    result = np.full(len(labels), TRAIN, np.int8)
    numbers = np.broadcast_to(np.int8(0), (len(labels), 1))
    parts = StratifiedKFold(n_splits=folds, shuffle=True, random_state=seed).split(numbers, labels)
    for split, (_, rows) in zip((TEST, VALID), parts, strict=False):
        result[rows] = split
    return result


def _halved(chosen: np.ndarray, rows: int, seed: int) -> np.ndarray:
    """Selected rows, divided at random 1:1 into validation and test; all others are training rows."""
    shuffled = chosen[np.argsort(splitmix64(np.arange(len(chosen), dtype=np.uint64), seed), kind="stable")]
    result = np.full(rows, TRAIN, np.int8)
    result[shuffled[: len(chosen) // 2]] = VALID
    result[shuffled[len(chosen) // 2 :]] = TEST
    return result


def _refuse_test_part(rule: str, candidates: SplitInput) -> None:
    """Reject a published test part for a rule that divides all rows, since it would train on test rows."""
    if candidates.test.any():
        raise ValueError(
            f"split {rule} divides all rows, but {candidates.test.sum():,} of them are a test part. Choose "
            "by_key, by_train_group or halve_test (or given, if there is a validation part too), or remove the "
            "test part"
        )


def _drawn(rule: str, numbers: np.ndarray, valid: float, test: float, seed: int) -> np.ndarray:
    if min(valid, test, 1 - valid - test) <= 0:
        raise ValueError(
            f"split {rule}: dataset.split.valid={valid} and dataset.split.test={test}; "
            "allowed: above 0, and less than 1 together"
        )
    bits = splitmix64(numbers, seed)
    result = np.full(len(numbers), TRAIN, np.int8)
    result[bits < np.uint64(int((valid + test) * 2**64))] = VALID
    result[bits < np.uint64(int(test * 2**64))] = TEST
    return result


def hash_keys(keys: pa.Array) -> np.ndarray:
    """A 64-bit hash of every key, the same on every machine and in every version."""
    digests = b"".join(blake2b(str(key).encode(), digest_size=8).digest() for key in keys.to_pylist())
    return np.frombuffer(digests, dtype="<u8").astype(np.uint64)


def splitmix64(values: np.ndarray, seed: int) -> np.ndarray:
    """Hash uint64 values: the output function of splitmix64, started at ``seed``.

    Splits must not change between versions, as the streams of numpy's generators may.
    """
    with np.errstate(over="ignore"):
        state = (values + np.uint64(seed % 2**64) * np.uint64(0xD1342543DE82EF95) + np.uint64(1)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return state ^ (state >> np.uint64(31))
