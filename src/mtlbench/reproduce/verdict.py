"""What a measured number says about a printed one."""

from collections.abc import Mapping

from mtlbench.report.result import Column, Measured, Verdict
from mtlbench.reproduce.statistics import rounding
from mtlbench.reproduce.table import Printed

RELATIVE = ("logloss", "logloss_sum", "logloss_weighted", "parameters")
"""Metrics whose tolerance is a share of the printed value, since they have no common scale."""


def cell_verdict(
    column: Column,
    printed: Printed | None,
    measured: Measured | None,
    tolerance: Mapping[str, float],
    obstacle: Verdict | None,
    *,
    ran: bool,
) -> Verdict:
    """The rule: within the table's tolerance of the printed value (and what rounding adds), or above or below it.

    Args:
        column: of the cell.
        printed: the paper's number, if it prints one.
        measured: ours, if there is one.
        tolerance: by metric; absolute, or relative for `RELATIVE`; 0 where it names none.
        obstacle: why the two are not comparable, if they are not.
        ran: whether there are runs, which may all leave the metric undefined.
    """
    if measured is None:
        return "not run" if not ran else "undefined" if printed is not None and printed.text else "nothing printed"
    if obstacle is not None:
        return obstacle
    if printed is None or not printed.text:
        return "nothing printed"
    if not printed.target:
        return "not comparable: no target"
    target = float(printed.text)
    allowed = tolerance.get(column.metric, 0.0) * (abs(target) if column.metric in RELATIVE else 1.0)
    value = measured.under(column)
    if abs(value - target) <= allowed + rounding(value, target):
        return "within"
    return "above" if value > target else "below"


def rule(tolerance: Mapping[str, float]) -> str:
    """How far apart two numbers may be that are within, in words."""
    parts = [
        f"{100 * allowed:g} % ({metric})" if metric in RELATIVE else f"{allowed:g} ({metric})"
        for metric, allowed in tolerance.items()
    ]
    return f"within: at most {', '.join(parts)} from the printed number"
