"""Permutation importance: how much worse metrics become when a field is shuffled among the rows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Literal

from mtlbench.metrics.names import metric
from mtlbench.result import Metrics

COMPARED = ("auc", "logloss", "xauc", "rmse")
"""Metrics that are compared: of binary tasks the first two, of regression tasks the others."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Change:
    """How much worse a metric becomes (an AUC falls, a log loss rises), above 0 if it does.

    Attributes:
        mean: over the repeats.
        deviation: of one repeat, standard (n - 1); ``None`` for a single one.
    """

    mean: float
    deviation: float | None


@dataclass(frozen=True, kw_only=True, slots=True)
class FieldImportance:
    """Changes by ``<task>/<metric>`` of `COMPARED`, where the metric is defined."""

    field: str
    changes: dict[str, Change]


@dataclass(frozen=True, kw_only=True, slots=True)
class Importance:
    """Permutation importance of every field that a run learns from.

    Attributes:
        rows: that were scored, of ``split_rows``.
        repeats, seed: of the shuffling.
        tasks: of the run.
        unchanged: metrics of these rows with no field shuffled.
        fields: the most important first, by the mean fall of AUC (of regression tasks: XAUC) over the tasks.
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
    """Names of the metrics that are compared, those that are defined without shuffling."""
    return [name for task in unchanged.tasks for each in COMPARED if (name := f"{task}/{each}") in unchanged.values]


def field_importance(field: str, unchanged: Metrics, shuffled: Sequence[Mapping[str, float]]) -> FieldImportance:
    """What shuffling a field changes.

    Args:
        field: its name.
        unchanged: metrics without shuffling.
        shuffled: values of the metrics with it, one entry per repeat.

    Raises:
        ArithmeticError: a metric is undefined with it, since the model gives numbers that are not finite.
    """
    changes: dict[str, Change] = {}
    for name in compared(unchanged):
        if not all(name in values for values in shuffled):
            raise ArithmeticError(f"{name} is undefined when field '{field}' is shuffled: logits are not finite then")
        about = metric(name.rpartition("/")[2])
        worse = [about.score(unchanged.values[name]) - about.score(values[name]) for values in shuffled]
        changes[name] = Change(mean=fmean(worse), deviation=stdev(worse) if len(worse) > 1 else None)
    return FieldImportance(field=field, changes=changes)


def ranked(fields: Sequence[FieldImportance]) -> tuple[FieldImportance, ...]:
    """The most important first; among equals, in the given order."""

    def worth(each: FieldImportance) -> float:
        falls = [change.mean for name, change in each.changes.items() if name.endswith(("/auc", "/xauc"))]
        return fmean(falls) if falls else 0.0

    return tuple(sorted(fields, key=worth, reverse=True))
