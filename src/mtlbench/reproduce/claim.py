"""What measured rows say about a paper's claims of who beats whom."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mtlbench.report.result import LEVEL, Claim, ClaimVerdict, Column, Verdict
from mtlbench.reproduce.statistics import holm, paired
from mtlbench.reproduce.table import ClaimSpec, distinct

COUNTS = ("parameters",)
"""Metrics that are the same for every seed."""

MIXED: Verdict = "not comparable: mixed data"

BySeed = Mapping[int, float]
Obstacles = Mapping[str, Verdict | None]
"""By data set: why what was measured there cannot be held against what is printed, if it cannot."""


def judge(
    claim: ClaimSpec, columns: Sequence[Column], values: Mapping[tuple[str, Column], BySeed], obstacles: Obstacles
) -> Claim:
    """Whether a claim holds in what was measured; see `mtlbench.report.result.Claim`.

    Args:
        claim: who beats whom.
        columns: of the table.
        values: by row label and column, the values by seed.
        obstacles: see `Obstacles`; models that saw different data are not compared.
    """
    columns = [
        column
        for column in distinct(columns)
        if column.metric == claim.metric
        and column.dataset in (claim.datasets or [column.dataset])
        and column.task in (claim.tasks or [column.task])
    ]
    pairs = [(column, ours, theirs) for column in columns for ours in claim.better for theirs in claim.than]
    compared: list[_Compared] = []
    missing: dict[str, dict[str, None]] = {}  # by reason, the rows in their order
    for column, ours, theirs in pairs:
        one, other = values.get((ours, column), {}), values.get((theirs, column), {})
        name = f"{ours} - {theirs}, {column.name}"
        if absent := [label for label, by_seed in ((ours, one), (theirs, other)) if not by_seed]:
            missing.setdefault(f"{column.dataset}: not run", {}).update(dict.fromkeys(absent))
        elif not set(one) & set(other):
            missing.setdefault(f"{column.dataset}: no seed in common", {})[f"{ours} and {theirs}"] = None
        elif obstacles[column.dataset] == MIXED:
            missing.setdefault(f"{column.dataset}: runs saw different data", {})[f"{ours} and {theirs}"] = None
        else:
            compared.append(_compare(name, column, one, other))
    corrected = holm([pair.p for pair in compared])
    directions = [(pair.better, p is not None and p <= LEVEL) for pair, p in zip(compared, corrected, strict=True)]
    found = dict.fromkeys(obstacle for column in columns if (obstacle := obstacles[column.dataset]) is not None)
    return Claim(
        text=claim.text,
        verdict=_claim_verdict(directions, bool(missing)),
        evidence=(
            *(_told(pair, p) for pair, p in zip(compared, corrected, strict=True)),
            *(f"{reason}: {', '.join(rows)}" for reason, rows in missing.items()),
        ),
        condition=", ".join(obstacle.removeprefix("not comparable: ") for obstacle in found),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Compared:
    """Two rows in a column; ``better`` is positive where the first is the better one, ``seeds`` 0 for a count."""

    text: str
    better: float
    p: float | None
    seeds: int


def _compare(name: str, column: Column, one: BySeed, other: BySeed) -> _Compared:
    difference, p, _ = paired(one, other)
    better = difference if column.higher_is_better else -difference
    if column.metric in COUNTS:
        return _Compared(text=f"{name}: {difference:+,.0f}", better=better, p=0.0 if difference else 1.0, seeds=0)
    digits = max(column.digits, 4)
    shown = f"{difference:+.{digits}f}" if abs(difference) >= 10**-digits else f"{difference:+.1e}"
    return _Compared(text=f"{name}: {shown}", better=better, p=p, seeds=len(set(one) & set(other)))


def _told(pair: _Compared, p: float | None) -> str:
    if not pair.seeds:
        return pair.text
    untested = "n too small to test" if pair.seeds == 1 else "all differences alike: no test"
    return f"{pair.text} ({pair.seeds} seed{'s' * (pair.seeds > 1)}, {untested if p is None else f'p = {p:.3g}'})"


def _claim_verdict(directions: Sequence[tuple[float, bool]], missing: bool) -> ClaimVerdict:
    if any(better < 0 and significant for better, significant in directions):
        return "fails"
    if missing or not directions:
        return "not run"
    return "holds" if all(better > 0 and significant for better, significant in directions) else "undecided"
