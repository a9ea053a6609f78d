"""Verdict on a cell: whether the measured number is within tolerance of the printed one."""

from collections.abc import Mapping

from mtlbench.metrics.names import metric
from mtlbench.report.result import Measured, TableColumn, Verdict
from mtlbench.reproduce.statistics import rounding
from mtlbench.reproduce.table import Printed


def cell_verdict(
    column: TableColumn,
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
        tolerance: by metric, absolute or relative as `Metric.tolerance` says; 0 where it names none.
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
    allowed = tolerance.get(column.metric, 0.0) * (abs(target) if column.about.tolerance == "relative" else 1.0)
    value = measured.for_column(column)
    if abs(value - target) <= allowed + rounding(value, target):
        return "within"
    return "above" if value > target else "below"


def tolerance_text(tolerance: Mapping[str, float]) -> str:
    """The tolerances of a table as a sentence."""
    parts = [
        f"{100 * allowed:g} % ({name})" if metric(name).tolerance == "relative" else f"{allowed:g} ({name})"
        for name, allowed in tolerance.items()
    ]
    return f"within: at most {', '.join(parts)} from the printed number"
