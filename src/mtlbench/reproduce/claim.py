"""Tests a paper's claims about which rows are better than which others.

Each comparison of two rows (on a data set and task) has one-sided p-values of being better and of being worse.

- *Better than each* holds if every comparison is significantly better at `ALPHA`. This is an intersection-union test
  (Berger, Multiparameter Hypothesis Testing and Acceptance Sampling, Technometrics 1982), which has level `ALPHA`
  without correction: if the claim is false, it is false in at least one comparison, and the test of that one has this
  level. The claim fails if any comparison is significantly worse, with Holm's correction for their number.
- *Better than one* is the reverse: it holds if any comparison is significantly better, by Holm, and fails if every
  comparison is significantly worse.
- *No effect* holds if every difference is significantly within the smallest effect of interest (two one-sided tests,
  again an intersection-union test), and fails if any is significantly outside, by Holm.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

from mtlbench.metrics.names import metric
from mtlbench.report.result import ALPHA, Claim, ClaimVerdict, TableColumn, Verdict
from mtlbench.reproduce.estimate import POWER
from mtlbench.reproduce.sampling import sampling_of
from mtlbench.reproduce.statistics import Difference, Pair, compare, holm
from mtlbench.reproduce.table import ClaimSpec, Table, distinct
from mtlbench.reproduce.values import Draws, Values

MIXED: Verdict = "not comparable: mixed data"

Obstacles = Mapping[str, Verdict | None]
"""By data set: why measured numbers are not comparable with printed ones, or ``None``."""


def evaluate_claim(claim: ClaimSpec, table: Table, values: Values, draws: Draws, obstacles: Obstacles) -> Claim:
    """Test whether a claim holds for the measured values.

    Args:
        claim: which rows are better than which.
        table: the claim's table.
        values: by row label and column, the values by seed.
        draws: by row label and column, bootstrap draws of the test users, if any.
        obstacles: see `Obstacles`; models trained on different data are not compared.
    """
    groups = _columns(claim, table)
    pairs: dict[tuple[str, TableColumn], list[Pair]] = {}
    missing: dict[str, dict[str, None]] = {}  # by reason, the rows in their order
    for (place, columns), ours, theirs in product(groups.items(), claim.better, claim.than):
        worlds = [paired_runs(ours, theirs, column, values, draws) for column in columns]
        lacks = [_lack((ours, theirs), column, values, obstacles) for column in columns]
        if not any(lacks) and not set.intersection(*(set(pair.common) for pair in worlds)):
            lacks = [("no seed that all worlds have", [f"{ours} and {theirs}"])]
        for reason, rows in filter(None, lacks):
            missing.setdefault(reason, {}).update(dict.fromkeys(rows))
        if not any(lacks):
            pairs[f"{ours} - {theirs}, {place}", columns[0]] = worlds
    differences = compare(metric(claim.metric), list(pairs.values()))
    tests = _Tests(claim=claim, margin=table.margin(claim.metric), found=differences)
    verdict = tests.verdict(bool(missing))
    used = [column for columns in groups.values() for column in columns]
    conditions = dict.fromkeys(obstacle for column in used if (obstacle := obstacles[column.dataset]) is not None)
    evidence = [
        _evidence(name, column, each, p)
        for (name, column), each, p in zip(pairs, differences, tests.holds, strict=True)
    ]
    evidence += [f"{reason}: {', '.join(rows)}" for reason, rows in missing.items()]
    detectable, deciding = tests.detectable(), tests.deciding()
    if detectable is not None and evidence:
        evidence.append(_power(tests, verdict, detectable, deciding))
        if claim.metric == "auc" and any(each.worlds == 1 and each.estimate.sampling is None for each in differences):
            evidence.append("seeds only: not every run has kept its scores, so the test split is taken as it is")
    return Claim(
        text=claim.text,
        verdict=verdict,
        evidence=tuple(evidence),
        condition=", ".join(obstacle.removeprefix("not comparable: ") for obstacle in conditions),
        detectable=detectable,
        deciding=deciding,
    )


def _lack(
    labels: tuple[str, str], column: TableColumn, values: Values, obstacles: Obstacles
) -> tuple[str, list[str]] | None:
    """Why two rows cannot be compared in a column, and the rows responsible; ``None`` if they can."""
    ours, theirs = (values.get((label, column)) or {} for label in labels)
    if not ours or not theirs:
        absent = [label for label, by_seed in zip(labels, (ours, theirs), strict=True) if not by_seed]
        return f"{column.dataset}: not run", absent
    both = " and ".join(labels)
    if not set(ours) & set(theirs):
        return f"{column.dataset}: no seed in common", [both]
    return (f"{column.dataset}: runs saw different data", [both]) if obstacles[column.dataset] == MIXED else None


def paired_runs(ours: str, theirs: str, column: TableColumn, values: Values, draws: Draws) -> Pair:
    """Two rows in a column, with the sampling variance of their difference if both have stored scores."""
    pair = Pair(ours=values.get((ours, column), {}), theirs=values.get((theirs, column), {}))
    if not pair.common or column.metric != "auc":
        return pair
    draws_of_rows = [[draws.get((label, column), {}).get(seed) for seed in pair.common] for label in (ours, theirs)]
    return Pair(ours=pair.ours, theirs=pair.theirs, sampling=sampling_of(column.task, *draws_of_rows))


def _columns(claim: ClaimSpec, table: Table) -> dict[str, list[TableColumn]]:
    """The columns of a claim, by data set and task; worlds of a data set are grouped."""
    by_name: dict[str, list[TableColumn]] = {}
    for column in distinct(table.columns):
        dataset = table.without_world(column.dataset)
        chosen = dataset in (claim.datasets or [dataset]) or column.dataset in (claim.datasets or ())
        if column.metric != claim.metric or not chosen or column.task not in (claim.tasks or [column.task]):
            continue
        alone = column.dataset in (claim.datasets or ()) or dataset == column.dataset
        by_name.setdefault(column.name if alone else column.name.replace(column.dataset, dataset, 1), []).append(column)
    return by_name


@dataclass(frozen=True, kw_only=True, slots=True)
class _Tests:
    """The tests of a claim on the measured differences; `margin` is the smallest effect of interest, if given."""

    claim: ClaimSpec
    margin: float | None
    found: Sequence[Difference]

    @property
    def equivalence(self) -> bool:
        return self.claim.says == "no effect"

    @property
    def holds(self) -> list[float | None]:
        """P-values in favour of the claim, one per comparison."""
        if not self.equivalence:
            return [each.p_better() for each in self.found]
        assert self.margin is not None, "validated: a claim of no effect has a smallest effect"
        return [each.estimate.within(-self.margin, self.margin) for each in self.found]

    @property
    def fails(self) -> list[float | None]:
        """P-values against the claim, one per comparison."""
        if not self.equivalence:
            return [each.p_worse() for each in self.found]
        assert self.margin is not None
        return [each.estimate.outside(-self.margin, self.margin) for each in self.found]

    def verdict(self, missing: bool) -> ClaimVerdict:
        holds, fails = self.holds, self.fails
        if self.claim.enough == "one":
            if _any(holds):
                return "holds"
            if missing or not holds:
                return "not run"
            return "fails" if _all(fails) else "undecided"
        if _any(fails):
            return "fails"
        if missing or not holds:
            return "not run"
        return "holds" if _all(holds) else "undecided"

    @property
    def level(self) -> float:
        """Level of the strictest single test needed for *holds*."""
        return ALPHA / len(self.found) if self.claim.enough == "one" else ALPHA

    @property
    def power(self) -> float:
        """Power of each one-sided test; for equivalence, both of two must succeed."""
        return 1 - (1 - POWER) / 2 if self.equivalence else POWER

    def detectable(self) -> float | None:
        """See `Claim.detectable`."""
        shifts = [each.estimate.detectable(self.level, self.power) for each in self.found if not each.constant]
        return None if not shifts or None in shifts else max(shift for shift in shifts if shift is not None)

    def deciding(self) -> int | None:
        """See `Claim.deciding`."""
        if not self.found or any(each.constant for each in self.found):
            return None
        if self.equivalence:
            return _largest(
                [each.estimate.replicates_to_detect(self.margin or 0.0, ALPHA, self.power) for each in self.found]
            )
        corrected, smallest = ALPHA / len(self.found), self.margin or 0.0
        better = [each for each in self.found if each.better > 0]
        worse = [each for each in self.found if each.better <= 0]
        one, every = (better, worse) if self.claim.enough == "one" else (worse, better)

        def needed(each: Difference, level: float) -> int | None:
            return each.estimate.replicates_to_detect(max(abs(each.better), smallest), level)

        if one:  # a single comparison is decisive
            return min((n for each in one if (n := needed(each, corrected)) is not None), default=None)
        return _largest([needed(each, ALPHA) for each in every])


def _any(p_values: Sequence[float | None]) -> bool:
    """Whether any p-value is significant, by Holm."""
    return any(p is not None and p <= ALPHA for p in holm(p_values))


def _all(p_values: Sequence[float | None]) -> bool:
    """Whether every p-value is significant (intersection-union)."""
    return all(p is not None and p <= ALPHA for p in p_values)


def _largest(numbers: Sequence[int | None]) -> int | None:
    return None if None in numbers else max((n for n in numbers if n is not None), default=None)


def _evidence(name: str, column: TableColumn, found: Difference, p: float | None) -> str:
    """One comparison as text: the difference, the number of seeds and users, and the p-value of the claim."""
    if column.about.constant:
        return f"{name}: {found.mean:+,.0f}"
    shown = _number(found.mean, column)
    untested = "n too small to test" if found.estimate.replicates == 1 else "all differences alike: no test"
    test = untested if p is None else f"p = {p:.3g}"
    distance = " of the distance from 1" * (column.about.better == "near one")
    seeds = f"{found.seeds} seed{'s' * (found.seeds > 1)}"
    if found.worlds > 1:
        spreads = f"sd {found.between_worlds:.2g} between worlds"
        spreads += "" if found.between_seeds is None else f", {found.between_seeds:.2g} between seeds"
        return f"{name}: {shown}{distance} ({found.worlds} worlds of {seeds}, {spreads}, {test})"
    users = "" if found.estimate.sampling is None else f", {found.estimate.sampling.units}"
    return f"{name}: {shown}{distance} ({seeds}{users}, {test})"


def _number(value: float, column: TableColumn) -> str:
    digits = max(column.digits, 4)
    return f"{value:+.{digits}f}" if abs(value) >= 10**-digits or value == 0 else f"{value:+.1e}"


def _power(tests: _Tests, verdict: ClaimVerdict, detectable: float, deciding: int | None) -> str:
    """A sentence about the detectable difference and the number of replicates that would decide."""
    of = "worlds" if tests.found[0].worlds > 1 else "seeds"
    text = (
        f"no effect would be seen within {detectable:.2g}, "
        if tests.equivalence
        else f"a difference of {detectable:.2g} would be found "
    )
    text += f"with a probability of {POWER:g}"
    if verdict != "undecided":
        return text
    have = min(max(each.seeds, 1) if each.worlds == 1 else each.worlds for each in tests.found)
    if deciding is not None and deciding <= have:
        return f"{text}; {have} {of} are enough for the smallest effect of interest, and what was found is below it"
    if deciding is not None:
        return f"{text}; {deciding} {of} would decide"
    limited = any(each.estimate.sampling is not None for each in tests.found)
    return f"{text}; no number of {of} up to 1,000 would decide" + ", the test split is too small" * limited
