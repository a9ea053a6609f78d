"""What a measured number says about a printed one, and what measured rows say about a paper's claims."""

from collections.abc import Mapping, Sequence

from mtlbench.report.result import Claim, ClaimVerdict, Column, Measured, Verdict
from mtlbench.reproduce.statistics import LEVEL, holm, paired
from mtlbench.reproduce.table import ClaimSpec, Printed

RELATIVE = ("logloss", "logloss_sum", "logloss_weighted", "parameters")
"""Metrics whose tolerance is a share of the printed value, since they have no common scale."""

BySeed = Mapping[int, float]


def cell_verdict(
    column: Column,
    printed: Printed | None,
    measured: Measured | None,
    tolerance: Mapping[str, float],
    obstacle: Verdict | None,
) -> Verdict:
    """The rule: within the table's tolerance of the printed value, or above or below it.

    Args:
        column: of the cell.
        printed: the paper's number, if it prints one.
        measured: ours, if there is one.
        tolerance: by metric; absolute, or relative for `RELATIVE`; 0 where it names none.
        obstacle: why the two are not comparable, if they are not.
    """
    if measured is None:
        return "not run"
    if obstacle is not None:
        return obstacle
    if printed is None or not printed.text:
        return "nothing printed"
    target = float(printed.text)
    allowed = tolerance.get(column.metric, 0.0) * (abs(target) if column.metric in RELATIVE else 1.0)
    value = measured.best if column.statistic == "best" else measured.mean
    if abs(value - target) <= allowed:
        return "within"
    return "above" if value > target else "below"


def judge(claim: ClaimSpec, columns: Sequence[Column], values: Mapping[tuple[str, Column], BySeed]) -> Claim:
    """Whether a claim holds in what was measured; see `mtlbench.report.result.Claim`.

    Args:
        claim: who beats whom.
        columns: of the table.
        values: by row label and column, the values by seed.
    """
    chosen = {  # the runs of a mean and of a best are the same
        (column.dataset, column.task): column
        for column in reversed(columns)
        if column.metric == claim.metric
        and column.dataset in (claim.datasets or [column.dataset])
        and column.task in (claim.tasks or [column.task])
    }
    columns = list(chosen.values())[::-1]
    pairs = [(column, ours, theirs) for column in columns for ours in claim.better for theirs in claim.than]
    tests: list[tuple[str, float, float | None, int]] = []
    missing: list[str] = []
    for column, ours, theirs in pairs:
        one, other = values.get((ours, column), {}), values.get((theirs, column), {})
        seeds = len(set(one) & set(other))
        if not seeds:
            missing.append(f"{ours} against {theirs}, {column.name}: not run")
            continue
        difference, p, _ = paired(one, other)
        better = difference if column.higher_is_better else -difference
        tests.append((f"{ours} - {theirs}, {column.name}: {difference:+.{max(column.digits, 4)}f}", better, p, seeds))
    corrected = holm([p for _, _, p, _ in tests])
    evidence = [
        f"{text} ({seeds} seed{'s' * (seeds > 1)}, {'n too small to test' if p is None else f'p = {p:.3g}'})"
        for (text, _, _, seeds), p in zip(tests, corrected, strict=True)
    ]
    directions = [(better, p is not None and p <= LEVEL) for (_, better, _, _), p in zip(tests, corrected, strict=True)]
    return Claim(text=claim.text, verdict=_claim_verdict(directions, bool(missing)), evidence=(*evidence, *missing))


def _claim_verdict(directions: Sequence[tuple[float, bool]], missing: bool) -> ClaimVerdict:
    if any(better < 0 and significant for better, significant in directions):
        return "fails"
    if missing or not directions:
        return "not run"
    return "holds" if all(better > 0 and significant for better, significant in directions) else "undecided"
