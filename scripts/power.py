"""Size and power of the tests by which claims are decided, by simulation: the tables of docs/statistics.md.

    python scripts/power.py

Seeded; takes half a minute on one core. The formulas are those of `mtlbench.reproduce.estimate`, vectorised over
studies; a few studies of each kind are also given to that module, and must get the same p-values.

A study has n seeds (5 by default) of each model. Differences of two models have a standard deviation of 1 over seeds;
models that are all compared with A share its seeds, so that differences have a correlation of one half.
"""

import math
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from scipy import stats

from mtlbench.metrics.binary import auc
from mtlbench.metrics.names import metric
from mtlbench.metrics.resampled import resampled_aucs
from mtlbench.reproduce.estimate import Estimate, Sampling
from mtlbench.reproduce.sampling import Resampled, sampling_of
from mtlbench.reproduce.statistics import Pair, difference

ALPHA = 0.05
STUDIES = 20_000
FAR = 20.0
"""A difference, in standard deviations, that every test finds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Studies:
    """Many studies of K comparisons: means, variances of the means and degrees of freedom, each ``[studies, K]``."""

    mean: np.ndarray
    variance: np.ndarray
    degrees: np.ndarray

    def above(self, bound: float = 0.0) -> np.ndarray:
        """One-sided p-values, as `Estimate.above`."""
        return stats.t.sf((self.mean - bound) / np.sqrt(self.variance), self.degrees)

    def below(self, bound: float = 0.0) -> np.ndarray:
        """One-sided p-values, as `Estimate.below`."""
        return stats.t.cdf((self.mean - bound) / np.sqrt(self.variance), self.degrees)


def several(rng: np.random.Generator, true: np.ndarray, seeds: int, studies: int = STUDIES) -> Studies:
    """Studies of one model against K others, by seed; `true` has the K differences in standard deviations."""
    ours = rng.normal(size=(studies, 1, seeds)) * 0.5**0.5
    theirs = rng.normal(size=(studies, len(true), seeds)) * 0.5**0.5
    differences = ours - theirs + true[:, None]
    variance = differences.var(axis=2, ddof=1) / seeds
    found = Studies(mean=differences.mean(axis=2), variance=variance, degrees=np.full(variance.shape, seeds - 1.0))
    return checked(found, differences)


def with_users(rng: np.random.Generator, true: float, seeds: int, users: float, studies: int = STUDIES) -> Studies:
    """Studies of one comparison, each on its own test split, whose users add a variance of `users` to the mean.

    The bootstrap's own error is that of 1,000 draws: its estimate of the variance has 999 degrees of freedom.
    """
    differences = true + rng.normal(size=(studies, seeds)) + rng.normal(size=(studies, 1)) * users**0.5
    between, sampled = differences.var(axis=1, ddof=1) / seeds, users * rng.chisquare(999, studies) / 999
    variance = between + sampled
    degrees = variance**2 / (between**2 / (seeds - 1) + sampled**2 / 999)
    mean = differences.mean(axis=1)
    found = Studies(mean=mean[:, None], variance=variance[:, None], degrees=degrees[:, None])
    return checked(found, differences[:, None], sampled)


def in_worlds(rng: np.random.Generator, true: float, worlds: int, seeds: int, between: float) -> Studies:
    """Studies of one comparison in several worlds: `between` is the standard deviation of the worlds' differences."""
    own = rng.normal(size=(STUDIES, worlds, 1)) * between
    means = (true + own + rng.normal(size=(STUDIES, worlds, seeds))).mean(axis=2)
    variance = means.var(axis=1, ddof=1)[:, None] / worlds
    return Studies(mean=means.mean(axis=1)[:, None], variance=variance, degrees=np.full(variance.shape, worlds - 1.0))


def checked(found: Studies, differences: np.ndarray, sampled: np.ndarray | None = None) -> Studies:
    """Return the studies, after checking that `Estimate` gives the same p-values for the first three."""
    first = Studies(mean=found.mean[:3], variance=found.variance[:3], degrees=found.degrees[:3]).above()
    for (study, row), p in np.ndenumerate(first):
        values = differences[study, row]
        sampling = None
        if sampled is not None:
            sampling = Sampling(variance=float(sampled[study]), degrees=999, units="")
        between = float(values.var(ddof=1))
        estimate = Estimate(value=float(values.mean()), replicates=len(values), between=between, sampling=sampling)
        assert math.isclose(estimate.above() or 0.0, p, rel_tol=1e-9)
    return found


def each_better(found: Studies) -> np.ndarray:
    """*Better than each* holds: every one-sided comparison is significant (intersection-union)."""
    return np.all(found.above() <= ALPHA, axis=1)


def each_better_before(found: Studies) -> np.ndarray:
    """The rule of versions before 0.4: every two-sided comparison is significant after Holm, with the right sign.

    All are significant exactly if each sorted p-value is at most its own level.
    """
    p = np.sort(2 * np.minimum(found.above(), found.below()), axis=1)
    return np.all((p <= ALPHA / np.arange(p.shape[1], 0, -1)) & (found.mean > 0), axis=1)


def some_worse(found: Studies) -> np.ndarray:
    """*Better than each* fails: some comparison is significantly worse (Holm, whose first step is Bonferroni's)."""
    return found.below().min(axis=1) <= ALPHA / found.mean.shape[1]


def alike(margin: float) -> Callable[[Studies], np.ndarray]:
    """*No effect* holds: every difference is within the margin by two one-sided tests."""
    return lambda found: np.all(np.maximum(found.above(-margin), found.below(margin)) <= ALPHA, axis=1)


def share(rule: Callable[[Studies], np.ndarray], found: Studies) -> str:
    """How often a rule holds."""
    return f"{100 * rule(found).mean():.1f} %"


def table(title: str, heads: list[str], rows: list[list[str]]) -> None:
    """A Markdown table on standard output."""
    lines = [f"**{title}**", "", "| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    print("\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows), ""]))


def sizes(rng: np.random.Generator) -> None:
    """How often each rule holds where it must not, at its least favourable point."""
    rows: list[list[str]] = []
    for rivals in (1, 6, 28):
        true = np.array([0.0, *[FAR] * (rivals - 1)])
        large = f"better than each of {rivals}, one equal, the others far worse"
        rows.append([large, "holds", share(each_better, several(rng, true, 5))])
    for rivals in (1, 6, 28):
        equal = np.zeros(rivals)
        rows.append([f"all {rivals} equal", "fails", share(some_worse, several(rng, equal, 5))])
    for rivals in (1, 6):
        at_margin = np.array([6.0, *[0.0] * (rivals - 1)])
        found = several(rng, at_margin, 5)
        rows.append([f"{rivals} alike, one exactly at the margin", "no effect", share(alike(6.0), found)])
    for users in (0.05, 0.2, 1.0):
        found = with_users(rng, 0.0, 5, users)
        truth = f"equal; users add {users / 0.2:g} times the variance of the seeds' mean"
        rows.append([truth, "holds", share(each_better, found)])
    found = by_seeds_only(with_users(rng, 0.0, 5, 0.2), rng)
    rows.append(["the same with 1 time the variance, tested by seeds only", "holds", share(each_better, found)])
    for worlds, between in ((2, 0.0), (2, 2.0), (3, 1.0), (9, 0.0), (9, 1.0)):
        found = in_worlds(rng, 0.0, worlds, 5, between)
        rows.append([f"equal, {worlds} worlds with a deviation of {between:g}", "holds", share(each_better, found)])
    title = f"Size: how often a verdict is given that is wrong, n = 5 ({STUDIES:,} studies)"
    table(title, ["truth", "verdict", "given"], rows)


def by_seeds_only(found: Studies, rng: np.random.Generator, seeds: int = 5) -> Studies:
    """Studies whose users vary too, with a variance that leaves that of users out."""
    variance = rng.chisquare(seeds - 1, found.mean.shape) / (seeds - 1) / seeds
    return Studies(mean=found.mean, variance=variance, degrees=np.full(variance.shape, seeds - 1.0))


def bootstrap(rng: np.random.Generator) -> None:
    """From scores to p-values: two models that are equally good on average, on small test splits.

    100 users of four rows; each user is ranked a little better by one of the models, whatever the seed, and each seed
    is a little better or worse than others.
    """
    users, rows, seeds, studies = 100, 4, 5, 1000
    unit = np.repeat(np.arange(users), rows)
    wrong: Counter[str] = Counter()
    for study in range(studies):
        positive = rng.random(users * rows) < 0.3
        liking = rng.normal(size=(2, users))[:, unit] * 0.5
        signal = 1.0 + 0.1 * rng.normal(size=(2, seeds, 1))
        common, own = rng.normal(size=users * rows), rng.normal(size=(2, seeds, users * rows)) * 0.3
        scores = signal * positive + np.where(positive, 1, -1) * liking[:, None] + common + own
        flat = list(scores.reshape(2 * seeds, -1))
        areas = [auc(each, positive) for each in flat]
        pair = Pair(ours=dict(enumerate(areas[:seeds])), theirs=dict(enumerate(areas[seeds:])))
        for kind, drawn in (("seeds only", None), ("seeds and rows", np.arange(len(unit))), ("seeds and users", unit)):
            sampling = None
            if drawn is not None:
                found = resampled_aucs(flat, positive, drawn, draws=100, seed=study)
                units = int(drawn.max()) + 1
                runs = [Resampled(aucs={"task": each}, units=units, kind="groups") for each in found]
                sampling = sampling_of("task", runs[:seeds], runs[seeds:])
            p = difference(metric("auc"), [replace(pair, sampling=sampling)]).p_better()
            wrong[kind] += int(p is not None and p <= ALPHA)
    shown = [[kind, f"{100 * count / studies:.1f} %"] for kind, count in wrong.items()]
    table(
        f"Size of one comparison from scores, 400 test rows of 100 users ({studies:,} studies)",
        ["tested", "given"],
        shown,
    )


def pooled_worlds(rng: np.random.Generator) -> None:
    """A rule that was not adopted: worlds count only where they differ by more than their seeds explain.

    The variance of the mean is then that of seeds alone, with their degrees of freedom.
    """
    rows: list[list[str]] = []
    seeds = 5
    for worlds in (2, 3, 9):
        shown = []
        for between in (0.0, 0.45, 0.9, 1.8):
            values = rng.normal(size=(STUDIES, worlds, seeds)) + rng.normal(size=(STUDIES, worlds, 1)) * between
            means, within = values.mean(axis=2), values.var(axis=2, ddof=1).mean(axis=1)
            of_worlds = means.var(axis=1, ddof=1) * seeds
            pooled = of_worlds < within
            variance = np.where(pooled, within, of_worlds) / (worlds * seeds)
            degrees = np.where(pooled, worlds * (seeds - 1.0), worlds - 1.0)
            found = Studies(mean=means.mean(axis=1)[:, None], variance=variance[:, None], degrees=degrees[:, None])
            shown.append(share(each_better, found))
        rows.append([str(worlds), *shown])
    heads = ["worlds", *(f"deviation {between:g}" for between in (0.0, 0.45, 0.9, 1.8))]
    table("Size of a rule that drops worlds where they seem alike, 5 seeds: not used", heads, rows)


def powers(rng: np.random.Generator) -> None:
    """How often a true claim is confirmed."""
    rows: list[list[str]] = []
    for rivals in (1, 6, 28):
        for shift in (1.0, 1.5, 2.0, 3.0):
            found = several(rng, np.full(rivals, shift), 5)
            rows.append([str(rivals), f"{shift:g}", share(each_better_before, found), share(each_better, found)])
    heads = ["comparisons", "difference / sd", "two-sided, Holm (before)", "one-sided, each at 5 %"]
    table("Power of *better than each*, n = 5", heads, rows)
    rows = []
    for seeds in (3, 5, 10, 20):
        shown = [share(each_better, several(rng, np.full(6, shift), seeds)) for shift in (0.5, 1.0, 1.5, 2.0)]
        estimate = Estimate(value=0.0, replicates=seeds, between=1.0)
        rows.append([str(seeds), *shown, f"{estimate.detectable(ALPHA):.2f}"])
    heads = ["seeds", *(f"d/sd = {shift:g}" for shift in (0.5, 1.0, 1.5, 2.0)), "detectable by one, d/sd"]
    table("Power of *better than each of 6* by seeds", heads, rows)
    rows = []
    for users in (0.0, 0.2, 1.0, 4.0):
        shown = [share(each_better, with_users(rng, 2.0, seeds, users)) for seeds in (3, 5, 10, 50)]
        rows.append([f"{users**0.5:.2f}", *shown])
    heads = ["standard error by users / sd of seeds", *(f"n = {seeds}" for seeds in (3, 5, 10, 50))]
    table("Power of one comparison, d/sd = 2, by the size of the test split", heads, rows)
    rows = []
    for seeds in (3, 5, 10, 20):
        shown = [share(alike(margin), several(rng, np.zeros(1), seeds)) for margin in (0.5, 1.0, 2.0, 3.0)]
        rows.append([str(seeds), *shown])
    heads = ["seeds", *(f"margin/sd = {margin:g}" for margin in (0.5, 1.0, 2.0, 3.0))]
    table("Power of *no effect*, true difference 0", heads, rows)


def main() -> int:
    """Print all tables."""
    for part, seed in ((sizes, 1), (powers, 2), (bootstrap, 3), (pooled_worlds, 4)):
        part(np.random.default_rng(seed))
    return 0


if __name__ == "__main__":
    sys.exit(main())
