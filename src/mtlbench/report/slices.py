"""Metrics by slice as tables and bars."""

from mtlbench.metrics.names import metric
from mtlbench.metrics.slices import Slice, Slices
from mtlbench.report.figure import Bars, NumberTable, Panel, Series
from mtlbench.report.text import NOTHING

SHOWN = ("auc", "logloss", "pcoc", "ece", "xauc", "rmse", "mae")
"""Metrics of a slice that are shown in tables, if its task has them."""


def tables(found: Slices) -> tuple[NumberTable, ...]:
    """A table per task."""
    return tuple(_table(found, task) for task in found.whole.metrics.tasks)


def _table(found: Slices, task: str) -> NumberTable:
    every = found.all
    names = [name for name in SHOWN if any(_known(each, name, task) for each in every)]
    binary = "auc" in names
    head = ["slice", "rows", *(["positives"] if binary else [])]
    for name in names:
        head += [metric(name).title, *(["±"] if name == "auc" else [])]
    rows = []
    for each in every:
        cells = [_label(found, each), *(_cell(each, name, task) for name in (("rows", "positives")[: 1 + binary]))]
        for name in names:
            error = each.auc_error.get(task)
            cells += [_cell(each, name, task)]
            cells += [NOTHING if error is None else f"{error:.4f}"] if name == "auc" else []
        rows.append(tuple(cells))
    return NumberTable(
        title=f"{task} by {', '.join(found.fields)}",
        head=tuple(head),
        rows=tuple(rows),
        notes=(*found.notes, *_notes(found, task, names)),
    )


def _notes(found: Slices, task: str, names: list[str]) -> list[str]:
    notes: list[str] = []
    if "auc" in names:
        notes.append(f"±: standard error of the AUC over bootstrap draws of {found.unit}s")
    if found.rest is not None:
        notes.append(f"rest: values with fewer than {found.min_rows:,} rows, or beyond the most frequent, together")
    for name in names:
        reasons: dict[str, list[str]] = {}
        for each in found.all:
            if (reason := each.metrics.reason(name, task)) is not None:
                reasons.setdefault(reason, []).append(_label(found, each))
        notes += [
            f"{metric(name).title} of {', '.join(labels)} is undefined: {reason}" for reason, labels in reasons.items()
        ]
    return notes


def _label(found: Slices, each: Slice) -> str:
    rest_label = f"(rest: {found.rest_values:,} value{'s' * (found.rest_values != 1)})"
    return rest_label if each is found.rest else each.name


def _known(each: Slice, name: str, task: str) -> bool:
    return each.metrics.value(name, task) is not None or each.metrics.reason(name, task) is not None


def _cell(each: Slice, name: str, task: str) -> str:
    value = each.metrics.value(name, task)
    return NOTHING if value is None else metric(name).text(value)


def panels(found: Slices) -> tuple[Panel, ...]:
    """A panel of AUC for all binary tasks, and a panel of RMSE per regression task."""
    groups = tuple(_label(found, each) for each in found.all)

    def series(name: str, task: str) -> Series:
        return Series(
            label=task,
            values=tuple(each.metrics.value(name, task) for each in found.all),
            errors=tuple(each.auc_error.get(task) if name == "auc" else None for each in found.all),
        )

    tasks = found.whole.metrics.tasks
    binary = [task for task in tasks if _known(found.whole, "auc", task)]
    drawn: list[Panel] = []
    if binary:
        bars = tuple(series("auc", task) for task in binary)
        drawn.append(Bars(title="AUC", y_name="AUC", groups=groups, series=bars, base=0.5, absent="undefined"))
    for task in tasks:
        if task not in binary:
            bars = (series("rmse", task),)
            drawn.append(Bars(title=f"RMSE of {task}", y_name="RMSE", groups=groups, series=bars, absent="undefined"))
    return tuple(drawn)
