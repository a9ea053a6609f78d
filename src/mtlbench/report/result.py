"""A table of a paper beside what was measured: plain data, everything that a renderer needs and nothing else."""

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
"""Verdicts on a number that can be held against the printed one."""

ALPHA = 0.05
"""Significance of a test, as in MSSM's Table 1."""

Statistic = Literal["mean", "best"]

ClaimVerdict = Literal["holds", "fails", "undecided", "not run", "withheld: not converged"]


@dataclass(frozen=True, kw_only=True, slots=True)
class TableColumn:
    """One column of numbers.

    Attributes:
        dataset: the paper's name of the data set.
        task: our name of the task; ``all`` for what belongs to no single one.
        metric: our name of the metric.
        statistic: of the runs of a cell: their mean, or the best of them.
        digits: behind the point, as the paper prints them.
    """

    dataset: str
    task: str
    metric: str
    statistic: Statistic = "mean"
    digits: int = 4

    @property
    def only_task(self) -> str | None:
        """The task; ``None`` for a metric of all of them."""
        return None if self.task == "all" else self.task

    @property
    def about(self) -> Metric:
        """What is known about the metric.

        Raises:
            ValueError: there is no such metric.
        """
        return metric(self.metric)

    @property
    def name(self) -> str:
        """Unique among the columns of a table."""
        task = "" if self.task == "all" else f"{self.task} "
        return f"{self.dataset}: {task}{self.metric}" + (" (best)" if self.statistic == "best" else "")


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What the finished runs of a cell gave, one entry per seed, ascending.

    Attributes:
        seeds, values: of the runs that define the metric.
        mean, deviation: of the values; the deviation (n - 1) of a single one is ``None``.
        interval: 95 % confidence interval of the mean (Student's t); ``None`` for a single value.
        best: of the values; ``None`` where the metric has no direction.
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
        assert self.best is not None, f"{column.name}: a table with the best of a metric without direction is refused"
        return self.best


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """A row against the best baseline of a column by validation, seed by seed.

    Attributes:
        against: label of the baseline.
        difference: mean of (row - baseline), in the units of the metric.
        t_test: two-sided paired p-value, Holm-corrected within the column, counting the drawing of test users where
            that is known; ``None`` below two common seeds.
        wilcoxon: the same of Wilcoxon's signed-rank test; ``None`` below six common seeds.
        better: whether the row is better in the mean.
    """

    against: str
    difference: float
    t_test: float | None
    wilcoxon: float | None
    better: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """Printed number, measured numbers, and what they say about each other.

    Attributes:
        printed: as the paper prints it, text; ``None`` where it prints nothing.
        bold: whether the paper sets it in bold; ``None`` if that is not known.
        measured: ``None`` where nothing has been run.
        verdict: by the table's rule.
        comparison: with the best baseline, for rows that are none.
        gain: relative gain over the row's single-task twin, in per cent, better is positive; ``None`` without one.
        negative_transfer: whether it is worse than that twin: a paired t-test by seed, Holm-corrected within the
            column; never where nothing can be tested.
        footnotes: places in `TableResult.footnotes`.
        converged: whether all of its runs did; ``None`` where none is known not to, and some are not known to.
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
    """A finished run that a table is made of.

    Attributes:
        identity, seed, dataset: which one.
        origin: ``real`` or ``simulated``.
        link: to its page in MLflow, if that is known.
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
    """What a row's runs took, medians over them; sizes as they are.

    Attributes:
        dataset: the paper's name of the data set.
        parameters: dense ones.
        embedding_parameters: of the table of all ids.
        peak_memory_mb: of the run's process, in MiB.
        rows_per_second: in training.
        seconds: of a whole run.
        seconds_to_best: until the selected weights were reached.
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
    """One model of a table; ``cells`` in the order of the columns."""

    label: str
    group: str
    cells: tuple[Cell, ...]
    runs: tuple[Run, ...] = ()
    costs: tuple[Cost, ...] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """What the paper says about who beats whom, and whether that holds here.

    Attributes:
        text: the claim in our words.
        verdict: ``holds``, ``fails``, ``undecided``, or ``not run`` if a comparison is missing; see
            `mtlbench.reproduce.claim`. Counts are not tested: they have no spread.
        evidence: a line per comparison, and one for each reason why others are missing on a data set.
        condition: what the runs were that it was judged on, where that is not what the paper speaks of, such as
            ``simulated``.
        detectable: smallest true difference that every comparison would find with 80 % power, in the units of the
            metric; for a claim of no effect, the margin that all would be found to lie within if there is none.
            ``None`` if nothing could be tested, and in files of versions before 0.4.
        deciding: how many seeds (worlds, where there are several) would decide the claim with 80 % power for each
            comparison, if the differences are those found, or the smallest effect of interest where they are below it;
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
    """A table of a paper, measured.

    Attributes:
        name: of the table's file, such as ``dephn_table2``.
        title: what it shows.
        paper, place: where it stands.
        columns, rows: the table.
        claims: see `Claim`.
        agreement: by column name: Kendall's tau between the paper's order of rows and ours; ``None`` where it is
            undefined.
        ranks: by row label: average rank over the AUCs of all tasks (over all columns where there is none), 1 the best.
        footnotes: what a reader must know: fewer seeds than the paper, departures, inconsistencies, origin of data.
        marks: what must stand on top: ``SIMULATED DATA``, ``SCALED: ...``, ``OWN SETTINGS: ...``; empty for real
            data at full size, run as the table or figure says.
        summary: one sentence: how many cells ran, how many are within.
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
        """Whether the paper prints a number in a column; in a study of one's own it prints none."""
        place = self.columns.index(column)
        return any(row.cells[place].printed is not None for row in self.rows)

    @property
    def anything_printed(self) -> bool:
        """Whether the paper prints a number in any column."""
        return any(map(self.is_printed, self.columns))
