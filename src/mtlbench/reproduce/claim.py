"""Tests a paper's claims of which rows beat which others on what was measured."""

from collections.abc import Mapping, Sequence

from mtlbench.metrics.names import metric
from mtlbench.report.result import Claim, ClaimVerdict, TableColumn, Verdict
from mtlbench.reproduce.statistics import BySeed, Difference, compare
from mtlbench.reproduce.table import ClaimSpec, distinct

MIXED: Verdict = "not comparable: mixed data"

Obstacles = Mapping[str, Verdict | None]
"""By data set: why measured numbers cannot be compared with printed ones, if they cannot."""


def evaluate_claim(
    claim: ClaimSpec,
    columns: Sequence[TableColumn],
    values: Mapping[tuple[str, TableColumn], BySeed],
    obstacles: Obstacles,
) -> Claim:
    """Whether a claim holds in what was measured; see `mtlbench.report.result.Claim`.

    Args:
        claim: which rows are better than which.
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
    pairs: dict[tuple[str, TableColumn], tuple[BySeed, BySeed]] = {}
    missing: dict[str, dict[str, None]] = {}  # by reason, the rows in their order
    for column, ours, theirs in ((c, ours, theirs) for c in columns for ours in claim.better for theirs in claim.than):
        pair = values.get((ours, column), {}), values.get((theirs, column), {})
        if absent := [label for label, by_seed in zip((ours, theirs), pair, strict=True) if not by_seed]:
            missing.setdefault(f"{column.dataset}: not run", {}).update(dict.fromkeys(absent))
        elif not set(pair[0]) & set(pair[1]):
            missing.setdefault(f"{column.dataset}: no seed in common", {})[f"{ours} and {theirs}"] = None
        elif obstacles[column.dataset] == MIXED:
            missing.setdefault(f"{column.dataset}: runs saw different data", {})[f"{ours} and {theirs}"] = None
        else:
            pairs[f"{ours} - {theirs}, {column.name}", column] = pair
    found = compare(metric(claim.metric), list(pairs.values()))
    conditions = dict.fromkeys(obstacle for column in columns if (obstacle := obstacles[column.dataset]) is not None)
    return Claim(
        text=claim.text,
        verdict=_verdict(found, bool(missing)),
        evidence=(
            *(_evidence(name, column, difference) for (name, column), difference in zip(pairs, found, strict=True)),
            *(f"{reason}: {', '.join(rows)}" for reason, rows in missing.items()),
        ),
        condition=", ".join(obstacle.removeprefix("not comparable: ") for obstacle in conditions),
    )


def _evidence(name: str, column: TableColumn, found: Difference) -> str:
    """One comparison as text: the difference, the number of seeds, and the p-value."""
    if column.about.constant:
        return f"{name}: {found.mean:+,.0f}"
    digits = max(column.digits, 4)
    shown = f"{found.mean:+.{digits}f}" if abs(found.mean) >= 10**-digits else f"{found.mean:+.1e}"
    untested = "n too small to test" if found.seeds == 1 else "all differences alike: no test"
    test = untested if found.t_test is None else f"p = {found.t_test:.3g}"
    distance = " of the distance from 1" * (column.about.better == "near one")
    return f"{name}: {shown}{distance} ({found.seeds} seed{'s' * (found.seeds > 1)}, {test})"


def _verdict(found: Sequence[Difference], missing: bool) -> ClaimVerdict:
    if any(difference.significant and difference.better < 0 for difference in found):
        return "fails"
    if missing or not found:
        return "not run"
    holds = all(difference.significant and difference.better > 0 for difference in found)
    return "holds" if holds else "undecided"
