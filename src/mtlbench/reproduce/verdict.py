"""Verdict on a cell: whether the measured number is within tolerance of the printed one, by equivalence tests."""

from collections.abc import Mapping

from mtlbench.metrics.names import metric
from mtlbench.report.result import ALPHA, Measured, TableColumn, Verdict
from mtlbench.reproduce.estimate import Estimate, Sampling
from mtlbench.reproduce.statistics import expected_best, rounding
from mtlbench.reproduce.table import Printed


def cell_verdict(
    column: TableColumn,
    printed: Printed | None,
    measured: Measured | None,
    tolerance: Mapping[str, float],
    obstacle: Verdict | None,
    *,
    ran: bool,
    sampling: Sampling | None = None,
    best_of: int | None = None,
) -> Verdict:
    """The verdict: significantly within the table's tolerance of the printed value, or significantly above or below it.

    *within* is an equivalence test (`Estimate.within`), *above* and *below* are one-sided tests against the bounds of
    the tolerance, all at `ALPHA`; if none is significant, the cell is undecided. Values equal for every seed are
    compared without a test. So is a best of n runs, by the expected best of n of our runs.

    Args:
        column: the cell's column.
        printed: the paper's number, if any.
        measured: our number, if any.
        tolerance: by metric, absolute or relative as in `Metric.tolerance`; 0 if not given.
        obstacle: why the two are not comparable, if so.
        ran: whether there are runs, in all of which the metric may be undefined.
        sampling: variance of our number due to test users, if known.
        best_of: number of runs of which the paper took the best.
    """
    if (reason := _reason(printed, measured, obstacle, ran=ran)) is not None:
        return reason
    assert printed is not None, "a cell without a printed number has a reason"
    assert measured is not None, "and so has one without runs"
    best_of = best_of or len(measured.values)
    if column.statistic == "best" and best_of > len(measured.values):
        return "not comparable: fewer runs"
    target = float(printed.text)
    allowed = tolerance.get(column.metric, 0.0) * (abs(target) if column.about.tolerance == "relative" else 1.0)
    if column.statistic == "best":
        return _as_it_is(expected_best(measured.values, best_of, column.about), target, allowed)
    if column.about.constant or measured.deviation == 0:
        return _as_it_is(measured.mean, target, allowed)
    return _by_test(measured, target, allowed, sampling)


def _reason(
    printed: Printed | None, measured: Measured | None, obstacle: Verdict | None, *, ran: bool
) -> Verdict | None:
    """Why the two numbers of a cell cannot be compared, or ``None``."""
    if measured is None:
        return "not run" if not ran else "undefined" if printed is not None and printed.text else "nothing printed"
    if obstacle is not None:
        return obstacle
    if printed is None or not printed.text:
        return "nothing printed"
    return None if printed.target else "not comparable: no target"


def _by_test(measured: Measured, target: float, allowed: float, sampling: Sampling | None) -> Verdict:
    """The verdict on a mean, by significance."""
    estimate = Estimate(
        value=measured.mean,
        replicates=len(measured.values),
        between=None if measured.deviation is None else measured.deviation**2,
        sampling=sampling,
    )
    tests: list[tuple[Verdict, float | None]] = [
        ("within", estimate.within(target - allowed, target + allowed)),
        ("above", estimate.above(target + allowed)),
        ("below", estimate.below(target - allowed)),
    ]
    for verdict, p in tests:
        if p is not None and p <= ALPHA:
            return verdict
    return "undecided"


def _as_it_is(value: float, target: float, allowed: float) -> Verdict:
    """The verdict on a number without variance."""
    if abs(value - target) <= allowed + rounding(value, target):
        return "within"
    return "above" if value > target else "below"


def tolerance_text(tolerance: Mapping[str, float]) -> str:
    """The tolerances of a table as a sentence."""
    parts = [
        f"{100 * allowed:g} % ({name})" if metric(name).tolerance == "relative" else f"{allowed:g} ({name})"
        for name, allowed in tolerance.items()
    ]
    return (
        f"within: at most {', '.join(parts)} from the printed number, p <= {ALPHA} (two one-sided tests); above and "
        "below: beyond that, by the same level; undecided: neither"
    )
