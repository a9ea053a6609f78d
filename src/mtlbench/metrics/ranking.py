"""Ranking metrics within groups (users, requests) and lists, and their settings in a data set.

All computations are sorts of integers and sums over runs of equal ones, without a loop over groups.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import expit

from mtlbench.checks import at_least, in_range, one_of
from mtlbench.metrics.predictions import blocks
from mtlbench.schema import Schema

LOW = np.uint64(32)
"""Number of bits of a sort key below the group, for a score or a row number."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Top:
    """Precision of the N best rows of a list: CLICK@N and ORDER@N of the MPA paper (Eqs. 16 and 17).

    Attributes:
        n: number of best rows of each list.
        weights: weights of the tasks' probabilities in the common score (the paper's "expert weight 0.8:0.2", Table 1).
        lists: ``group``: each group is a list; ``sampled``: rows are assigned at random to lists of `size`.
        size: number of rows of a sampled list; the last list may have fewer.
        seed: seed of the sampling.

    Raises:
        ValueError: a number is out of range, or no weight is above 0.
    """

    n: int = 2
    weights: Mapping[str, float]
    lists: Literal["group", "sampled"] = "group"
    size: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        _check_weights("top.weights", self.weights)
        one_of("dataset.metrics.top.lists", self.lists, ("group", "sampled"))
        at_least("dataset.metrics.top.n", self.n, 1)
        at_least("dataset.metrics.top.size", self.size, self.n)
        at_least("dataset.metrics.top.seed", self.seed, 0)


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranking:
    """Ranking metrics configured by a data set (``dataset.metrics``), in addition to those without settings.

    Attributes:
        uauc_weights: weights of the tasks in ``weighted_uauc``, the score of the WeChat Big Data Challenge 2021.
        decimals: number of decimals to which probabilities are rounded before comparing rows of a group, as in that
            challenge's evaluation (6); ``None`` compares logits.
        top: see `Top`.

    Raises:
        ValueError: a value is out of range.
    """

    uauc_weights: Mapping[str, float] | None = None
    decimals: int | None = None
    top: Top | None = None

    def __post_init__(self) -> None:
        if self.uauc_weights is not None:
            _check_weights("uauc_weights", self.uauc_weights)
        in_range("dataset.metrics.decimals", self.decimals, ge=1, le=15, also="null")

    def check(self, schema: Schema) -> None:
        """Check the settings against a data set.

        Raises:
            ValueError: a weight is of a task that does not exist or is not binary, or a metric needs groups and the
                rows have none.
        """
        names = [task.name for task in schema.tasks if task.kind == "binary"]
        for key, weights in (("uauc_weights", self.uauc_weights), ("top.weights", self.top and self.top.weights)):
            if unknown := [name for name in weights or () if name not in names]:
                allowed = ", ".join(names) or "none"
                raise ValueError(f"dataset.metrics.{key}: no binary task {', '.join(unknown)}; allowed: {allowed}")
        if schema.group:
            return
        if self.uauc_weights is not None or self.decimals is not None:
            raise ValueError("dataset.metrics: rows of this data set have no group, so uAUC is undefined")
        if self.top is not None and self.top.lists == "group":
            raise ValueError(
                "dataset.metrics.top.lists is 'group', but rows of this data set have no group; allowed: 'sampled'"
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class GroupAreas:
    """AUCs within groups, for the G groups with both classes.

    Attributes:
        area: float64 ``[G]``, AUC of each of these groups.
        rows: int64 ``[G]``, number of rows of each of these groups.
        groups: number of all groups, including those with one class.
    """

    area: np.ndarray
    rows: np.ndarray
    groups: int


def group_areas(scores: np.ndarray, positive: np.ndarray, group: np.ndarray) -> GroupAreas:
    """The exact AUC of every group of rows (average ranks, so that ties count one half), counted in integers.

    Groups and scores are packed into 64 bits, so that each class is sorted once and every positive is looked up among
    the negatives, as in `mtlbench.metrics.binary.auc`; the negatives of earlier groups are below all of a group's.

    Args:
        scores: floats ``[N]``, any increasing function of the logits.
        positive: bool ``[N]``.
        group: int32 or int64 ``[N]``, numbered from 0 (see `group_numbers`).
    """
    rows = np.bincount(group)
    positives = np.bincount(group[positive], minlength=len(rows))
    negatives = rows - positives
    ordinals = scores if scores.dtype == np.float32 else ordinal(scores)  # float32 is converted block by block
    above, below = _sorted_keys(group, ordinals, positive), _sorted_keys(group, ordinals, ~positive)
    wins = np.searchsorted(below, above, side="left")
    wins += np.searchsorted(below, above, side="right")
    earlier, last = np.cumsum(negatives) - negatives, np.cumsum(positives)
    sums = np.zeros(len(wins) + 1, np.int64)
    np.cumsum(wins, out=sums[1:])
    doubled = sums[last] - sums[last - positives] - 2 * positives * earlier
    both = (positives > 0) & (negatives > 0)
    return GroupAreas(
        area=doubled[both] / (2 * positives[both] * negatives[both]),
        rows=rows[both],
        groups=int(np.count_nonzero(rows)),
    )


def hits_at(n: int, scores: np.ndarray, positive: np.ndarray, lists: np.ndarray) -> np.ndarray:
    """Number of positives among the `n` best rows of each counted list, int64 ``[L]``.

    A list is counted if it has at least `n` rows and at least one positive. With equal scores, the earlier row is
    better.

    Args:
        n: number of best rows of each list.
        scores: floats ``[N]``.
        positive: bool ``[N]``.
        lists: int64 ``[N]``, the list of each row, numbered from 0.

    *Departure*: the paper defines neither lists nor which of them are counted. Unless each list has a positive, one
    conversion in 5,000 rows could not give the printed 0.15 (Table 4).
    """
    size, positives = np.bincount(lists), np.bincount(lists, weights=positive)
    kept = np.flatnonzero(((size >= n) & (positives > 0))[lists])
    best_first = kept[_stable_order(~ordinal(scores[kept]))]
    by_list = best_first[_stable_order(lists[best_first])]
    starts = _starts(lists[by_list])
    return positive[by_list[starts[:, None] + np.arange(n)]].sum(axis=1)


def sampled_lists(rows: int, size: int, seed: int) -> np.ndarray:
    """Assign rows at random to lists of `size`: int64 ``[rows]``, the list of each row; the last may be shorter."""
    return np.random.default_rng(seed).permutation(rows) // size


def group_numbers(group: np.ndarray) -> np.ndarray:
    """Number groups from 0 in order of first appearance, int64 ``[N]``."""
    import pandas as pd  # half a second to import, only needed with groups

    return pd.factorize(group)[0].astype(np.int64, copy=False)


def rounded(logits: np.ndarray, decimals: int | None) -> np.ndarray:
    """Probabilities rounded to the given decimals; the logits themselves for ``None``."""
    return logits if decimals is None else np.round(expit(logits.astype(np.float64)), decimals)


def ordinal(scores: np.ndarray) -> np.ndarray:
    """Unsigned 32-bit integers with the same order and ties as the scores; ``[N]``.

    The bits of float32 are such integers once those of negative numbers are inverted; other types are ranked, and
    uint32 are returned unchanged.
    """
    if scores.dtype == np.uint32:
        return scores
    if scores.dtype != np.float32:
        return np.unique(scores, return_inverse=True)[1].astype(np.uint32)
    bits = (scores + np.float32(0)).view(np.uint32)  # -0 becomes 0
    turned = (bits.view(np.int32) >> 31).view(np.uint32)  # all bits for negative numbers, only the sign for others
    turned |= np.uint32(1 << 31)
    bits ^= turned
    return bits


def _sorted_keys(group: np.ndarray, ordinals: np.ndarray, chosen: np.ndarray) -> np.ndarray:
    """Group and score of the chosen rows, packed into 64 bits and sorted."""
    keys = np.empty(np.count_nonzero(chosen), np.uint64)
    filled = 0
    for rows in blocks(len(chosen)):
        block = chosen[rows]
        key = group[rows][block].astype(np.uint64)
        key <<= LOW
        key |= ordinal(ordinals[rows][block])
        keys[filled : filled + len(key)] = key
        filled += len(key)
    keys.sort()
    return keys


def _stable_order(values: np.ndarray) -> np.ndarray:
    """Stable sort order of integers below 2**32."""
    key = values.astype(np.uint64)
    key <<= LOW
    key |= np.arange(len(values), dtype=np.uint64)
    key.sort()
    return (key & np.uint64(2**32 - 1)).astype(np.int64)


def _starts(ordered: np.ndarray) -> np.ndarray:
    """Start positions of runs of equal values."""
    return np.flatnonzero(np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)])


def _check_weights(key: str, weights: Mapping[str, float]) -> None:
    for name, weight in weights.items():
        at_least(f"dataset.metrics.{key}.{name}", weight, 0)
    if not any(weights.values()):
        raise ValueError(f"dataset.metrics.{key}: {dict(weights)} has no task with a weight above 0")
