"""Permutation importance as tables and bars."""

from mtlbench.metrics.importance import COMPARED, Change, FieldImportance, Importance
from mtlbench.metrics.names import metric
from mtlbench.report.figure import Bars, NumberTable, Panel, Series
from mtlbench.report.text import NOTHING

DRAWN = 20
"""Maximum number of fields in a figure, the most important ones; tables have all."""


def tables(found: Importance) -> tuple[NumberTable, ...]:
    """A table per task, most important field first."""
    return tuple(_table(found, task) for task in found.tasks)


def panels(found: Importance) -> tuple[Panel, ...]:
    """Bars of the decrease of AUC and of XAUC, for the tasks that have them."""
    shown = found.fields[:DRAWN]
    drawn: list[Panel] = []
    for name in ("auc", "xauc"):
        if shown and (tasks := [task for task in found.tasks if f"{task}/{name}" in shown[0].changes]):
            series = tuple(_series(shown, task, name) for task in tasks)
            fields, title = tuple(each.field for each in shown), f"fall of {metric(name).title}"
            drawn.append(Bars(title=title, y_name=title, groups=fields, series=series))
    return tuple(drawn)


def _series(shown: tuple[FieldImportance, ...], task: str, name: str) -> Series:
    changes = [each.changes[f"{task}/{name}"] for each in shown]
    values, errors = ([getattr(change, part) for change in changes] for part in ("mean", "deviation"))
    return Series(label=task, values=tuple(values), errors=tuple(errors))


def _table(found: Importance, task: str) -> NumberTable:
    names = [name for name in COMPARED if any(f"{task}/{name}" in each.changes for each in found.fields)]
    rows = found.fields
    if names:
        rows = sorted(rows, key=lambda each: each.changes[f"{task}/{names[0]}"].mean, reverse=True)
    head = ["field"]
    for name in names:
        head += [f"{metric(name).title} {'falls' if metric(name).better == 'higher' else 'rises'}", "±"]
    rows_text = f"{found.rows:,}" + (f" of {found.split_rows:,}" if found.rows < found.split_rows else "")
    shuffles = f"mean ± standard deviation of {found.repeats} shuffles" if found.repeats > 1 else "one shuffle"
    undefined = [
        f"{metric(name).title} is undefined: {reason}"
        for name in COMPARED
        if (reason := found.unchanged.reason(name, task)) is not None
    ]
    return NumberTable(
        title=f"{task}: what changes when a field is shuffled among the rows",
        head=tuple(head),
        rows=tuple(
            (each.field, *(text for name in names for text in _cells(each.changes[f"{task}/{name}"], name)))
            for each in rows
        ),
        notes=(f"{shuffles} (seed {found.seed}), {rows_text} rows", *undefined),
    )


def _cells(change: Change, name: str) -> tuple[str, str]:
    digits = metric(name).digits
    deviation = NOTHING if change.deviation is None else f"{change.deviation:.{digits}f}"
    return f"{change.mean:+.{digits}f}", deviation
