"""Reliability diagrams (predicted against observed values) as tables and curves."""

from mtlbench.metrics.reliability import Reliability, TaskReliability
from mtlbench.report.figure import Curve, Lines, NumberTable, Panel

PERFECT = "predicted = observed"


def tables(found: Reliability) -> tuple[NumberTable, ...]:
    """A table per task."""
    return tuple(_table(each) for each in found.tasks)


def panels(found: Reliability) -> tuple[Panel, ...]:
    """A panel per task with bins: its curve with the interval of each bin, and the diagonal."""
    return tuple(_panel(each) for each in found.tasks if each.bins)


def _panel(task: TaskReliability) -> Panel:
    predicted = tuple(each.predicted for each in task.bins)
    ends = (min(predicted), max(predicted))
    what = "probability" if task.kind == "binary" else "mean"
    curve = Curve(
        label="observed, with its 95 % interval",
        x=predicted,
        y=tuple(each.observed for each in task.bins),
        low=tuple(each.low for each in task.bins),
        high=tuple(each.high for each in task.bins),
    )
    return Lines(
        title=f"{task.task}: {len(task.bins)} bins of {task.rows:,} rows",
        x_name=f"predicted {what}",
        y_name="observed share" if task.kind == "binary" else "observed mean",
        curves=(curve, Curve(label=PERFECT, x=ends, y=ends, reference=True)),
    )


def _table(task: TaskReliability) -> NumberTable:
    digits = ".5f" if task.kind == "binary" else ",.4f"
    rows = [
        (
            str(number),
            f"{each.rows:,}",
            *(f"{value:{digits}}" for value in (each.predicted, each.observed)),
            f"{each.low:{digits}} to {each.high:{digits}}",
        )
        for number, each in enumerate(task.bins, start=1)
    ]
    return NumberTable(
        title=f"{task.task}: predicted and observed, in bins of equally many rows",
        head=("bin", "rows", "predicted", "observed", "95 % interval"),
        rows=tuple(rows),
        notes=() if task.undefined is None else (f"undefined: {task.undefined}",),
    )
