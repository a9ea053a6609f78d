"""Statistics over seeds: spread, paired tests, ranks, gains. Pure functions of numbers.

A seed determines initial weights and the order of rows for every model, so models are compared seed by seed. Numbers
that differ only by rounding (see `ROUNDING`) count as equal.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb

import numpy as np
import scipy

from mtlbench.metrics.names import Metric
from mtlbench.report.result import ALPHA, Measured
from mtlbench.reproduce.estimate import Estimate, Sampling

BySeed = Mapping[int, float]

WILCOXON_FROM = 6
"""Minimum number of pairs for Wilcoxon's test: with five, its smallest two-sided p-value is 1/16."""

ROUNDING = 1e-12
"""Relative difference up to which numbers count as equal: thousands of roundings, finer than any metric resolves."""


def rounding(*values: float) -> float:
    """Absolute difference up to which numbers of this size count as equal."""
    return ROUNDING * max(map(abs, values), default=0.0)


def spread(values: BySeed, metric: Metric | None = None) -> Measured:
    """Mean, standard deviation, 95 % interval and, if the metric has a direction, best of the values (at least one)."""
    seeds = tuple(sorted(values))
    array = np.array([values[seed] for seed in seeds])
    mean, has_spread = float(array.mean()), len(array) > 1
    deviation = float(array.std(ddof=1)) if has_spread else None
    half = float(scipy.stats.t.ppf(0.975, len(array) - 1)) * (deviation or 0.0) / len(array) ** 0.5
    return Measured(
        seeds=seeds,
        values=tuple(array.tolist()),
        mean=mean,
        deviation=deviation,
        interval=(mean - half, mean + half) if has_spread else None,
        best=None if metric is None or metric.better is None else max(array.tolist(), key=metric.score),
    )


def paired(ours: BySeed, theirs: BySeed) -> tuple[float, float | None, float | None]:
    """Mean of (ours - theirs) over common seeds, and two-sided p-values of the paired t-test and Wilcoxon's test.

    A p-value is ``None`` if the test is undefined: with fewer than two common seeds (six for Wilcoxon's), or if all
    differences are equal (up to `ROUNDING` of the values) and not zero.

    Raises:
        ValueError: there is no common seed.
    """
    values = _differences(ours, theirs)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, None, None
    if np.ptp(values) == 0:
        return mean, None if values.any() else 1.0, _wilcoxon(values)
    t_test = float(scipy.stats.ttest_1samp(values, 0.0).pvalue)  # pyright: ignore[reportAttributeAccessIssue]
    return mean, t_test, _wilcoxon(values)


def _differences(ours: BySeed, theirs: BySeed) -> np.ndarray:
    """Ours minus theirs by common seed; a difference within rounding is zero.

    Raises:
        ValueError: there is no common seed.
    """
    common = sorted(set(ours) & set(theirs))
    if not common:
        raise ValueError(f"no common seed: {sorted(ours)} and {sorted(theirs)}")
    grain = rounding(*(values[seed] for values in (ours, theirs) for seed in common))
    differences = np.array([ours[seed] - theirs[seed] for seed in common])
    return np.copysign(_merged(np.abs(differences), grain), differences)


def _wilcoxon(values: np.ndarray) -> float | None:
    """Two-sided p-value of Wilcoxon's signed-rank test; ``None`` if undefined (see `paired`)."""
    if len(values) < WILCOXON_FROM:
        return None
    if np.ptp(values) == 0:
        return None if values.any() else 1.0
    return float(scipy.stats.wilcoxon(values).pvalue)  # pyright: ignore[reportAttributeAccessIssue]


def _merged(values: np.ndarray, grain: float) -> np.ndarray:
    """Values with rounding differences removed: neighbours up to a grain apart become the smallest of them, or zero."""
    order = np.argsort(values)
    apart = np.diff(values[order], prepend=0.0) > grain
    first = np.concatenate([[0.0], values[order][apart]])
    merged = np.empty_like(values)
    merged[order] = first[np.cumsum(apart)]
    return merged


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm-corrected p-values, in the same order; ``None`` is kept and does not count as a test."""
    ordered = sorted((p, at) for at, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, at) in enumerate(ordered):
        largest = max(largest, min(1.0, p * (len(ordered) - rank)))
        corrected[at] = largest
    return corrected


@dataclass(frozen=True, kw_only=True, slots=True)
class Pair:
    """Two rows in one column, with the sampling variance of their difference due to test users.

    Attributes:
        ours, theirs: values by seed, in one world (see `difference`).
        sampling: variance due to test users; ``None`` if unknown.
    """

    ours: BySeed
    theirs: BySeed
    sampling: Sampling | None = None

    @property
    def common(self) -> list[int]:
        """The common seeds."""
        return sorted(set(self.ours) & set(self.theirs))


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """Difference of two rows over their common seeds.

    Attributes:
        mean: mean difference, in the units of the metric, or of distances from 1 (`Metric.compared`).
        estimate: the difference with a sign such that positive means that the first row is better.
        t_test, wilcoxon: two-sided paired p-values, Holm-corrected; ``None`` if undefined. The t-test includes the
            sampling of test users if known; Wilcoxon's does not.
        seeds: number of common seeds, in each world.
        constant: whether the difference is the same for every seed, so that no test is needed.
        worlds: number of worlds; with two or more, the replicates of the estimate are worlds, not seeds.
        between_worlds, between_seeds: with several worlds, standard deviations between worlds and between the seeds
            of a world.
    """

    mean: float
    estimate: Estimate
    t_test: float | None
    wilcoxon: float | None
    seeds: int
    constant: bool = False
    worlds: int = 1
    between_worlds: float | None = None
    between_seeds: float | None = None

    @property
    def better(self) -> float:
        """Mean difference, positive if the first row is better."""
        return self.estimate.value

    @property
    def significant(self) -> bool:
        """Whether the t-test's p-value is at most `ALPHA`; a difference equal for every seed needs no test."""
        return self.constant or (self.t_test is not None and self.t_test <= ALPHA)

    def p_better(self) -> float | None:
        """One-sided p-value of the first row being better."""
        return float(self.better <= 0) if self.constant else self.estimate.above()

    def p_worse(self) -> float | None:
        """One-sided p-value of the first row being worse."""
        return float(self.better >= 0) if self.constant else self.estimate.below()


def compare(metric: Metric, pairs: Sequence[Sequence[Pair]]) -> list[Difference]:
    """Differences of pairs of rows in a metric with a direction; two-sided p-values are Holm-corrected jointly.

    Args:
        metric: the metric.
        pairs: for each comparison, the two rows in each world (a single one without worlds).
    """
    differences = [difference(metric, worlds) for worlds in pairs]
    t_tests, wilcoxons = holm([each.t_test for each in differences]), holm([each.wilcoxon for each in differences])
    return [replace(each, t_test=t, wilcoxon=w) for each, t, w in zip(differences, t_tests, wilcoxons, strict=True)]


def difference(metric: Metric, worlds: Sequence[Pair]) -> Difference:
    """The difference of two rows, p-values not corrected.

    In a single world, the replicates are seeds. In several (simulated worlds, or splits), the replicates are worlds:
    seeds are nested in them, and the variance of the mean is that of the W world means / W with W - 1 degrees of
    freedom, which is exact in the balanced case, whatever the variance between seeds. Only seeds common to all worlds
    are used, so that the design is balanced. Worlds have different test users, whose sampling is part of the variance
    between worlds.

    Raises:
        ValueError: there is no common seed.

    Paper: nested analysis of variance: Snedecor and Cochran, Statistical Methods, 8th edition, section 13.
    """
    common = sorted(set.intersection(*(set(pair.common) for pair in worlds)))
    if not common:
        raise ValueError(f"no seed common to all rows and worlds: {[pair.common for pair in worlds]}")
    pairs = [
        [{seed: metric.compared(values[seed]) for seed in common} for values in (pair.ours, pair.theirs)]
        for pair in worlds
    ]
    sign = 1.0 if metric.better == "higher" else -1.0
    if len(worlds) == 1:
        [(ours, theirs)] = pairs
        values = _differences(ours, theirs)
        components = (None, None)
    else:
        inner = [_differences(ours, theirs) for ours, theirs in pairs]
        values = np.array([each.mean() for each in inner])
        components = _components(np.stack(inner))
    mean = float(values.mean())
    estimate = Estimate(
        value=sign * mean,
        replicates=len(values),
        between=float(values.var(ddof=1)) if len(values) > 1 else None,
        sampling=worlds[0].sampling if len(worlds) == 1 else None,
    )
    return Difference(
        mean=mean,
        estimate=estimate,
        t_test=estimate.unequal(),
        wilcoxon=_wilcoxon(values),
        seeds=len(common),
        constant=metric.constant,
        worlds=len(worlds),
        between_worlds=components[0],
        between_seeds=components[1],
    )


def _components(values_WS: np.ndarray) -> tuple[float, float | None]:
    """Standard deviations between worlds and between the seeds of a world, by the mean squares; at least 0."""
    worlds = float(values_WS.mean(axis=1).var(ddof=1))
    if (seeds := values_WS.shape[1]) == 1:
        return worlds**0.5, None
    within = float(values_WS.var(axis=1, ddof=1).mean())
    return max(0.0, worlds - within / seeds) ** 0.5, within**0.5


def expected_best(values: Sequence[float], n: int, metric: Metric) -> float:
    """Expected best of n of these runs, drawn without replacement, for comparison with a best of n.

    The i-th worst of m values is the best of C(i - 1, n - 1) of the C(m, n) subsets.

    Raises:
        ValueError: there are fewer than n runs.

    Paper: Dodge et al., Show Your Work: Improved Reporting of Experimental Results, EMNLP 2019, there with replacement.
    """
    if not 1 <= n <= len(values):
        raise ValueError(f"the expected best of {n} runs cannot be computed from {len(values)}")
    ordered = sorted(values, key=metric.score)
    shares = [comb(rank, n - 1) / comb(len(values), n) for rank in range(len(values))]
    return float(sum(share * value for share, value in zip(shares, ordered, strict=True)))


def average_ranks(columns: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Average rank of each label over columns of scores (the highest is 1, ties share), for labels in all columns.

    Scores that differ only by `ROUNDING` are ties.
    """
    labels = [label for label in columns[0] if all(label in column for column in columns)] if columns else []
    if not labels:
        return {}
    ranks = [scipy.stats.rankdata(-_without_rounding(column, labels)) for column in columns]
    return dict(zip(labels, np.mean(ranks, axis=0).tolist(), strict=True))


def _without_rounding(values: Mapping[str, float], labels: Sequence[str]) -> np.ndarray:
    array = np.array([values[label] for label in labels])
    return array.min() + _merged(array - array.min(), rounding(*array))


def agreement(ours: Mapping[str, float], printed: Mapping[str, float]) -> float | None:
    """Kendall's tau-b between two rankings of common labels; ``None`` with fewer than three, or if one is all ties.

    Values that differ only by `ROUNDING` are ties.
    """
    common = [label for label in ours if label in printed]
    if len(common) < 3:
        return None
    orders = [_without_rounding(values, common) for values in (ours, printed)]
    tau = float(scipy.stats.kendalltau(*orders).statistic)  # pyright: ignore[reportAttributeAccessIssue]
    return None if np.isnan(tau) else tau


def gain(score: float, baseline: float) -> float | None:
    """Relative gain of a score (higher is better) over a baseline in per cent; ``None`` over a baseline of 0."""
    if abs(score - baseline) <= rounding(score, baseline):
        return 0.0
    return 100 * (score - baseline) / abs(baseline) if baseline else None
