"""Statistics over seeds: spread, paired tests, ranks, gains. Pure functions of numbers.

A seed decides the initial weights and the order of rows alike for every model, so two models are compared seed by seed.
Numbers that differ by rounding alone (see `ROUNDING`) are equal here: ties, no differences, within.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from mtlbench.metrics.names import Metric
from mtlbench.report.result import ALPHA, Measured

BySeed = Mapping[int, float]

WILCOXON_FROM = 6
"""Pairs from which Wilcoxon's test can reach the level at all: with five its smallest two-sided p is 1/16."""

ROUNDING = 1e-12
"""Share of their size by which equal numbers may differ: thousands of roundings, and less than any metric resolves."""


def rounding(*values: float) -> float:
    """The distance up to which numbers of this size are equal."""
    return ROUNDING * max(map(abs, values), default=0.0)


def spread(values: BySeed, metric: Metric | None = None) -> Measured:
    """Mean, deviation, 95 % interval and, by the direction of the metric, best of the values of at least one seed."""
    seeds = tuple(sorted(values))
    array = np.array([values[seed] for seed in seeds])
    mean, several = float(array.mean()), len(array) > 1
    deviation = float(array.std(ddof=1)) if several else None
    half = float(stats.t.ppf(0.975, len(array) - 1)) * (deviation or 0.0) / len(array) ** 0.5
    return Measured(
        seeds=seeds,
        values=tuple(array.tolist()),
        mean=mean,
        deviation=deviation,
        interval=(mean - half, mean + half) if several else None,
        best=None if metric is None or metric.better is None else max(array.tolist(), key=metric.score),
    )


def paired(ours: BySeed, theirs: BySeed) -> tuple[float, float | None, float | None]:
    """Mean of (ours - theirs) over common seeds, and two-sided p-values of the paired t-test and of Wilcoxon's.

    A p-value is ``None`` where the test is undefined: fewer than two common seeds (six for Wilcoxon's), or differences
    that are all alike (up to `ROUNDING` of the values) and not zero.

    Raises:
        ValueError: no common seed.
    """
    common = sorted(set(ours) & set(theirs))
    if not common:
        raise ValueError(f"no common seed: {sorted(ours)} and {sorted(theirs)}")
    grain = rounding(*(values[seed] for values in (ours, theirs) for seed in common))
    difference = np.array([ours[seed] - theirs[seed] for seed in common])
    difference = np.copysign(_merged(np.abs(difference), grain), difference)
    mean = float(difference.mean())
    if len(common) < 2:
        return mean, None, None
    if np.ptp(difference) == 0:
        alike = None if difference.any() else 1.0
        return mean, alike, alike if len(common) >= WILCOXON_FROM else None
    t_test = float(stats.ttest_1samp(difference, 0.0).pvalue)  # pyright: ignore[reportAttributeAccessIssue]
    if len(common) < WILCOXON_FROM:
        return mean, t_test, None
    return mean, t_test, float(stats.wilcoxon(difference).pvalue)  # pyright: ignore[reportAttributeAccessIssue]


def _merged(values: np.ndarray, grain: float) -> np.ndarray:
    """Values without differences of rounding: neighbours up to a grain apart become the least of them, or zero."""
    order = np.argsort(values)
    apart = np.diff(values[order], prepend=0.0) > grain
    first = np.concatenate([[0.0], values[order][apart]])
    merged = np.empty_like(values)
    merged[order] = first[np.cumsum(apart)]
    return merged


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's correction of several p-values, in their order; ``None`` stays and does not count as a test."""
    known = sorted((p, at) for at, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, at) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - rank)))
        corrected[at] = largest
    return corrected


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Runs of one row less those of another, over their common seeds.

    Attributes:
        mean: in the units of the metric, of distances from 1 where those are compared (`Metric.compared`).
        better: the same with a sign such that positive means that the first row is better.
        t_test, wilcoxon: two-sided paired p-values, Holm-corrected; ``None`` where `paired` gives none.
        seeds: how many common ones.
        significant: p of the t-test at most `ALPHA`; what is the same for every seed needs no test.
    """

    mean: float
    better: float
    t_test: float | None
    wilcoxon: float | None
    seeds: int
    significant: bool


def compare(metric: Metric, pairs: Sequence[tuple[BySeed, BySeed]]) -> list[Difference]:
    """Differences of pairs of rows in a metric with a direction, corrected for all of these pairs together."""
    compared = [[{seed: metric.compared(v) for seed, v in values.items()} for values in pair] for pair in pairs]
    tests = [paired(ours, theirs) for ours, theirs in compared]
    t_tests, wilcoxons = holm([t for _, t, _ in tests]), holm([w for _, _, w in tests])
    sign = 1 if metric.better == "higher" else -1
    return [
        Difference(
            mean=mean,
            better=sign * mean,
            t_test=t,
            wilcoxon=w,
            seeds=len(set(ours) & set(theirs)),
            significant=metric.constant or (t is not None and t <= ALPHA),
        )
        for (mean, _, _), t, w, (ours, theirs) in zip(tests, t_tests, wilcoxons, pairs, strict=True)
    ]


def average_ranks(columns: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average rank of each label over columns of scores (the highest is 1, ties share), if every column has it.

    Scores that differ by `ROUNDING` alone are ties.
    """
    labels = [label for label in columns[0] if all(label in column for column in columns)] if columns else []
    if not labels:
        return {}
    ranks = [stats.rankdata(-_without_rounding(column, labels)) for column in columns]
    return dict(zip(labels, np.mean(ranks, axis=0).tolist(), strict=True))


def _without_rounding(values: Mapping[str, float], labels: Sequence[str]) -> np.ndarray:
    found = np.array([values[label] for label in labels])
    return found.min() + _merged(found - found.min(), rounding(*found))


def agreement(ours: Mapping[str, float], printed: Mapping[str, float]) -> float | None:
    """Kendall's tau-b between two orders of common labels; ``None`` below three of them, or where one is all ties.

    Values that differ by `ROUNDING` alone are ties.
    """
    common = [label for label in ours if label in printed]
    if len(common) < 3:
        return None
    orders = [_without_rounding(values, common) for values in (ours, printed)]
    tau = float(stats.kendalltau(*orders).statistic)  # pyright: ignore[reportAttributeAccessIssue]
    return None if np.isnan(tau) else tau


def gain(score: float, baseline: float) -> float | None:
    """Relative gain of a score (higher is better) over a baseline in per cent; ``None`` over a baseline of 0."""
    if abs(score - baseline) <= rounding(score, baseline):
        return 0.0
    return 100 * (score - baseline) / abs(baseline) if baseline else None
