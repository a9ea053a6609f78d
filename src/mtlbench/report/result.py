"""A table with printed and measured numbers as plain data, with exactly what a renderer needs."""

from dataclasses import dataclass, field
from typing import Literal

from mtlbench.metrics.names import Metric, metric

Verdict = Literal[
    "within",
    "above",
    "below",
    "undecided",
    "nothing printed",
    "not run",
    "undefined",
    "not comparable: no target",
    "not comparable: simulated",
    "not comparable: private data",
    "not comparable: scaled",
    "not comparable: mixed data",
    "not comparable: not converged",
    "not comparable: fewer runs",
]
COMPARED = ("within", "above", "below", "undecided")
"""Verdicts on a number that is comparable with the printed one."""

ALPHA = 0.05
"""Significance level, as in MSSM's Table 1."""

Statistic = Literal["mean", "best"]

ClaimVerdict = Literal["holds", "fails", "undecided", "not run", "withheld: not converged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TableColumn:
    """A column of a table.

    Attributes:
        dataset: the paper's name of the data set.
        task: our name of the task; ``all`` for metrics over all tasks.
        metric: our name of the metric.
        statistic: mean or best of the runs of a cell.
        digits: number of decimals, as printed.
    """

    dataset: str
    task: str
    metric: str
    statistic: Statistic = "mean"
    digits: int = 4

    @property
    def only_task(self) -> str | None:
        """The task; ``None`` for a metric over all tasks."""
        return None if self.task == "all" else self.task

    @property
    def about(self) -> Metric:
        """Title, direction and format of the metric.

        Raises:
            ValueError: the metric does not exist.
        """
        return metric(self.metric)

    @property
    def name(self) -> str:
        """Name of the column, unique in a table."""
        task = "" if self.task == "all" else f"{self.task} "
        return f"{self.dataset}: {task}{self.metric}" + (" (best)" if self.statistic == "best" else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """Measured values of a cell, one per seed, in ascending order of seeds.

    Attributes:
        seeds, values: of the runs for which the metric is defined.
        mean, deviation: mean and standard deviation (n - 1) of the values; the latter is ``None`` for a single value.
        interval: 95 % confidence interval of the mean (Student's t); ``None`` for a single value.
        best: best value; ``None`` if the metric has no direction.
    """

    seeds: tuple[int, ...]
    values: tuple[float, ...]
    mean: float
    deviation: float | None
    interval: tuple[float, float] | None
    best: float | None

    def for_column(self, column: TableColumn) -> float:
        """The number of a cell: the mean, or the best."""
        if column.statistic == "mean":
            return self.mean
        assert self.best is not None, f"{column.name}: validated: the best needs a metric with a direction"
        return self.best


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Comparison of a row with a column's best baseline (by validation score), seed by seed.

    Attributes:
        against: label of the baseline.
        difference: mean of (row - baseline), in the units of the metric.
        t_test: two-sided p-value of the paired t-test, Holm-corrected within the column, including the sampling of test
            users if known; ``None`` with fewer than two common seeds.
        wilcoxon: likewise of Wilcoxon's signed-rank test; ``None`` with fewer than six common seeds.
        better: whether the row's mean is better.
    """

    against: str
    difference: float
    t_test: float | None
    wilcoxon: float | None
    better: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """A cell: printed number, measured numbers, and their comparison.

    Attributes:
        printed: the printed number as text; ``None`` if there is none.
        bold: whether it is printed in bold; ``None`` if unknown.
        measured: ``None`` if nothing has been run.
        verdict: see `mtlbench.reproduce.verdict`.
        comparison: comparison with the best baseline, for rows other than baselines.
        gain: relative gain over the row's single-task baseline in per cent, positive if better; ``None`` without one.
        negative_transfer: whether it is worse than that baseline by a paired t-test over seeds, Holm-corrected within
            the column; false if nothing can be tested.
        footnotes: indices in `TableResult.footnotes`.
        converged: whether all its runs converged; false if any did not, else ``None`` if any is unknown.
    """

    printed: str | None
    bold: bool | None
    measured: Measured | None
    verdict: Verdict
    comparison: Comparison | None = None
    gain: float | None = None
    negative_transfer: bool = False
    footnotes: tuple[int, ...] = ()
    converged: bool | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """A finished run of a table.

    Attributes:
        identity, seed, dataset: of the run.
        origin: ``real`` or ``simulated``.
        link: address of its page in MLflow, if known.
        curve: mean validation AUC by epoch, for learning curves.
    """

    identity: str
    seed: int
    dataset: str
    origin: str
    link: str | None = None
    curve: tuple[float, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """Cost of a row's runs: medians over runs, except for sizes.

    Attributes:
        dataset: the paper's name of the data set.
        parameters: number of dense parameters.
        embedding_parameters: number of parameters of embedding tables.
        peak_memory_mb: peak memory of the run's process, in MiB.
        rows_per_second: training throughput.
        seconds: duration of a whole run.
        seconds_to_best: duration until the selected weights were reached.
    """

    dataset: str
    parameters: int
    embedding_parameters: int
    peak_memory_mb: float
    rows_per_second: float
    seconds: float
    seconds_to_best: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Row:
    """A row of a table; ``cells`` are in the order of the columns."""

    label: str
    group: str
    cells: tuple[Cell, ...]
    runs: tuple[Run, ...] = ()
    costs: tuple[Cost, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """A claim of the paper about which rows are better, and whether it holds here.

    Attributes:
        text: the claim, in our words.
        verdict: ``holds``, ``fails``, ``undecided``, ``not run`` if a comparison is missing, or withheld; see
            `mtlbench.reproduce.claim`. Counts are not tested, since they have no variance.
        evidence: a line per comparison, and one for each reason why comparisons are missing on a data set.
        condition: how the runs differ from the paper's setting, such as ``simulated``; empty if they do not.
        detectable: smallest true difference that every comparison would detect with 80 % power, in the units of the
            metric; for a claim of no effect, the margin within which all differences would be shown to lie if there is
            none. ``None`` if nothing could be tested, and in files of versions before 0.4.
        deciding: number of seeds (or of worlds, if several) that would decide the claim with 80 % power for each
            comparison, given the measured differences, or the smallest effect of interest if they are smaller;
            ``None`` if no number up to 1,000 would, or nothing could be tested.
    """

    text: str
    verdict: ClaimVerdict
    evidence: tuple[str, ...]
    condition: str = ""
    detectable: float | None = None
    deciding: int | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class TableResult:
    """A measured table of a paper, or a measured study.

    Attributes:
        name: name of the table's file, such as ``dephn_table2``.
        title: title of the table.
        paper, place: its source.
        columns, rows: the table.
        claims: see `Claim`.
        agreement: by column name, Kendall's tau between the paper's ranking of rows and ours; ``None`` if undefined.
        ranks: by row label, average rank over the AUCs of all tasks (over all columns if there are none); 1 is best.
        footnotes: notes on fewer seeds than the paper, departures, inconsistencies, and origin of data.
        marks: warnings shown on top: ``SIMULATED DATA``, ``SCALED: ...``, ``OWN SETTINGS: ...``; empty for real
            data at full size with the settings of the table or figure.
        summary: a sentence on how many cells ran and how many are within tolerance.
    """

    name: str
    title: str
    paper: str
    place: str
    columns: tuple[TableColumn, ...]
    rows: tuple[Row, ...]
    claims: tuple[Claim, ...] = ()
    agreement: dict[str, float | None] = field(default_factory=dict)
    ranks: dict[str, float] = field(default_factory=dict)
    footnotes: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()
    summary: str = ""

    def is_printed(self, column: TableColumn) -> bool:
        """Whether the paper prints a number in a column; never in a study of the user's own."""
        place = self.columns.index(column)
        return any(row.cells[place].printed is not None for row in self.rows)

    @property
    def anything_printed(self) -> bool:
        """Whether the paper prints a number in any column."""
        return any(map(self.is_printed, self.columns))
