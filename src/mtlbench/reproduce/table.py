"""Tables to reproduce: rows, columns, claims, how each row is run, and the printed numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from pydantic import ConfigDict, with_config

from mtlbench.report.result import Statistic, TableColumn

SMALLEST_EFFECT = {"auc": 0.001}
"""By metric: the smallest difference of interest, where a table names none."""

PRIVATE = ("alipay", "xiaomi")
"""Data sets that were never published; under these names, simulated data are run."""


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True, slots=True)
class RowSpec:
    """A row of a table or figure.

    Attributes:
        label: its name there.
        overrides: that make its runs.
        group: that it belongs to.
        same_as: overrides that make the same model under another name, whose runs stand for this row's where there are
            some, see `mtlbench.reproduce.share`.
    """

    label: str
    overrides: list[str]
    group: str = ""
    same_as: list[str] | None = None


@with_config(ConfigDict(extra="forbid"))
@dataclass(frozen=True, kw_only=True, slots=True)
class ClaimSpec:
    """A paper's claim: rows that are better than others in one metric, on some data sets and tasks (default: all).

    ``says: no effect`` claims that they are no better and no worse, up to the smallest effect of interest.
    ``enough: one`` claims that some comparison is better (a row, another, a data set, a task), not each of them.
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
        metric: its name.
        datasets, tasks: where; default: all of the table, in the order of the printed numbers.
        statistic: mean or best; default: those that are printed, the mean where none is.
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
    """A printed number: its digits as text, whether it is bold (``None``: not known), a remark.

    One that is no target is shown and not compared with ours: its definition is not known.
    """

    text: str
    bold: bool | None
    note: str
    target: bool = True


@dataclass(frozen=True, kw_only=True, slots=True)
class TableKeys:
    """Keys that a table and its YAML share.

    Attributes:
        title: what it shows.
        seeds: runs per row and data set; ``seeds_note`` says why so many.
        datasets: overrides by the paper's name of a data set.
        rows: labels and overrides.
        paper, place: where it stands; no paper has a study of one's own.
        profile: the settings its runs share.
        tolerance: by metric, how far a measured value may be from a printed one; relative or absolute, see `Metric`.
        claims: which rows the paper says are better than which.
        twins: by row label: the row that is its single-task baseline; ``default`` stands for every other row.
        baselines: labels that new methods are compared with.
        notes: what else a reader must know.
        smallest_effect: by metric, the smallest difference of interest; others are as good as none.
        best_of: runs that the paper took the best of; default: as many as ours.
        worlds: by name: overrides that make a draw of each data set (a split of a log, a simulated world). Every row
            runs in all of them, and claims are about their mean.
        inputs_differ: whether rows may read different inputs (other fields, other numbers) of the same data, which are
            compared as long as their test splits agree in rows, positives, groups and deviation of regression labels.
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
        """The data set that a name of `datasets` is a world of, or the name itself."""
        name, comma, world = dataset.rpartition(", ")
        return name if comma and world in self.worlds else dataset

    def margin(self, metric_name: str) -> float | None:
        """The smallest difference of interest in a metric, if one is stated."""
        return (SMALLEST_EFFECT | self.smallest_effect).get(metric_name)


@dataclass(frozen=True, kw_only=True, slots=True)
class Table(TableKeys):
    """A table to reproduce: the keys of its YAML, and

    Attributes:
        name: of its file.
        columns: in their order.
        printed: numbers by row label and column.
    """

    name: str
    columns: tuple[TableColumn, ...]
    printed: Mapping[tuple[str, TableColumn], Printed]

    def single_task_baseline(self, label: str) -> str | None:
        """Label of the row that is a row's single-task baseline, if it has one."""
        baseline = self.twins.get(label, self.twins.get("default"))
        return None if baseline == label else baseline


def distinct(columns: Sequence[TableColumn]) -> list[TableColumn]:
    """One column for each data set, task and metric, in their order: a mean and a best are of the same runs."""
    chosen: dict[tuple[str, str, str], TableColumn] = {}
    for column in columns:
        key = (column.dataset, column.task, column.metric)
        if key not in chosen or column.statistic == "mean":
            chosen[key] = column
    return list(chosen.values())
