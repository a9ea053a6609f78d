"""Metrics by slice of a split: all metrics of the split, and standard errors of AUCs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mtlbench.metrics.evaluate import evaluate
from mtlbench.metrics.ranking import group_numbers
from mtlbench.metrics.resampled import affordable_draws, resampled_aucs
from mtlbench.result import Metrics
from mtlbench.schema import Task

DRAWS = 200
"""Number of bootstrap draws for the standard error of a slice's AUC, fewer above 2.5 million rows."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Slice:
    """Metrics of a slice.

    Attributes:
        name: name of the slice.
        rows: number of rows.
        metrics: metrics of these rows; with a single class, AUC is undefined.
        auc_error: by binary task, standard error of its AUC, if defined.
    """

    name: str
    rows: int
    metrics: Metrics
    auc_error: dict[str, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Slices:
    """Metrics by slice.

    Attributes:
        fields: the fields whose values, or combinations of values, are the slices.
        min_rows: values with fewer rows are in the rest.
        unit: unit of bootstrap draws: groups (users) if rows have them, otherwise rows.
        whole: all rows.
        slices: the slices.
        rest: the rows of all other values together, ``None`` if there are none; ``rest_values`` is their number.
        notes: notes about the values.
    """

    fields: tuple[str, ...]
    min_rows: int
    unit: Literal["group", "row"]
    whole: Slice
    slices: tuple[Slice, ...]
    rest: Slice | None
    rest_values: int
    notes: tuple[str, ...] = ()
    kind: Literal["slices"] = "slices"

    @property
    def all(self) -> tuple[Slice, ...]:
        """All rows, the slices, and the rest."""
        return (self.whole, *self.slices, *([self.rest] if self.rest is not None else []))


@dataclass(frozen=True, kw_only=True)
class ScoredRows:
    """Scored rows, the input of metrics; N rows, T tasks.

    Attributes:
        log_odds: ``[N, T]``; standardised predictions for regression tasks.
        labels: ``[N, T]``, ``observed`` bool ``[N, T]`` or ``None`` for all, ``group`` integers ``[N]`` or ``None``.
        tasks: the T tasks.
    """

    log_odds: np.ndarray
    labels: np.ndarray
    observed: np.ndarray | None
    group: np.ndarray | None
    tasks: Sequence[Task]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: np.ndarray) -> "ScoredRows":
        """The given rows."""
        return ScoredRows(
            log_odds=self.log_odds[rows],
            labels=self.labels[rows],
            observed=None if self.observed is None else self.observed[rows],
            group=None if self.group is None else self.group[rows],
            tasks=self.tasks,
        )

    def of_task(self, t: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """Log-odds, labels and groups of a task's observed rows."""
        seen = slice(None) if self.observed is None else self.observed[:, t].astype(bool)
        return self.log_odds[seen, t], self.labels[seen, t], None if self.group is None else self.group[seen]


def measure_slices(scored: ScoredRows, parts: Iterable[tuple[str, np.ndarray]]) -> list[Slice]:
    """Metrics of each slice, given by a name and its row numbers.

    The standard error of an AUC is its standard deviation over bootstrap draws (see `resampled_aucs`).
    """
    return [measure_slice(name, scored.take(rows)) for name, rows in parts]


def measure_slice(name: str, scored: ScoredRows) -> Slice:
    """Metrics of the given rows."""
    metrics = evaluate(scored.log_odds, scored.labels, scored.observed, scored.tasks, group=None)
    errors: dict[str, float] = {}
    for t, task in enumerate(scored.tasks):
        if f"{task.name}/auc" in metrics.values:
            score, label, group = scored.of_task(t)
            unit = np.arange(len(score)) if group is None else group_numbers(group)
            drawn = resampled_aucs([score], label == 1, unit, min(DRAWS, affordable_draws(len(score))))[0]
            if np.isfinite(drawn).sum() > 1:  # a draw may have a single class
                errors[task.name] = float(np.nanstd(drawn, ddof=1))
    return Slice(name=name, rows=len(scored), metrics=metrics, auc_error=errors)
