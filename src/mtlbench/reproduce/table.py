"""Definition of a table: rows with their overrides, columns, claims, and printed numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import ConfigDict, with_config

from mtlbench.report.result import Statistic, TableColumn

SMALLEST_EFFECT = {"auc": 0.001}
"""By metric: the default smallest effect of interest."""

PRIVATE = ("alipay", "xiaomi")
"""Data sets that were never published; simulated data are used under these names."""


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True, slots=True)
class RowSpec:
    """A row of a table or figure.

    Attributes:
        label: its label.
        overrides: overrides of its runs.
        group: its group of rows.
        same_as: overrides of the same model under another name, whose runs are used for this row if they exist, see
            `mtlbench.reproduce.share`.
    """

    label: str
    overrides: list[str]
    group: str = ""
    same_as: list[str] | None = None


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimSpec:
    """A paper's claim: rows that are better than others in one metric, on some data sets and tasks (default: all).

    ``says: no effect`` claims that they are neither better nor worse, up to the smallest effect of interest.
    ``enough: one`` claims that at least one comparison (of rows, on a data set and task) is better, not every one.
    """

    text: str
    better: list[str]
    than: list[str]
    metric: str
    says: Literal["better", "no effect"] = "better"
    enough: Literal["each", "one"] = "each"
    datasets: list[str] | None = None
    tasks: list[str] | None = None


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True, slots=True)
class ColumnSpec:
    """Columns of one metric, printed or not.

    Attributes:
        metric: name of the metric.
        datasets, tasks: default: all of the table, in the order of the printed numbers.
        statistic: mean or best; default: as printed, or else the mean.
    """

    metric: str
    datasets: list[str] | None = None
    tasks: list[str] | None = None
    statistic: Statistic | None = None


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True, slots=True)
class Paper:
    """The paper of a table or figure."""

    name: str
    title: str
    venue: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Printed:
    """A printed number: its digits as text, whether it is bold (``None``: unknown), and a remark.

    A number with an unknown definition is not a target: it is shown but not compared with ours.
    """

    text: str
    bold: bool | None
    note: str
    target: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class TableKeys:
    """Keys that a table and its YAML share.

    Attributes:
        title: title of the table.
        seeds: runs per row and data set; ``seeds_note`` explains the number.
        datasets: overrides by the paper's name of a data set.
        rows: labels and overrides.
        paper, place: its source; a study of the user's own has none.
        profile: the common settings of its runs.
        tolerance: by metric, how far a measured value may be from a printed one; relative or absolute, see `Metric`.
        claims: which rows the paper says are better than which.
        twins: by row label, its single-task baseline; ``default`` applies to all other rows.
        baselines: labels of baselines, with which new methods are compared.
        notes: further footnotes.
        smallest_effect: by metric, the smallest effect of interest.
        best_of: number of runs of which the paper took the best; default: as many as ours.
        worlds: by name, overrides for a replicate of each data set (a split of a log, a simulated world). Every row
            runs in all of them, and claims are about their mean.
        inputs_differ: whether rows may read different inputs (fields, numbers) of the same data; they are compared if
            their test splits agree in rows, positives, groups and the deviation of regression labels.
    """

    title: str
    seeds: int
    datasets: dict[str, list[str]]
    rows: tuple[RowSpec, ...]
    paper: Paper | None = None
    place: str = ""
    profile: str = "default"
    seeds_note: str = ""
    tolerance: dict[str, float] = field(default_factory=dict)
    claims: tuple[ClaimSpec, ...] = ()
    twins: dict[str, str] = field(default_factory=dict)
    baselines: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    smallest_effect: dict[str, float] = field(default_factory=dict)
    best_of: int | None = None
    worlds: dict[str, list[str]] = field(default_factory=dict)
    inputs_differ: bool = False

    def without_world(self, dataset: str) -> str:
        """The data set to which a name of `datasets` belongs as a world, or the name itself."""
        name, comma, world = dataset.rpartition(", ")
        return name if comma and world in self.worlds else dataset

    def margin(self, metric_name: str) -> float | None:
        """The smallest effect of interest in a metric, if given."""
        return (SMALLEST_EFFECT | self.smallest_effect).get(metric_name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Table(TableKeys):
    """A table to reproduce: the keys of its YAML, with name, columns and printed numbers.

    Attributes:
        name: name of its file.
        columns: its columns, in order.
        printed: printed numbers by row label and column.
    """

    name: str
    columns: tuple[TableColumn, ...]
    printed: Mapping[tuple[str, TableColumn], Printed]

    def single_task_baseline(self, label: str) -> str | None:
        """Label of a row's single-task baseline, if any."""
        baseline = self.twins.get(label, self.twins.get("default"))
        return None if baseline == label else baseline


def distinct(columns: Sequence[TableColumn]) -> list[TableColumn]:
    """One column per data set, task and metric, in order, since a mean and a best are of the same runs."""
    chosen: dict[tuple[str, str, str], TableColumn] = {}
    for column in columns:
        key = (column.dataset, column.task, column.metric)
        if key not in chosen or column.statistic == "mean":
            chosen[key] = column
    return list(chosen.values())
