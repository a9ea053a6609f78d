"""Permutation importance: the decrease in quality when a field is permuted among rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from mtlbench.metrics.names import metric
from mtlbench.result import Metrics

COMPARED = ("auc", "logloss", "xauc", "rmse")
"""Compared metrics: the first two of binary tasks, the others of regression tasks."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """Decrease in quality of a metric, positive if it becomes worse (a lower AUC, a higher log loss).

    Attributes:
        mean: mean over the repeats.
        deviation: standard deviation (n - 1) over the repeats; ``None`` for a single one.
    """

    mean: float
    deviation: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldImportance:
    """Changes of a field's permutation, by ``<task>/<metric>`` with metrics of `COMPARED`, if defined."""

    field: str
    changes: dict[str, Change]


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """Permutation importance of every input field of a run.

    Attributes:
        rows: number of scored rows, out of ``split_rows``.
        repeats, seed: of the permutations.
        tasks: tasks of the run.
        unchanged: metrics of these rows without permutation.
        fields: the fields, most important first, by the mean decrease of AUC (XAUC for regression tasks) over tasks.
    """

    rows: int
    split_rows: int
    repeats: int
    seed: int
    tasks: tuple[str, ...]
    unchanged: Metrics
    fields: tuple[FieldImportance, ...]
    kind: Literal["importance"] = "importance"


def compared(unchanged: Metrics) -> list[str]:
    """Names of the compared metrics: those defined without permutation."""
    return [name for task in unchanged.tasks for each in COMPARED if (name := f"{task}/{each}") in unchanged.values]


def field_importance(field: str, unchanged: Metrics, shuffled: Sequence[Mapping[str, float]]) -> FieldImportance:
    """The importance of a field.

    Args:
        field: name of the field.
        unchanged: metrics without permutation.
        shuffled: metrics with the field permuted, one entry per repeat.

    Raises:
        ArithmeticError: a metric is undefined with permutation, since the model's logits are not finite.
    """
    changes: dict[str, Change] = {}
    for name in compared(unchanged):
        if not all(name in values for values in shuffled):
            raise ArithmeticError(f"{name} is undefined when field '{field}' is shuffled: logits are not finite")
        about = metric(name.rpartition("/")[2])
        worse = [about.score(unchanged.values[name]) - about.score(values[name]) for values in shuffled]
        changes[name] = Change(mean=fmean(worse), deviation=stdev(worse) if len(worse) > 1 else None)
    return FieldImportance(field=field, changes=changes)


def ranked(fields: Sequence[FieldImportance]) -> tuple[FieldImportance, ...]:
    """Fields sorted by importance, most important first; equal ones keep their order."""

    def worth(each: FieldImportance) -> float:
        falls = [change.mean for name, change in each.changes.items() if name.endswith(("/auc", "/xauc"))]
        return fmean(falls) if falls else 0.0

    return tuple(sorted(fields, key=worth, reverse=True))
